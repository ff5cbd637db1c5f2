//! `squall agents`: who is in the fleet.

use super::client::{At, Operator};
use super::failure::{self, Ended};
use super::output::data;
use crate::terminal::{Cell, Paint, Table, Terminal, Tone};
use serde_json::json;
use squall_proto::{AgentInfo, ListAgentsRequest};

/// Lists the agents of a controller
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall agents
  squall agents --controller http://10.0.0.5:7700 --json")]
pub struct Args {
    #[command(flatten)]
    at: At,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let mut operator = Operator::connect(&args.at.controller, &args.at.access).await?;
    let listed = operator.grpc.list_agents(ListAgentsRequest {}).await;
    let agents = listed.map_err(|status| operator.failure(&status))?.into_inner().agents;
    let text = if args.json { as_json(&agents) } else { as_table(&agents) };
    data(&text)?;
    Ok(failure::OK)
}

fn as_json(agents: &[AgentInfo]) -> String {
    let one = |agent: &AgentInfo| {
        json!({
            "slot": agent.slot, "region": agent.region, "state": agent.state, "version": agent.version,
            "workers": agent.workers, "epoch": agent.epoch, "connected_for_ms": agent.connected_for_ms,
            "clock_offset_ns": agent.clock_offset_ns, "clock_bound_ns": agent.clock_bound_ns, "run_id": agent.run_id,
        })
    };
    format!("{:#}\n", serde_json::Value::from(agents.iter().map(one).collect::<Vec<_>>()))
}

fn as_table(agents: &[AgentInfo]) -> String {
    if agents.is_empty() {
        return "no agents; start one: squall-agent --controller URL --region cloud/region\n".to_owned();
    }
    let mut table = Table::with_head(["slot", "region", "state", "workers", "version", "run"]).words(&[1, 2, 4, 5]);
    for agent in agents {
        let workers = agent.workers.to_string();
        let row = [&agent.slot, &agent.region, &agent.state, &workers, &agent.version, &agent.run_id];
        table.push(row.map(|text| Cell::new(Tone::Plain, text.as_str())));
    }
    table.lines(Terminal::of_stderr().width, Paint::new(false)).join("\n") + "\n"
}
