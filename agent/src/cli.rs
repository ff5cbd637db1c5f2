//! Flags of `squall-agent`, and its exit codes.

use crate::AgentEnd;
use crate::busy_poll::BusyPoll;
use crate::guard::GuardArgs;
use crate::tls_files::TlsFiles;
use clap::Parser;
use squall_common::plan::Region;
use squall_common::slot;
use std::path::PathBuf;
use tonic::transport::Uri;

/// Squall's load generator: dials out to a controller and carries a share of its runs.
#[derive(Debug, Parser)]
#[command(name = "squall-agent", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Where the controller listens, e.g. https://10.0.0.5:7700; several, with commas, where several serve
    #[arg(long, value_name = "URL", env = "SQUALL_CONTROLLER", value_parser = controller_url, value_delimiter = ',', required = true)]
    pub controller: Vec<Uri>,
    /// Where this agent lives, as cloud/region, e.g. azure/eastus
    #[arg(long, value_name = "REGION", env = "SQUALL_REGION", default_value = "local", value_parser = region)]
    pub region: Region,
    /// A stable place in the fleet [default: the controller names one]
    #[arg(long, value_name = "NAME", env = "SQUALL_SLOT", value_parser = slot_name)]
    pub slot: Option<String>,
    /// Worker threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: Option<u32>,
    /// Where sample logs go when a plan asks for them with `sample_log: true`
    #[arg(long, value_name = "DIR")]
    pub sample_log: Option<PathBuf>,
    /// How long before an arrival a worker polls instead of sleeping: off, auto, or up to 10ms
    /// [auto: 200us, off under a CPU quota]
    #[arg(long, value_name = "DURATION", env = "SQUALL_BUSY_POLL", default_value = "auto", hide_default_value = true)]
    pub busy_poll: BusyPoll,
    /// End with exit code 69 when the controller can't be reached for so many seconds [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub give_up_after: Option<u64>,
    #[command(flatten)]
    pub tls: TlsFiles,
    #[command(flatten)]
    pub guard: GuardArgs,
}

const EXIT_CODES: &str = "\
Exit codes: 0 released by the controller, 64 bad configuration,
69 controller not reached (--give-up-after), 75 drained (SIGTERM),
77 refused, 78 incompatible version";

/// The process's end, as an exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    Released = 0,
    BadConfiguration = 64,
    Unreachable = 69,
    Drained = 75,
    Refused = 77,
    Incompatible = 78,
}

impl ExitCode {
    /// `None` when another session should follow.
    pub fn of(end: &AgentEnd) -> Option<Self> {
        match end {
            AgentEnd::Released => Some(Self::Released),
            AgentEnd::Drained => Some(Self::Drained),
            AgentEnd::Refused(_) => Some(Self::Refused),
            AgentEnd::Incompatible(_) => Some(Self::Incompatible),
            AgentEnd::NotLeader(_) | AgentEnd::Lost { .. } | AgentEnd::Silent { .. } => None,
        }
    }
}

fn region(text: &str) -> Result<Region, String> {
    Region::new(text).map_err(|error| error.to_string())
}

/// Names files, so it is a plain word.
fn slot_name(text: &str) -> Result<String, String> {
    if slot::is_name(text) { Ok(text.to_owned()) } else { Err(slot::RULE.to_owned()) }
}

fn controller_url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not a URL: write `http://HOST:7700`"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(format!("`{text}` has no scheme and host: write `http://HOST:7700` or `https://HOST:7700`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_without_a_scheme_is_told_what_to_write() {
        let error = Cli::try_parse_from(["squall-agent", "--controller", "localhost:7700"]).unwrap_err().to_string();
        assert!(error.contains("write `http://HOST:7700`"), "{error}");
    }

    #[test]
    fn the_documented_exit_codes_are_the_real_ones() {
        assert_eq!(ExitCode::of(&AgentEnd::Drained), Some(ExitCode::Drained));
        assert_eq!(ExitCode::of(&AgentEnd::Lost { why: "x".into(), was_welcome: true }), None);
        assert_eq!(ExitCode::Incompatible as i32, 78);
    }
}
