//! A controller with certificates, and people with some of their own.

use crate::binaries;
use crate::process::Process;
use crate::squall::{Ended, Squall, squall};
use crate::wait::{self, secs};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What `squall certs` made, in a directory.
pub struct Certs {
    dir: TempDir,
}

/// Anything that a caller shows: `--tls-…` flags.
#[derive(Clone, Debug, Default)]
pub struct Shown(Vec<String>);

impl Certs {
    /// A CA, a controller, and the operator `admin`.
    pub fn init() -> Self {
        Self::init_with(&[])
    }

    /// The same with more arguments to `squall certs init`.
    pub fn init_with(arguments: &[&str]) -> Self {
        let certs = Self { dir: TempDir::with_prefix("squall-certs-").expect("a temporary directory") };
        certs.make(&[&["init"], arguments].concat());
        certs
    }

    /// `squall certs` with these arguments, which does what it is told.
    pub fn make(&self, arguments: &[&str]) -> Ended {
        let ended = self.command(arguments);
        ended.expect_exit(0);
        ended
    }

    /// `squall certs` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Ended {
        squall(["certs"]).args(arguments.iter().copied()).arg("--dir").arg(&self.path("").display().to_string()).ends()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The pair of this name, and this CA.
    pub fn shown_by(&self, stem: &str) -> Shown {
        let file = |ending: &str| self.path(&format!("{stem}.{ending}"));
        self.trusted().and(&["--tls-cert", &text(&file("pem")), "--tls-key", &text(&file("key"))])
    }

    /// Only this CA.
    pub fn trusted(&self) -> Shown {
        Shown::default().and(&["--tls-ca", &text(&self.path("ca.pem"))])
    }

    /// Puts the files of another directory in the place of these.
    pub fn become_those_of(&self, other: &Self, names: &[&str]) {
        for name in names {
            fs::copy(other.path(name), self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    /// Waits until the certificate of this name has expired.
    pub fn wait_for_the_end_of(&self, stem: &str) {
        wait::until(&format!("{stem} to expire"), secs(20), || {
            let listed: Value = serde_json::from_str(&self.make(&["list", "--json"]).stdout).expect("JSON");
            let known = listed.as_array().expect("a list").iter().find(|one| one["file"] == stem)?;
            (known["expired"] == true).then_some(())
        });
    }
}

/// What was said, on one line.
pub fn told(ended: &Ended) -> String {
    ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Shown {
    #[must_use]
    pub fn and(mut self, flags: &[&str]) -> Self {
        self.0.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// `squall serve` with flags about who may come in.
pub struct Secured {
    process: Process,
    url: String,
    dir: TempDir,
}

impl Secured {
    pub fn start(flags: &Shown) -> Self {
        Self::on("127.0.0.1:0", flags)
    }

    /// On an address, which may be one that other machines reach.
    pub fn on(address: &str, flags: &Shown) -> Self {
        let dir = TempDir::with_prefix("squall-secured-").expect("a temporary directory");
        let (process, url) = Self::listening_on(address, flags, dir.path());
        Self { process, url, dir }
    }

    /// Kills it and begins again where it was.
    pub fn restart(&mut self, flags: &Shown) {
        self.process.kill();
        let address = self.url.split("://").nth(1).expect("an address").to_owned();
        (self.process, self.url) = Self::listening_on(&address, flags, self.dir.path());
    }

    fn listening_on(address: &str, flags: &Shown, dir: &Path) -> (Process, String) {
        let mut command = Command::new(binaries::built("squall"));
        command.args(["serve", "--listen", address, "--data", "data"]).args(&flags.0).current_dir(dir);
        command.env_remove("SQUALL_LOG");
        let mut process = Process::start("controller", command, dir);
        let line = process.says("controller on http", secs(10));
        let url = line.split_whitespace().find(|word| word.contains("://")).expect("an address");
        let url = url.trim_end_matches(',').to_owned();
        (process, url)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        self.url.split("://").nth(1).expect("an address")
    }

    /// A command to it by somebody.
    pub fn asked<'a>(&self, arguments: impl IntoIterator<Item = &'a str>, shown: &Shown) -> Squall {
        squall(arguments).on(&self.url).args(shown.flags())
    }

    /// `squall-agent` that dials it.
    pub fn agent(&self, name: &str, region: &str, shown: &Shown) -> Process {
        let mut command = Command::new(binaries::built("squall-agent"));
        command.args(["--controller", &self.url, "--region", region, "--workers", "1"]).args(&shown.0);
        command.env("NO_COLOR", "1").env_remove("RUST_LOG").current_dir(self.dir.path());
        Process::start(name, command, self.dir.path())
    }

    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The audit log's text.
    pub fn audit(&self) -> String {
        fs::read_to_string(self.audit_file()).expect("the audit log")
    }

    pub fn audit_file(&self) -> PathBuf {
        self.dir.path().join("data/audit.jsonl")
    }

    /// The audit log's lines about a method.
    pub fn audited(&self, method: &str) -> Vec<Value> {
        let lines = self.audit();
        let lines =
            lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
        lines.filter(|line: &Value| line["method"] == method).collect()
    }
}
