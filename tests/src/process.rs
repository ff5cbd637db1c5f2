//! One program under test, running: what it writes, its signals, its end.

use crate::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child process. Dropped, also by a panic, it is killed and waited for.
pub struct Process {
    name: String,
    child: Child,
    exit_code: Option<i32>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; what it writes goes to files in `dir`, so that no pipe can fill up.
    pub fn start(name: &str, mut command: Command, dir: &Path) -> Self {
        let file = |kind: &str| dir.join(format!("{name}.{kind}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let create =
            |path: &Path| File::create(path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        command.stdin(Stdio::null()).stdout(create(&stdout)).stderr(create(&stderr));
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, exit_code: None, stdout, stderr }
    }

    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; when and how long is measured around the call.
    pub fn signal(&self, signal: Signal) -> Instant {
        let id = Pid::from_raw(self.child.id() as i32).expect("a process has an id");
        kill_process(id, signal).unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.name));
        Instant::now()
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit code if it has ended; ended by a signal, its negative number.
    pub fn ended(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        if self.exit_code.is_none() {
            let status = self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.name))?;
            self.exit_code = status.code().or(status.signal().map(|signal| -signal));
        }
        self.exit_code
    }

    /// Waits for the end.
    pub fn exit_code_within(&mut self, within: Duration) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(code) = self.ended() {
                return code;
            }
            assert!(
                began.elapsed() < within,
                "{} did not end within {within:?}; it wrote:\n{}",
                self.name,
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a line of its stderr holds `text`, and gives that line.
    pub fn says(&mut self, text: &str, within: Duration) -> String {
        let what = format!("{} to say `{text}`", self.name);
        wait::until(&what, within, || {
            let stderr = self.stderr();
            if let Some(line) = stderr.lines().find(|line| line.contains(text)) {
                return Some(line.to_owned());
            }
            if let Some(code) = self.ended() {
                panic!("{} ended with {code} and did not say `{text}`:\n{}", self.name, self.stderr());
            }
            None
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- {} wrote to stderr:\n{}", self.name, last_lines(&self.stderr(), 60));
        }
    }
}

fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
