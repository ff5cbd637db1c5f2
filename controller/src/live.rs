//! What a run looks like right now: at most two seconds behind.

use crate::run::{Run, Stage};
use squall_common::merge::{AgentIndex, RunMerge};
use squall_common::plan::{Load, Plan, ScenarioId};
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
            view.plan_phase = phases_at(plan, elapsed);
            view.target_per_s = target_at(plan, elapsed);
        }
    }
    let totals = merge.ledger();
    (view.planned, view.sent, view.completed) = (totals.planned, totals.sent, totals.completed);
    view.errors = merge.rows().map(|(_, row)| row.not_ok).sum();
    let complete = merge.complete_until(here);
    let shown = newest.map(|newest| complete.unwrap_or(0).max(newest.saturating_sub(LAG_INTERVALS)));
    if let Some((interval, row)) = shown.and_then(|interval| Some((interval, merge.row(interval)?))) {
        if view.target_per_s > 0.0 {
            // What was asked for in the second whose figures stand beside it.
            view.target_per_s = target_at(plan, Duration::from_millis(u64::from(interval) * 1_000 + 500));
        }
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

/// The phases that loads are in.
fn phases_at(plan: &Plan, elapsed: Duration) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (phase, _) in plan.loads.iter().filter_map(|load| phase_at(load, elapsed)) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
    }
    names.join(", ")
}

/// Requests per second that open loads ask for together.
fn target_at(plan: &Plan, elapsed: Duration) -> f64 {
    let open = plan.loads.iter().filter(|load| load.peak_rate().is_some());
    open.filter_map(|load| Some(phase_at(load, elapsed)?.1 * requests_an_arrival(plan, load))).sum()
}

/// An arrival is an iteration: as many requests as its scenario has steps.
fn requests_an_arrival(plan: &Plan, load: &Load) -> f64 {
    let sum = |of: &dyn Fn(ScenarioId) -> f64| -> f64 {
        load.drives.iter().map(|&(scenario, weight)| f64::from(weight) * of(scenario)).sum()
    };
    sum(&|scenario| plan.scenario(scenario).steps.len() as f64) / sum(&|_| 1.0)
}
