//! Where a result comes from, and what of it left the agents' regions.

use super::RunRecord;
use serde_json::{Value, json};
use squall_common::plan::KeepErrors;

/// What agents tell of a run, whatever the plan: nothing that a request or a
/// response held. The protocol has one other field, for what a plan asks by
/// `keep_errors` (`proto/cluster.proto`).
const LEFT: [&str; 5] = ["counters", "histograms", "agent_health", "clock_offsets", "errors_in_words"];

/// The `data` block of the summary.
pub fn data(record: &RunRecord) -> Value {
    let mut regions: Vec<&str> = record.agents.iter().map(|agent| agent.region.as_str()).collect();
    regions.sort_unstable();
    regions.dedup();
    let plan = record.merge.plan();
    let kept_there: &[&str] = if plan.sample_log { &["sample_log"] } else { &[] };
    let left: Vec<&str> = LEFT.into_iter().chain(plan.keep_errors.iter().flat_map(asked_for)).collect();
    json!({
        "regions_of_origin": regions,
        "left_the_region": left,
        "kept_in_the_region": kept_there,
    })
}

fn asked_for(keep: &KeepErrors) -> Vec<&'static str> {
    let mut left = vec!["error_samples"];
    match (keep.body_bytes, keep.pseudonymise) {
        (0, _) => {}
        (_, Some(_)) => left.push("pseudonymised_response_bodies"),
        (_, None) => left.push("response_bodies"),
    }
    left
}
