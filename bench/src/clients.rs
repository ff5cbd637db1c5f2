//! The clients that are compared: how each is called, and what it says of a run.

use crate::process::on_path;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Squall,
    Wrk,
    Oha,
    H2load,
    Hey,
    Wrk2,
}

/// A client found on this machine.
#[derive(Clone, Debug)]
pub struct Client {
    pub kind: Kind,
    pub program: PathBuf,
    pub version: String,
}

impl Kind {
    pub const PEERS: [Self; 5] = [Self::Wrk, Self::Oha, Self::H2load, Self::Hey, Self::Wrk2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Squall => "squall",
            Self::Wrk => "wrk",
            Self::Oha => "oha",
            Self::H2load => "h2load",
            Self::Hey => "hey",
            Self::Wrk2 => "wrk2",
        }
    }

    /// How to get it, for who lacks it.
    pub fn install(self) -> &'static str {
        match self {
            Self::Squall => "cargo build --release -p squall-controller",
            Self::Wrk => "apt install wrk",
            Self::Oha => "cargo install oha --locked --root target/bench-tools",
            Self::H2load => "apt install nghttp2-client",
            Self::Hey => "apt install hey",
            Self::Wrk2 => "build github.com/giltene/wrk2, put `wrk` on the PATH as `wrk2`",
        }
    }

    /// Finds a peer on the PATH or among the tools installed for the benchmark.
    pub fn find(self, tools: &Path) -> Option<Client> {
        let own = tools.join("bin").join(self.name());
        let program = Some(own).filter(|path| path.is_file()).or_else(|| on_path(self.name()))?;
        Some(Client::at(self, program))
    }
}

/// Latencies of a run as the client itself reports them, in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Reported {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
}

impl Client {
    pub fn at(kind: Kind, program: PathBuf) -> Self {
        let version = version(&program, kind);
        Self { kind, program, version }
    }

    /// `connections` keep-alive connections, each sending when it is answered.
    pub fn closed(&self, url: &str, connections: u32, seconds: u64) -> Option<Command> {
        let mut command = Command::new(&self.program);
        let args = match self.kind {
            Kind::Squall => format!("run {url} --users {connections} --for {seconds}s --no-out --quiet"),
            Kind::Wrk => format!("-t1 -c{connections} -d{seconds}s {url}"),
            Kind::Oha => format!("-z {seconds}s -c {connections} --no-tui {url}"),
            Kind::H2load => format!("--h1 -t1 -c{connections} -D {seconds} {url}"),
            Kind::Hey => format!("-z {seconds}s -c {connections} {url}"),
            Kind::Wrk2 => return None,
        };
        command.args(args.split(' '));
        Some(command)
    }

    /// Constant rate, latencies counted from when each request was due.
    pub fn open(&self, url: &str, rate: u64, connections: u32, seconds: u64) -> Option<Command> {
        let mut command = Command::new(&self.program);
        let args = match self.kind {
            Kind::Squall => format!(
                "run {url} --rate {rate}/s --max-in-flight {connections} --for {seconds}s --no-out --quiet --json"
            ),
            Kind::Wrk2 => format!("-t1 -c{connections} -d{seconds}s -R{rate} --latency {url}"),
            Kind::Oha => format!(
                "-z {seconds}s -c {connections} -q {rate} --latency-correction --no-tui --output-format json {url}"
            ),
            Kind::Wrk | Kind::H2load | Kind::Hey => return None,
        };
        command.args(args.split(' '));
        Some(command)
    }

    /// Squall with results in a directory.
    pub fn saved(&self, url: &str, load: &str, out: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(format!("run {url} {load} --quiet --out").split(' ')).arg(out);
        command
    }

    /// Response times of an open run, in the client's own words.
    pub fn response_time(&self, stdout: &str) -> Option<Reported> {
        match self.kind {
            Kind::Squall => squall_latency(stdout, "response_time"),
            Kind::Oha => {
                let report: Value = serde_json::from_str(stdout).ok()?;
                let us = |name: &str| Some(report.pointer(&format!("/latencyPercentiles/{name}"))?.as_f64()? * 1e6);
                Some(Reported { p50_us: us("p50")?, p99_us: us("p99")?, p999_us: us("p99.9")? })
            }
            Kind::Wrk2 => wrk2_latency(stdout),
            Kind::Wrk | Kind::H2load | Kind::Hey => None,
        }
    }
}

/// One latency of squall's `summary.json`.
pub fn squall_latency(summary: &str, metric: &str) -> Option<Reported> {
    let summary: Value = serde_json::from_str(summary).ok()?;
    let us = |name: &str| summary.pointer(&format!("/latency/{metric}/{name}"))?.as_f64();
    Some(Reported { p50_us: us("p50_us")?, p99_us: us("p99_us")?, p999_us: us("p999_us")? })
}

fn wrk2_latency(stdout: &str) -> Option<Reported> {
    let us = |percentile: &str| {
        let line = stdout.lines().find_map(|line| line.trim().strip_prefix(percentile))?;
        let text = line.trim();
        let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
        let factor = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * factor)
    };
    Some(Reported { p50_us: us("50.000%")?, p99_us: us("99.000%")?, p999_us: us("99.900%")? })
}

fn version(program: &Path, kind: Kind) -> String {
    let flag = match kind {
        Kind::Wrk | Kind::Wrk2 => "-v",
        // It has none.
        Kind::Hey => return String::new(),
        Kind::Squall | Kind::Oha | Kind::H2load => "--version",
    };
    let Ok(said) = Command::new(program).arg(flag).output() else { return String::new() };
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let word = text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches("nghttp2/").trim_start_matches("debian/");
        word.starts_with(|c: char| c.is_ascii_digit()).then(|| word.split('-').next().unwrap_or(word).to_owned())
    });
    word.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk2_percentiles_are_read_in_any_unit() {
        let stdout = "  Latency Distribution (HdrHistogram - Recorded Latency)\n 50.000%    1.20ms\n 75.000%    1.60ms\n 99.000%  850.00us\n 99.900%    1.05s\n";
        let expected = Reported { p50_us: 1_200.0, p99_us: 850.0, p999_us: 1_050_000.0 };
        assert_eq!(wrk2_latency(stdout), Some(expected));
    }

    #[test]
    fn a_summary_gives_the_latency_that_is_asked_for() {
        let summary = r#"{"latency": {"dispatch_lag": {"p50_us": 12, "p99_us": 90, "p999_us": 400}}}"#;
        let expected = Reported { p50_us: 12.0, p99_us: 90.0, p999_us: 400.0 };
        assert_eq!(squall_latency(summary, "dispatch_lag"), Some(expected));
        assert_eq!(squall_latency(summary, "service_time"), None);
    }
}
