//! The requests (steps) of scenarios as parts of a run, over all regions and targets.

use super::{RunRecord, names};
use squall_common::merge::{Part, Scope};
use squall_common::plan::{ScenarioId, StepId};

/// Every step of a scenario that anything was planned for, in the plan's order.
pub fn requests(record: &RunRecord, scenario: ScenarioId) -> Vec<(StepId, Scope, Part)> {
    let scoped = |step| {
        let scope = Scope { scenario: Some(scenario), step: Some(step), ..Scope::default() };
        (step, scope, record.merge.part(scope))
    };
    names::step_ids(record.merge.plan(), scenario)
        .into_iter()
        .map(scoped)
        .filter(|(_, _, part)| part.ledger.planned > 0)
        .collect()
}
