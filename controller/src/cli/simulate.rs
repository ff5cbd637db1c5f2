//! `squall simulate`: a cloud to rehearse against, alone or beside a run.

use super::failure::{self, Ended, Failure};
use super::output::note;
use crate::plan_source;
use squall_common::plan::Target;
use squall_proto::{Override, PlanBundle};
use squall_simulator::{Config, RegionAddress, Simulator, StartError};
use std::path::PathBuf;

/// Serves a simulated multi-region cloud until Ctrl-C
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall simulate
  squall simulate cloud.yaml")]
pub struct Args {
    /// Its regions and models, in YAML or JSON [default: three usual regions]
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let config = match &args.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            Config::from_yaml_or_json(&text).map_err(|error| Failure::usage(error.to_string()))?
        }
    };
    let simulator = start(config).await?;
    note(simulator.banner().trim_end());
    tokio::signal::ctrl_c().await.map_err(|error| Failure::internal(error.to_string()))?;
    simulator.stop().await;
    Ok(failure::OK)
}

async fn start(config: Config) -> Result<Simulator, Failure> {
    Simulator::start(config).await.map_err(|error| match error {
        StartError::Config(_) | StartError::Listen { .. } => Failure::usage(error.to_string()),
        StartError::Timer(_) => Failure::internal(error.to_string()),
    })
}

/// Starts the usual simulator and points the plan's targets at it: by region, or at the first.
pub async fn beside(bundle: &mut PlanBundle, quiet: bool) -> Result<Simulator, Failure> {
    let simulator = start(Config::default()).await?;
    let regions = simulator.regions();
    let first = regions.first().ok_or_else(|| Failure::internal("the simulator has no region"))?;
    // A short plan may still lack its host, which the simulator then is.
    let targets = plan_source::load(bundle).map(|loaded| loaded.plan.targets).unwrap_or_default();
    let overrides = match targets.as_slice() {
        [] | [_] => vec![("target".to_owned(), address(targets.first(), &regions, first))],
        several => {
            let one =
                |target: &Target| (format!("targets.{}.url", target.name), address(Some(target), &regions, first));
            several.iter().map(one).collect()
        }
    };
    if !quiet {
        for (key, url) in &overrides {
            note(&format!("simulating {key} at {url}"));
        }
    }
    bundle.overrides.extend(overrides.into_iter().map(|(key, value)| Override { key, value }));
    Ok(simulator)
}

fn address(target: Option<&Target>, regions: &[RegionAddress], first: &RegionAddress) -> String {
    let Some(target) = target else { return first.url.clone() };
    let named = |region: &&RegionAddress| target.region.as_ref().is_some_and(|wanted| wanted.as_str() == region.name);
    let region = regions.iter().find(named).unwrap_or(first);
    // What the plan put before every path stays there.
    format!("{}{}", region.url, target.base_path)
}
