//! Where a result comes from, and what of it left the agents' regions.

use super::RunRecord;
use serde_json::{Value, json};

/// What agents tell of a run, whatever the plan: nothing that a request or a
/// response held. The protocol has no other field (`proto/cluster.proto`).
const LEFT: [&str; 5] = ["counters", "histograms", "agent_health", "clock_offsets", "errors_in_words"];

/// The `data` block of the summary.
pub fn data(record: &RunRecord) -> Value {
    let mut regions: Vec<&str> = record.agents.iter().map(|agent| agent.region.as_str()).collect();
    regions.sort_unstable();
    regions.dedup();
    let kept_there: &[&str] = if record.merge.plan().sample_log { &["sample_log"] } else { &[] };
    json!({
        "regions_of_origin": regions,
        "left_the_region": LEFT,
        "kept_in_the_region": kept_there,
    })
}
