//! What a run looks like right now: at most two seconds behind.

use crate::run::{Run, Stage};
use squall_common::merge::{AgentIndex, RunMerge};
use squall_common::plan::Plan;
use squall_common::schedule::phase_at;
use squall_proto::LiveView;
use std::time::Duration;

/// Stragglers are waited for this long; then the view goes on without them.
const LAG_INTERVALS: u32 = 2;

/// The view at `now_ns`. `newest` is the newest interval that anyone has reported.
pub fn live_view(
    run: &Run,
    merge: &RunMerge,
    here: impl Iterator<Item = AgentIndex> + Clone,
    newest: Option<u32>,
    now_ns: u64,
) -> LiveView {
    let elapsed = run.start_at_ns().map(|start| Duration::from_nanos(now_ns.saturating_sub(start)));
    let plan = merge.plan();
    let mut view = LiveView {
        phase: run.stage().name().to_owned(),
        agents: merge.agents().len() as u32,
        agents_reporting: here.clone().filter(|agent| merge.agents()[agent.0].last_interval.is_some()).count() as u32,
        total_ms: plan.offered_for().map_or(0, |offered| offered.as_millis() as u64),
        ..LiveView::default()
    };
    if let Some(elapsed) = elapsed {
        view.elapsed_ms = elapsed.as_millis() as u64;
        if run.stage() == Stage::Started {
            (view.plan_phase, view.target_per_s) = target_at(plan, elapsed);
        }
    }
    let totals = merge.ledger();
    (view.planned, view.sent, view.completed) = (totals.planned, totals.sent, totals.completed);
    view.errors = merge.rows().map(|(_, row)| row.not_ok).sum();
    let complete = merge.complete_until(here);
    let shown = newest.map(|newest| complete.unwrap_or(0).max(newest.saturating_sub(LAG_INTERVALS)));
    if let Some(row) = shown.and_then(|interval| merge.row(interval)) {
        view.sent_per_s = row.ledger.sent as f64;
        view.completed_per_s = row.ledger.completed as f64;
        view.in_flight = row.in_flight;
        view.users = row.users;
        if let Some(response) = &row.response {
            view.response_p50_us = response.percentile_us(50.0);
            view.response_p99_us = response.percentile_us(99.0);
        }
    }
    view
}

/// The phases that loads are in, and the rate they ask for together.
fn target_at(plan: &Plan, elapsed: Duration) -> (String, f64) {
    let mut names: Vec<&str> = Vec::new();
    let mut rate = 0.0;
    for load in &plan.loads {
        if let Some((phase, level)) = phase_at(load, elapsed) {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
            rate += if load.peak_rate().is_some() { level } else { 0.0 };
        }
    }
    (names.join(", "), rate)
}
