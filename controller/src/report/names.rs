//! Names of what ids stand for, `other` included.

use super::RunRecord;
use squall_common::interval::FlowKey;
use squall_common::merge::RegionIndex;
use squall_common::plan::{Plan, ScenarioId, StepId, TargetId};

/// What lies beyond the bound on series is counted under this name.
pub const OTHER: &str = "other";

pub fn scenario(plan: &Plan, id: ScenarioId) -> &str {
    plan.scenarios.get(usize::from(id.0)).map_or(OTHER, |scenario| &scenario.name)
}

pub fn step(plan: &Plan, scenario: ScenarioId, id: StepId) -> &str {
    let scenario = plan.scenarios.get(usize::from(scenario.0));
    scenario.and_then(|scenario| scenario.steps.get(usize::from(id.0))).map_or(OTHER, |step| &step.name)
}

pub fn target(plan: &Plan, id: TargetId) -> &str {
    plan.targets.get(usize::from(id.0)).map_or(OTHER, |target| &target.name)
}

pub fn region(record: &RunRecord, index: RegionIndex) -> &str {
    record.merge.regions().get(usize::from(index.0)).map_or(OTHER, |region| region.as_str())
}

/// Whether anything was folded into [`FlowKey::OTHER`].
fn has_other(record: &RunRecord) -> bool {
    record.merge.series().keys().any(|key| key.flow == FlowKey::OTHER)
}

/// Every scenario of the plan, and `other` when something was folded into it.
pub fn scenario_ids(record: &RunRecord) -> Vec<ScenarioId> {
    let known = (0..record.merge.plan().scenarios.len() as u16).map(ScenarioId);
    known.chain(has_other(record).then_some(FlowKey::OTHER.scenario)).collect()
}

/// Every step of a scenario; what was folded into `other` has one.
pub fn step_ids(plan: &Plan, scenario: ScenarioId) -> Vec<StepId> {
    match plan.scenarios.get(usize::from(scenario.0)) {
        Some(scenario) => (0..scenario.steps.len() as u16).map(StepId).collect(),
        None => vec![FlowKey::OTHER.step],
    }
}

/// Every target of the plan, and `other` when something was folded into it.
pub fn target_ids(record: &RunRecord) -> Vec<TargetId> {
    let known = (0..record.merge.plan().targets.len() as u16).map(TargetId);
    known.chain(has_other(record).then_some(FlowKey::OTHER.target)).collect()
}

pub fn region_indices(record: &RunRecord) -> impl Iterator<Item = RegionIndex> + use<> {
    (0..record.merge.regions().len() as u16).map(RegionIndex)
}
