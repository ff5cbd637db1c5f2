//! What a reader must know before believing the figures.

use super::RunRecord;
use super::numbers::{count, latency, plural};
use squall_common::merge::Scope;
use squall_common::plan::Metric;

/// Response time is called far from service time beyond this factor…
const FAR: u64 = 2;
/// …and this distance; below it the difference is the generator's own work.
const FAR_US: u64 = 5_000;

/// The run's warnings, and those that its figures give rise to.
pub fn caveats(record: &RunRecord) -> Vec<String> {
    let mut found = record.warnings.clone();
    found.extend([waited_before_sending(record), beyond_range(record), folded(record)].into_iter().flatten());
    found
}

/// Says so when service time alone would hide what users waited for.
fn waited_before_sending(record: &RunRecord) -> Option<String> {
    let all = record.merge.part(Scope::default());
    let p99 = |metric| all.series.latencies(metric).filter(|l| !l.is_empty()).map(|l| l.percentile_us(99.0));
    let (response, service) = (p99(Metric::ResponseTime)?, p99(Metric::ServiceTime)?);
    let lag = p99(Metric::DispatchLag).unwrap_or(0);
    let far = response > FAR * service && response - service > FAR_US;
    if !far && (lag <= FAR_US || lag <= service) {
        return None;
    }
    let words = |us: u64| latency(us as f64).trim_end().to_owned();
    Some(format!(
        "requests waited before they were sent: p99 of dispatch lag is {}, so p99 of response time is {} where service \
         time alone says {}. The target stalled, or connections ran out, and later requests queued behind it; \
         service_time hides that wait, response_time is what a user would have seen",
        words(lag),
        words(response),
        words(service)
    ))
}

fn beyond_range(record: &RunRecord) -> Option<String> {
    let all = record.merge.part(Scope::default());
    let overflow = all.series.metrics().map(|(_, latencies)| latencies.overflow()).max().filter(|&most| most > 0)?;
    Some(format!("{} took longer than one hour, the end of the range: shown as one hour", plural(overflow, "value")))
}

fn folded(record: &RunRecord) -> Option<String> {
    let most = record.merge.agents().iter().map(|agent| agent.health.series_folded).max().filter(|&most| most > 0)?;
    Some(format!(
        "the plan has {} combinations of scenario, request and target beyond the bound; they are counted together as \
         `other`",
        count(most)
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::*;

    #[test]
    fn a_stall_that_service_time_hides_is_told() {
        let told = caveats(&run(Setup { stall_us: 400_000, ..Setup::one_region() }).record);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("service_time hides that wait"), "{told:?}");
    }

    #[test]
    fn a_run_without_stalls_has_no_caveat() {
        assert!(caveats(&run(Setup::one_region()).record).is_empty());
    }
}
