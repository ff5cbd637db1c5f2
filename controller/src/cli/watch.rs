//! `squall watch`: a run, live, until it ends.

use super::client::{At, Operator};
use super::failure::{self, Ended};
use super::follow::{OnInterrupt, follow};
use super::output::data;
use super::report;

/// Watches a run until it ends
///
/// The exit code is the run's own. Ctrl-C leaves the run alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall watch latest
  squall watch 01JQ --json")]
pub struct Args {
    /// A run: its id, the beginning of it, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,
    #[command(flatten)]
    at: At,
    /// Print summary.json to standard output at the end
    #[arg(long)]
    json: bool,
    /// No progress and no summary
    #[arg(short, long)]
    quiet: bool,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let mut operator = Operator::connect(&args.at.controller, &args.at.access).await?;
    let Some(finished) = follow(&mut operator, &args.run, args.quiet, OnInterrupt::Leave).await? else {
        return Ok(failure::OK);
    };
    if args.json {
        data(&format!("{}\n", finished.summary_json))?;
    }
    if !args.quiet {
        match operator.result(&args.run).await {
            Ok(files) => report::show(&files),
            // An interrupted run has no files, but it has an end.
            Err(_) => super::output::note(&format!("{}: {}", finished.verdict, finished.reason)),
        }
    }
    Ok(failure::code_of_verdict(&finished.verdict))
}
