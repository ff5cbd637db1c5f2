//! What a reader must know before believing the figures.

use super::RunRecord;
use super::numbers::{count, latency, plural};
use super::summary::cpu_of;
use squall_common::merge::{AgentMerge, Scope};
use squall_common::plan::{Metric, Plan};

/// Response time is called far from service time beyond this factor…
const FAR: u64 = 2;
/// …and this distance; below it the difference is the generator's own work.
const FAR_US: u64 = 5_000;

/// CPU share of an agent's workers beyond which its own queueing colours every latency.
const BUSY: f64 = 0.9;

/// The run's warnings, and those that its figures give rise to.
pub fn caveats(record: &RunRecord) -> Vec<String> {
    let mut found = record.warnings.clone();
    found.extend(record.transport.caveat());
    found.extend(unverified(record.merge.plan()));
    found.extend([waited_before_sending(record), beyond_range(record), folded(record)].into_iter().flatten());
    found.extend(record.merge.agents().iter().filter_map(busy));
    found
}

/// Targets that could have been anyone.
pub fn unverified(plan: &Plan) -> impl Iterator<Item = String> {
    let insecure = plan.targets.iter().filter(|target| target.tls.insecure);
    insecure.map(|target| format!("target `{}`: certificates are not verified (tls.insecure)", target.name))
}

/// A generator near its limit measures itself, long before it falls behind.
fn busy(agent: &AgentMerge) -> Option<String> {
    let share = cpu_of(&agent.health)?;
    (share > BUSY).then(|| {
        format!(
            "agent `{}` used {:.0} % of its workers' CPU: its own work is part of every latency; add agents or cores",
            agent.slot,
            share * 100.0
        )
    })
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
    let cause = if record.merge.agents().iter().any(|agent| !agent.limited.is_empty()) {
        // The target must not be blamed for what the generator did.
        "The generator itself could not keep up, which is why this result is invalid"
    } else {
        "The target stalled, or connections ran out, and later requests queued behind it; service_time hides that \
         wait, response_time is what a user would have seen"
    };
    Some(format!(
        "requests waited before they were sent: p99 of dispatch lag is {}, so p99 of response time is {} where service \
         time alone says {}. {cause}",
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
    fn a_target_that_nobody_verified_is_told() {
        let mut setup = Setup::one_region();
        setup.plan.targets[0].tls.insecure = true;
        let told = caveats(&run(setup).record);
        assert!(told.len() == 1 && told[0].contains("`shop`: certificates are not verified"), "{told:?}");
    }

    #[test]
    fn a_controller_that_anyone_could_reach_is_told() {
        let mut record = run(Setup::one_region()).record;
        record.transport = crate::identity::transport::Transport::Insecure;
        let told = caveats(&record);
        assert!(told.len() == 1 && told[0].contains("--insecure"), "{told:?}");
    }

    #[test]
    fn a_run_without_stalls_has_no_caveat() {
        assert!(caveats(&run(Setup::one_region()).record).is_empty());
    }
}
