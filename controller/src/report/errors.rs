//! `errors.jsonl`: samples of failed requests, one a line.

use super::numbers::rfc3339;
use super::{RunRecord, names};
use serde_json::{Map, Value, json};
use squall_common::kept::ErrorSample;
use std::time::Duration;

/// A failed request and the slot of the agent that sent it.
pub type Kept = (String, ErrorSample);

/// The file, by time.
pub fn errors_jsonl(record: &RunRecord, mut kept: Vec<Kept>) -> Vec<u8> {
    kept.sort_by(|(slot, one), (other, another)| (one.at_us, slot).cmp(&(another.at_us, other)));
    kept.iter().map(|(slot, sample)| format!("{}\n", line(record, slot, sample))).collect::<String>().into_bytes()
}

fn line(record: &RunRecord, slot: &str, sample: &ErrorSample) -> Value {
    let plan = record.merge.plan();
    let region = record.agents.iter().find(|agent| agent.slot == slot).map(|agent| agent.region.as_str());
    let headers: Map<String, Value> =
        sample.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "at": record.started_at.checked_add(Duration::from_micros(sample.at_us)).map(rfc3339),
        "at_us": sample.at_us,
        "agent": slot,
        "region": region,
        "scenario": names::scenario(plan, sample.scenario),
        "step": names::step(plan, sample.scenario, sample.step),
        "target": names::target(plan, sample.target),
        "outcome": sample.outcome.name(),
        "status": sample.status,
        "response_time_us": sample.response_time_us,
        "phases": phases(sample),
        "headers": headers,
        "traceparent": sample.traceparent,
        "body": sample.body,
    })
}

/// Those that happened, in microseconds.
fn phases(sample: &ErrorSample) -> Map<String, Value> {
    let phases = &sample.phases;
    let named = [
        ("dns_us", phases.dns_us),
        ("connect_us", phases.connect_us),
        ("tls_us", phases.tls_us),
        ("write_us", phases.write_us),
        ("wait_us", phases.wait_us),
        ("receive_us", phases.receive_us),
        ("rtt_us", phases.rtt_us),
        ("server_us", phases.server_us),
    ];
    named.into_iter().filter_map(|(name, us)| Some((name.to_owned(), us?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::*;
    use squall_common::plan::{ScenarioId, StepId, TargetId};
    use squall_common::sample::{Outcome, PhaseTimes};

    #[test]
    fn lines_are_in_order_of_time_and_name_what_ids_stand_for() {
        let run = run(Setup { seconds: 1, ..Setup::three_regions() });
        let slot = run.record.agents[0].slot.clone();
        let sample = |at_us| ErrorSample {
            scenario: ScenarioId(0),
            step: StepId(0),
            target: TargetId(0),
            at_us,
            response_time_us: 20,
            outcome: Outcome::TimeoutFirstByte,
            status: None,
            phases: PhaseTimes { connect_us: Some(7), ..PhaseTimes::default() },
            headers: Vec::new(),
            traceparent: None,
            body: None,
        };
        let kept = vec![(slot.clone(), sample(1_500_000)), (slot.clone(), sample(250_000))];
        let text = String::from_utf8(errors_jsonl(&run.record, kept)).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["at_us"], &lines[1]["at_us"]), (&json!(250_000), &json!(1_500_000)));
        assert_eq!(lines[0]["at"], rfc3339(run.record.started_at + Duration::from_millis(250)));
        let plan = run.record.merge.plan();
        assert_eq!(lines[0]["target"], plan.targets[0].name.as_str());
        assert_eq!(lines[0]["region"], run.record.agents[0].region.as_str());
        assert_eq!((&lines[0]["outcome"], &lines[0]["status"]), (&json!("timeout_first_byte"), &Value::Null));
        assert_eq!(lines[0]["phases"], json!({"connect_us": 7}));
    }
}
