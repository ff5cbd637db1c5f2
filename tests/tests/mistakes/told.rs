//! A transcript: commands, what they said on stderr, their exit codes.

use regex::Regex;
use squall_tests::binaries;
use squall_tests::process::Process;
use squall_tests::wait::secs;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// No mistake takes longer to be told: ten seconds for agents that do not come, and a margin.
const LONGEST: Duration = Duration::from_secs(40);

/// Commands in a directory of their own, one after the other.
pub struct Told {
    dir: TempDir,
    transcript: String,
    redactions: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Told {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("squall-mistakes-").expect("a temporary directory");
        Self { dir, transcript: String::new(), redactions: Vec::new(), environment: Vec::new() }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// A variable of all commands that follow.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Shows `shown` wherever `text` stands. The lines were broken before: `text` is
    /// always of the same length, or stands where nothing follows.
    pub fn redact(&mut self, text: &str, shown: &str) {
        self.redactions.push((text.to_owned(), shown.to_owned()));
    }

    /// Runs `squall`, which fails or warns.
    pub fn squall(&mut self, arguments: &[&str]) {
        self.run("squall", arguments);
    }

    /// Runs `squall-agent` to its end.
    pub fn agent(&mut self, arguments: &[&str]) {
        self.run("squall-agent", arguments);
    }

    fn run(&mut self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(binaries::built(program));
        command.args(arguments);
        self.wrapped(program, arguments, command);
    }

    /// Runs `squall` under a shell that says `before` first, e.g. sets a limit.
    pub fn squall_after(&mut self, before: &str, arguments: &[&str]) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]).arg(binaries::built("squall")).args(arguments);
        let _ = writeln!(self.transcript, "$ {before}");
        self.wrapped("squall", arguments, command);
    }

    fn wrapped(&mut self, program: &str, arguments: &[&str], command: Command) {
        let mut process = self.start(program, command);
        let code = process.exit_code_within(LONGEST);
        self.note(program, arguments, &process.stderr(), code);
        if code > 1 && !arguments.contains(&"--json") {
            assert_eq!(process.stdout(), "", "what went wrong is said on stderr");
        }
    }

    /// Starts one that goes on; [`Self::ended`] writes it down.
    pub fn start(&self, name: &str, mut command: Command) -> Process {
        command.current_dir(self.dir.path()).env("NO_COLOR", "1");
        for variable in ["SQUALL_CONTROLLER", "SQUALL_LOG", "SQUALL_REGION", "SQUALL_SLOT", "RUST_LOG", "COLUMNS"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().cloned());
        Process::start(name, command, self.dir.path())
    }

    /// Waits for the end of a command that was started before, and writes it down.
    pub fn ended(&mut self, program: &str, arguments: &[&str], mut process: Process) {
        let code = process.exit_code_within(secs(20));
        self.note(program, arguments, &process.stderr(), code);
    }

    fn note(&mut self, program: &str, arguments: &[&str], stderr: &str, code: i32) {
        let shown: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        assert!(!stderr.contains("panicked at"), "{stderr}");
        let _ =
            writeln!(self.transcript, "$ {program} {}\n{}\n[exit code {code}]\n", shown.join(" "), stderr.trim_end());
    }

    /// The transcript without what differs from run to run.
    pub fn text(&self) -> String {
        let mut text = self.transcript.replace(&self.dir.path().display().to_string(), "DIR");
        for (from, to) in &self.redactions {
            text = text.replace(from, to);
        }
        for (pattern, shown) in [
            // How far a run is when it is looked at is a matter of luck.
            (r"(?m)^\d+:\d\d of .*, sent .*\n", ""),
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            (r"\bepoch=\d+", "epoch=EPOCH"),
            (r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "RUN_ID"),
            (r"127\.0\.0\.1:\d{5}\b", "127.0.0.1:PORT"),
            (r"localhost:\d{5}\b", "localhost:PORT"),
            (r"(?m) +$", ""),
        ] {
            text = Regex::new(pattern).expect("a pattern").replace_all(&text, shown).into_owned();
        }
        text
    }

    /// Compares with the snapshot of this name.
    pub fn is_as_in(&self, snapshot: &str) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(snapshot, self.text());
        });
    }
}

fn quoted(argument: &str) -> String {
    let is_plain = !argument.is_empty() && !argument.contains(|c: char| c.is_whitespace() || "'\"<>$&|;*".contains(c));
    if is_plain { argument.to_owned() } else { format!("'{argument}'") }
}
