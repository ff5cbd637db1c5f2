//! `squall stop`: ends a run, with a result.

use super::client::{At, Operator};
use super::failure::{self, Ended};
use super::output::note;
use squall_proto::StopRunRequest;

/// Stops a run; what was measured is still reported
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall stop latest
  squall stop 01JQ --now")]
pub struct Args {
    /// A run: its id, the beginning of it, or `latest`
    #[arg(value_name = "RUN")]
    run: String,
    #[command(flatten)]
    at: At,
    /// Cut off requests in flight
    #[arg(long)]
    now: bool,
    /// Kept with the result
    #[arg(long, value_name = "TEXT", default_value = "stopped by an operator")]
    reason: String,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let mut operator = Operator::connect(&args.at.controller, &args.at.access).await?;
    let request = StopRunRequest { run_id: args.run.clone(), now: args.now, reason: args.reason };
    let stopped = operator.grpc.stop_run(request).await.map_err(|status| operator.failure(&status))?;
    match stopped.into_inner().verdict.as_str() {
        "" => note(&format!("stopping; squall watch {} shows its end", args.run)),
        verdict => note(&format!("it had ended already: {verdict}")),
    }
    Ok(failure::OK)
}
