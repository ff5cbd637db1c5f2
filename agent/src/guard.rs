//! What this agent lets plans do: its owner's limits, whatever a plan asks.

use crate::ceiling::Ceilings;
use clap::Args;
use squall_common::allow::{AllowList, Pattern};
use squall_common::plan::Plan;
use squall_common::units;
use std::sync::Arc;

/// An agent's own limits. The default allows loopback only, without ceilings.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    pub allow: Arc<AllowList>,
    pub ceilings: Ceilings,
}

impl Guard {
    /// For an agent in the process of the user who wrote the plan: what the plan names, and nothing else.
    pub fn for_own_plan(plan: &Plan) -> Self {
        Self { allow: Arc::new(AllowList::exactly(plan)), ceilings: Ceilings::default() }
    }
}

/// The flags of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What plans may do here")]
pub struct GuardArgs {
    /// A target that plans may send load to (repeatable): api.example.com, *.example.com, 10.0.0.0/8,
    /// each with an optional :PORT [default: loopback only]
    #[arg(long = "allow-target", value_name = "PATTERN", env = "SQUALL_ALLOW_TARGETS", value_delimiter = ',')]
    pub allow_targets: Vec<Pattern>,
    /// The most requests per time, e.g. 500/s [default: no ceiling]
    #[arg(long, value_name = "RATE", env = "SQUALL_MAX_RATE", value_parser = rate)]
    pub max_rate: Option<f64>,
    /// The most connections open at once [default: no ceiling]
    #[arg(long, value_name = "N", env = "SQUALL_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,
    /// The most bytes sent and received a second, e.g. 10MiB [default: no ceiling]
    #[arg(long, value_name = "BYTES", env = "SQUALL_MAX_BYTES_PER_S", value_parser = bytes)]
    pub max_bytes_per_s: Option<u64>,
}

impl GuardArgs {
    pub fn guard(self) -> Guard {
        let ceilings = Ceilings {
            max_rate: self.max_rate,
            max_connections: self.max_connections,
            max_bytes_per_s: self.max_bytes_per_s,
        };
        Guard { allow: Arc::new(AllowList::of(self.allow_targets)), ceilings }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = units::parse_rate(text).map_err(|invalid| invalid.to_string())?;
    if rate > 0.0 { Ok(rate) } else { Err("a ceiling of nothing lets nothing through: write e.g. `500/s`".to_owned()) }
}

fn bytes(text: &str) -> Result<u64, String> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    match units::parse_bytes(text).map_err(|invalid| invalid.to_string())? {
        0 => Err("a ceiling of nothing lets nothing through: write e.g. `10MiB`".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        guard: GuardArgs,
    }

    fn guard(flags: &[&str]) -> Result<Guard, String> {
        let parsed = Cli::try_parse_from(std::iter::once(&"agent").chain(flags));
        parsed.map(|cli| cli.guard.guard()).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_are_read_with_their_units() {
        let guard = guard(&[
            "--allow-target",
            "a.test,10.0.0.0/8",
            "--allow-target",
            "b.test:81",
            "--max-rate",
            "600/min",
            "--max-connections",
            "50",
            "--max-bytes-per-s",
            "10KiB/s",
        ])
        .unwrap();
        assert_eq!(guard.allow.to_string(), "a.test, 10.0.0.0/8, b.test:81");
        let ceilings = guard.ceilings;
        assert_eq!((ceilings.max_rate, ceilings.max_connections), (Some(10.0), Some(50)));
        assert_eq!(ceilings.max_bytes_per_s, Some(10 << 10));
    }

    #[test]
    fn a_flag_that_cannot_be_meant_says_what_to_write() {
        for (flag, value, advice) in [
            ("--allow-target", "https://a.test", "only the host"),
            ("--max-rate", "0/s", "lets nothing through"),
            ("--max-bytes-per-s", "0", "lets nothing through"),
            ("--max-connections", "0", "0 is not in"),
        ] {
            let told = guard(&[flag, value]).unwrap_err();
            assert!(told.contains(advice), "{flag} {value}: {told}");
        }
    }
}
