//! How much of what was planned is in the result.

use super::RunRecord;
use squall_common::ledger::Ledger;
use squall_common::merge::RegionIndex;

/// `part` of `whole`; all of nothing is everything.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// Agent-intervals received over those expected, of the fleet or of one region.
fn intervals_received(record: &RunRecord, region: Option<RegionIndex>) -> f64 {
    let (mut received, mut expected) = (0, 0);
    for (merged, known) in record.merge.agents().iter().zip(&record.agents) {
        if region.is_none_or(|wanted| wanted == merged.region) {
            // Seconds beyond those expected of one agent make up for no other's.
            received += merged.intervals_received.min(known.intervals_expected);
            expected += known.intervals_expected;
        }
    }
    share(received, expected)
}

/// The smaller of: requests whose fate is known over those planned, and
/// agent-intervals received over those expected. An agent that is gone takes
/// its planned requests with it, which is why both are needed.
pub fn ratio(record: &RunRecord) -> f64 {
    if record.duration.is_zero() {
        // It never started: all of nothing would read as a whole result.
        return 0.0;
    }
    let ledger = record.merge.ledger();
    let planned = record.planned_by_plan.unwrap_or(0).max(ledger.planned);
    share(ledger.accounted(), planned).min(intervals_received(record, None))
}

/// The same for a part of the run; `region` when the part is one.
pub fn ratio_of(record: &RunRecord, ledger: &Ledger, region: Option<RegionIndex>) -> f64 {
    if record.duration.is_zero() {
        return 0.0;
    }
    share(ledger.accounted(), ledger.planned).min(intervals_received(record, region))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::*;

    #[test]
    fn a_whole_run_is_covered() {
        assert_eq!(ratio(&run(Setup::three_regions()).record), 1.0);
    }

    #[test]
    fn a_lost_agent_shows_although_every_request_it_told_of_is_accounted_for() {
        let run = run(Setup { lost: Some((2, 3)), ..Setup::three_regions() });
        assert_eq!(run.record.merge.ledger().accounted(), run.record.merge.ledger().planned);
        assert_eq!(ratio(&run.record), 0.75);
        let lost = run.record.merge.agents()[2].region;
        assert_eq!(ratio_of(&run.record, &Ledger::default(), Some(lost)), 0.25);
    }

    #[test]
    fn requests_that_the_plan_means_and_nobody_planned_are_missing() {
        let mut run = run(Setup::one_region());
        run.record.planned_by_plan = Some(2 * run.record.merge.ledger().planned);
        assert_eq!(ratio(&run.record), 0.5);
    }
}
