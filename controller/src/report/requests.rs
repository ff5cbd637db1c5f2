//! What came of each request (step) of a scenario, over all regions and targets.

use super::RunRecord;
use squall_common::interval::Series;
use squall_common::ledger::Ledger;
use squall_common::plan::{ScenarioId, StepId};
use std::collections::BTreeMap;

/// What came of one step. What was planned and sent is counted by scenario.
#[derive(Clone, Debug, Default)]
pub struct RequestPart {
    pub series: Series,
}

impl RequestPart {
    /// Whole responses, whatever they said.
    pub fn completed(&self) -> u64 {
        self.ledger().completed
    }

    /// Attempts that ended without a whole response.
    pub fn failed(&self) -> u64 {
        self.ledger().failed
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add_series(&self.series);
        ledger
    }
}

/// Every step that anything came of.
pub fn requests(record: &RunRecord) -> BTreeMap<(ScenarioId, StepId), RequestPart> {
    let mut parts: BTreeMap<(ScenarioId, StepId), RequestPart> = BTreeMap::new();
    for (key, series) in record.merge.series() {
        parts.entry((key.flow.scenario, key.flow.step)).or_default().series.add(&series);
    }
    parts
}
