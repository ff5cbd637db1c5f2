//! `squall run`: on an embedded cluster, or on a controller elsewhere.

use super::access::Access;
use super::client::Operator;
use super::failure::{self, Ended, Failure};
use super::follow::{OnInterrupt, follow};
use super::output::{data, note};
use super::plan_args::{self, Overrides, Quick};
use super::{report, results, simulate};
use crate::embedded::Embedded;
use crate::plan_source;
use crate::store::EmbeddedStore;
use squall_agent::guard::Guard;
use squall_common::plan::Region;
use squall_proto::{PROTOCOL, PlanBundle, RunFinished, SubmitRunRequest};
use std::path::PathBuf;
use std::sync::Arc;

/// Agents have this long to be there before a run is given up.
const WAIT_FOR_AGENTS_MS: u64 = 10_000;
const MOST_AGENTS: i64 = 64;

/// Runs a plan and says what it came to
///
/// Without --controller the whole cluster runs in this process. Ctrl-C stops
/// gracefully and still reports; a second one stops now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall run plan.yaml --target http://localhost:8080
  squall run plan.yaml --set load.rate=50/s --agents 3
  squall run plan.yaml --controller http://10.0.0.5:7700
  squall run http://localhost:8080/ --users 50 --for 30s
  squall run https://localhost/api -X POST -d @body.json --rate 100/s --for 1m
  squall run plan.yaml --simulate")]
pub struct Args {
    /// A plan file, or a URL
    #[arg(value_name = "PLAN|URL")]
    plan: String,
    #[command(flatten)]
    overrides: Overrides,
    /// Run on the agents of this controller; of several, all of them with commas
    #[arg(long, value_name = "URL,…", env = "SQUALL_CONTROLLER")]
    controller: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Agents: so many embedded ones, or wait for so many at the controller
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_AGENTS))]
    agents: Option<u32>,
    /// Where embedded agents stand (repeatable) [default: as the plan's `from:`]
    #[arg(long = "region", value_name = "REGION", value_parser = plan_args::region, conflicts_with = "controller")]
    regions: Vec<Region>,
    /// Send the load to an embedded simulator in place of the plan's targets
    #[arg(long, conflicts_with_all = ["controller", "target"])]
    simulate: bool,
    /// Where results are saved [default: ./squall-results/RUN_ID]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Save nothing
    #[arg(long, conflicts_with = "out")]
    no_out: bool,
    /// Print summary.json to standard output
    #[arg(long)]
    json: bool,
    /// No progress and no summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    quick: Quick,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let mut bundle = plan_args::bundle(&args.plan, &args.overrides, &args.quick)?;
    let mut simulator = None;
    if args.simulate {
        let started = simulate::beside(&mut bundle, args.quiet).await?;
        simulator = Some(started);
    }
    let loaded = plan_source::load(&bundle).map_err(Failure::usage)?;
    if !args.quiet && !loaded.warnings.is_empty() {
        note(plan_source::show_warnings(&bundle, &loaded).trim_end());
    }
    let base = args.out.clone().unwrap_or_else(|| PathBuf::from("squall-results"));
    if !args.no_out {
        results::prepare(&base)?;
    }
    let ended = match &args.controller {
        Some(url) => {
            let mut operator = Operator::connect(url, &args.access).await?;
            run_on(&mut operator, &args, bundle, args.agents.unwrap_or(0)).await
        }
        None => {
            let regions = plan_args::agent_regions(&loaded.plan, args.agents, &args.regions)?;
            let sample_log = (!args.no_out).then(|| base.clone());
            let guard = Guard::for_own_plan(&loaded.plan);
            embedded(&args, bundle, &regions, sample_log, &guard).await
        }
    };
    if let Some(simulator) = simulator {
        simulator.stop().await;
    }
    ended
}

async fn embedded(
    args: &Args,
    bundle: PlanBundle,
    regions: &[Region],
    sample_log: Option<PathBuf>,
    guard: &Guard,
) -> Ended {
    let store = EmbeddedStore::temporary()
        .or_else(|_| EmbeddedStore::in_memory())
        .map_err(|error| Failure::internal(error.to_string()))?;
    let mut cluster = Embedded::start(Arc::new(store)).map_err(|error| Failure::internal(error.to_string()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = (cores / regions.len().max(1)).max(1) as u32;
    cluster.add_agents(regions, Some(workers), sample_log.as_deref(), guard);
    let mut operator = Operator::on(cluster.channel(), "the embedded controller");
    let run = run_on(&mut operator, args, bundle, regions.len() as u32);
    tokio::pin!(run);
    let ended = loop {
        tokio::select! {
            ended = &mut run => break ended,
            // The run notices by itself; people should know why.
            reason = cluster.agent_ended() => note(&format!("an embedded agent ended: {reason}")),
        }
    };
    cluster.stop().await;
    ended
}

/// Submit, watch, fetch, save, say.
async fn run_on(operator: &mut Operator, args: &Args, bundle: PlanBundle, min_agents: u32) -> Ended {
    let request = SubmitRunRequest {
        bundle: Some(bundle),
        protocol: PROTOCOL,
        min_agents,
        wait_for_agents_ms: WAIT_FOR_AGENTS_MS,
        run_id: ulid::Ulid::new().to_string(),
    };
    let run_id = operator.submit(request).await?;
    if !args.quiet {
        note(&format!("run {run_id}"));
    }
    let finished = follow(operator, &run_id, args.quiet, OnInterrupt::Stop).await?;
    let finished = finished.ok_or_else(|| Failure::aborted("the run was left before its end"))?;
    conclude(operator, args, &run_id, &finished).await
}

async fn conclude(operator: &mut Operator, args: &Args, run_id: &str, finished: &RunFinished) -> Ended {
    let files = operator.result(run_id).await;
    if args.json {
        data(&format!("{}\n", finished.summary_json))?;
    }
    let files = match files {
        Ok(files) => files,
        Err(failure) => {
            // The result is not there, but what it came to is known.
            note(&format!("verdict: {} {}", finished.verdict, finished.reason));
            return Err(failure);
        }
    };
    if !args.quiet {
        report::show(&files);
    } else if !finished.reason.is_empty() {
        // Quiet is about figures; that there are none is worth a line.
        note(&failure::wrapped(&format!("{}: {}", finished.verdict, finished.reason), failure::WIDTH));
    }
    if !args.no_out {
        let dir = args.out.clone().unwrap_or_else(|| PathBuf::from("squall-results").join(run_id));
        results::write(&dir, &report::saved(&files)).map_err(|failure| not_saved(args, run_id, finished, &failure))?;
        if !args.quiet {
            note(&format!("results in {}", dir.display()));
        }
    }
    Ok(failure::code_of_verdict(&finished.verdict))
}

/// The run is over: what it came to must not be lost with its files.
fn not_saved(args: &Args, run_id: &str, finished: &RunFinished, failure: &Failure) -> Failure {
    let verdict = &finished.verdict;
    let again = match &args.controller {
        Some(url) => format!("`squall report {run_id} --out DIR --controller {url}` saves its results elsewhere"),
        None => "but its results are lost: free some space, or name another place with --out DIR".to_owned(),
    };
    Failure { text: format!("{}; the run itself {verdict}, {again}", failure.text), code: failure.code }
}
