//! `squall runs`: what has run.

use super::client::{At, Operator};
use super::failure::{self, Ended};
use super::output::data;
use crate::report::numbers;
use crate::terminal::{Cell, Paint, Table, Terminal, Tone};
use serde_json::json;
use squall_proto::{ListRunsRequest, RunInfo};
use std::time::{Duration, UNIX_EPOCH};

/// Lists the runs of a controller, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall runs --limit 5
  squall runs --json")]
pub struct Args {
    #[command(flatten)]
    at: At,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let mut operator = Operator::connect(&args.at.controller, &args.at.access).await?;
    let listed = operator.grpc.list_runs(ListRunsRequest { limit: args.limit }).await;
    let runs = listed.map_err(|status| operator.failure(&status))?.into_inner().runs;
    let text = if args.json { as_json(&runs) } else { as_table(&runs) };
    data(&text)?;
    Ok(failure::OK)
}

fn created(run: &RunInfo) -> String {
    numbers::rfc3339(UNIX_EPOCH + Duration::from_millis(run.created_unix_ms))
}

fn as_json(runs: &[RunInfo]) -> String {
    let one = |run: &RunInfo| {
        json!({
            "run_id": run.run_id, "name": run.name, "state": run.state, "verdict": run.verdict,
            "created_at": created(run), "duration_s": run.duration_s, "sent": run.sent,
        })
    };
    format!("{:#}\n", serde_json::Value::from(runs.iter().map(one).collect::<Vec<_>>()))
}

fn as_table(runs: &[RunInfo]) -> String {
    if runs.is_empty() {
        return "no runs yet\n".to_owned();
    }
    let mut table = Table::with_head(["run", "name", "state", "verdict", "sent", "created"]).words(&[1, 2, 3, 5]);
    for run in runs {
        let sent = numbers::count(run.sent);
        let row = [run.run_id.clone(), run.name.clone(), run.state.clone(), run.verdict.clone(), sent, created(run)];
        table.push(row.map(|text| Cell::new(Tone::Plain, text)));
    }
    // Ids are copied from here: they are never cut, however narrow the terminal.
    table.name_width(26).lines(Terminal::of_stderr().width.max(110), Paint::new(false)).join("\n") + "\n"
}
