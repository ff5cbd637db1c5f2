//! The CLI: its arguments, its exit code, what it wrote, what it left behind.

use crate::binaries;
use crate::process::Process;
use crate::summary::Summary;
use crate::wait::{self, secs};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// No command of a test takes longer.
const LONGEST: Duration = Duration::from_secs(120);

/// A `squall` command to be.
pub struct Squall {
    command: Command,
    dir: TempDir,
}

/// A command under way.
pub struct Running {
    pub process: Process,
    dir: TempDir,
}

/// A command that has ended.
pub struct Ended {
    pub exit_code: i32,
    pub stdout: String,
    pub stderr: String,
    dir: TempDir,
}

/// `squall` with these arguments, in an empty directory of its own.
pub fn squall<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Squall {
    let dir = TempDir::with_prefix("squall-run-").expect("a temporary directory");
    let mut command = Command::new(binaries::built("squall"));
    command.current_dir(dir.path()).args(arguments).env_remove("SQUALL_CONTROLLER").env_remove("SQUALL_LOG");
    Squall { command, dir }
}

/// `squall run` of a plan file, its summary on standard output and its results in `out`.
pub fn run_of(plan: &Path) -> Squall {
    assert!(plan.is_file(), "there is no plan {}", plan.display());
    squall(["run"]).arg(&plan.display().to_string()).saving()
}

/// `squall run` of a plan written in the test.
pub fn run(plan: &str) -> Squall {
    let squall = squall(["run", "plan.yaml"]).saving();
    squall.with_file("plan.yaml", plan)
}

/// `squall run URL` with flags in place of a plan.
pub fn quick<'a>(url: &str, flags: impl IntoIterator<Item = &'a str>) -> Squall {
    squall(["run", url]).args(flags).saving()
}

impl Squall {
    fn saving(self) -> Self {
        self.args(["--json", "--out", "out"])
    }

    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn target(self, url: &str) -> Self {
        self.args(["--target", url])
    }

    pub fn set(self, key: &str, value: &str) -> Self {
        self.arg("--set").arg(&format!("{key}={value}"))
    }

    pub fn agents(self, agents: u32) -> Self {
        self.arg("--agents").arg(&agents.to_string())
    }

    pub fn on(self, controller: &str) -> Self {
        self.args(["--controller", controller])
    }

    /// Puts a file beside the plan.
    pub fn with_file(self, name: &str, content: &str) -> Self {
        fs::write(self.dir.path().join(name), content).expect("a file beside the plan");
        self
    }

    pub fn start(self) -> Running {
        Running { process: Process::start("squall", self.command, self.dir.path()), dir: self.dir }
    }

    /// Runs to the end.
    pub fn ends(self) -> Ended {
        self.start().ends()
    }
}

impl Running {
    pub fn interrupt(&self) {
        self.process.signal(Signal::INT);
    }

    /// Waits until the run's id is told, and gives it.
    pub fn run_id(&mut self) -> String {
        let line = self.process.says("run ", secs(20));
        line.trim_start_matches("run ").trim().to_owned()
    }

    /// Waits until something, looked for from outside, is so.
    pub fn until(&mut self, what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
        wait::until(what, within, || {
            if is_so() {
                return Some(());
            }
            assert_eq!(self.process.ended(), None, "squall ended before {what}:\n{}", self.process.stderr());
            None
        });
    }

    pub fn ends(self) -> Ended {
        self.ends_within(LONGEST)
    }

    pub fn ends_within(mut self, within: Duration) -> Ended {
        let exit_code = self.process.exit_code_within(within);
        let (stdout, stderr) = (self.process.stdout(), self.process.stderr());
        Ended { exit_code, stdout, stderr, dir: self.dir }
    }
}

impl Ended {
    /// The summary on standard output, which is the one in the results directory.
    pub fn summary(&self) -> Summary {
        let printed = Summary::from_json(&self.stdout_or_explain());
        assert_eq!(printed, Summary::from_json(&self.file("summary.json")), "both places tell the same");
        assert_eq!(printed.count("exit_code") as i32, self.exit_code, "the summary tells the exit code");
        printed
    }

    fn stdout_or_explain(&self) -> String {
        assert!(!self.stdout.is_empty(), "nothing on stdout, exit code {}:\n{}", self.exit_code, self.stderr);
        self.stdout.clone()
    }

    /// A file of the results directory.
    pub fn file(&self, name: &str) -> String {
        let path = self.out().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}; squall said:\n{}", self.stderr))
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    pub fn expect_exit(&self, code: i32) -> &Self {
        assert_eq!(self.exit_code, code, "squall said:\n{}", self.stderr);
        self
    }
}
