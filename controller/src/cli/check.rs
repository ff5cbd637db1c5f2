//! `squall check`: a plan, read and previewed, without sending anything.

use super::failure::{self, Ended, Failure};
use super::output::{data, note};
use super::plan_args::{self, Overrides, Quick};
use crate::plan_source;
use crate::preview;
use crate::terminal::Terminal;
use squall_common::plan::Region;

/// Checks a plan and shows what it would send, without sending it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall check plan.yaml
  squall check plan.yaml --agents 4 --set load.rate=500/s
  squall check http://localhost:8080/ --rate 200/s --ramp-up 30s --for 5m")]
pub struct Args {
    /// A plan file, or a URL
    #[arg(value_name = "PLAN|URL")]
    plan: String,
    #[command(flatten)]
    overrides: Overrides,
    /// As if on so many agents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    agents: Option<u32>,
    /// As if agents stood there (repeatable) [default: as the plan's `from:`]
    #[arg(long = "region", value_name = "REGION", value_parser = plan_args::region)]
    regions: Vec<Region>,
    /// Print the preview as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    quick: Quick,
}

/// Performs the command.
pub fn perform(args: Args) -> Ended {
    let bundle = plan_args::bundle(&args.plan, &args.overrides, &args.quick)?;
    let loaded = plan_source::load(&bundle).map_err(Failure::usage)?;
    if !loaded.warnings.is_empty() {
        note(plan_source::show_warnings(&bundle, &loaded).trim_end());
    }
    let regions = plan_args::agent_regions(&loaded.plan, args.agents, &args.regions)?;
    if args.json {
        data(&format!("{:#}\n", preview::preview_json(&loaded.plan, &regions)))?;
    } else {
        data(&preview::preview(&loaded.plan, &regions, Terminal::of_stderr().width))?;
    }
    Ok(failure::OK)
}
