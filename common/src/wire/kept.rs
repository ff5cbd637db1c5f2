//! Kept error samples, to and from the wire.

use super::{Malformed, flow_key};
use crate::kept::{ErrorSample, HEADER_BYTES, NAMING_HEADERS};
use crate::plan::KeepErrors;
use crate::sample::{Outcome, PhaseTimes};
use squall_proto as proto;

pub fn write_error(sample: &ErrorSample) -> proto::ErrorSample {
    let phases = sample.phases;
    let header = |(name, text): &(String, String)| proto::NamedText { name: name.clone(), text: text.clone() };
    proto::ErrorSample {
        scenario: sample.scenario.0.into(),
        step: sample.step.0.into(),
        target: sample.target.0.into(),
        at_us: sample.at_us,
        response_time_us: sample.response_time_us,
        outcome: sample.outcome.code(),
        status: sample.status.unwrap_or(0).into(),
        dns_us: phases.dns_us,
        connect_us: phases.connect_us,
        tls_us: phases.tls_us,
        write_us: phases.write_us,
        wait_us: phases.wait_us,
        receive_us: phases.receive_us,
        rtt_us: phases.rtt_us,
        server_us: phases.server_us,
        headers: sample.headers.iter().map(header).collect(),
        traceparent: sample.traceparent.clone(),
        body: sample.body.clone(),
    }
}

/// Refuses what no agent of ours says: what the plan did not ask for does not come in by this way.
pub fn read_error(wire: &proto::ErrorSample, asked: &KeepErrors) -> Result<ErrorSample, Malformed> {
    let out_of_range = |field, value: usize| Malformed::OutOfRange { field, value: value as u64 };
    let key = flow_key(wire.scenario, wire.step, wire.target)?;
    let outcome = Outcome::from_code(wire.outcome).ok_or(out_of_range("outcome", wire.outcome as usize))?;
    let status = u16::try_from(wire.status).map_err(|_| out_of_range("status", wire.status as usize))?;
    let is_known =
        |header: &proto::NamedText| NAMING_HEADERS.contains(&header.name.as_str()) && header.text.len() <= HEADER_BYTES;
    if wire.headers.len() > NAMING_HEADERS.len() || !wire.headers.iter().all(is_known) {
        return Err(out_of_range("error sample's headers", wire.headers.len()));
    }
    let text = |field, text: &Option<String>, most: usize| match text {
        Some(text) if text.len() > most => Err(out_of_range(field, text.len())),
        text => Ok(text.clone()),
    };
    Ok(ErrorSample {
        scenario: key.scenario,
        step: key.step,
        target: key.target,
        at_us: wire.at_us,
        response_time_us: wire.response_time_us,
        outcome,
        status: (status != 0).then_some(status),
        phases: PhaseTimes {
            dns_us: wire.dns_us,
            connect_us: wire.connect_us,
            tls_us: wire.tls_us,
            write_us: wire.write_us,
            wait_us: wire.wait_us,
            receive_us: wire.receive_us,
            rtt_us: wire.rtt_us,
            server_us: wire.server_us,
        },
        headers: wire.headers.iter().map(|header| (header.name.clone(), header.text.clone())).collect(),
        traceparent: text("traceparent", &wire.traceparent, HEADER_BYTES)?,
        body: text("error sample's body", &wire.body, asked.body_bytes as usize)?.filter(|_| asked.body_bytes > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ScenarioId, StepId, TargetId};

    fn asked(body_bytes: u32) -> KeepErrors {
        KeepErrors { per_target: 5, body_bytes, pseudonymise: None }
    }

    fn sample() -> ErrorSample {
        ErrorSample {
            scenario: ScenarioId(1),
            step: StepId(2),
            target: TargetId(3),
            at_us: 4_500_000,
            response_time_us: 1_250,
            outcome: Outcome::Throttled,
            status: Some(429),
            phases: PhaseTimes { wait_us: Some(1_000), rtt_us: Some(0), ..PhaseTimes::default() },
            headers: vec![("x-request-id".into(), "a1".into())],
            traceparent: Some("00-1-2-01".into()),
            body: Some("slow down".into()),
        }
    }

    #[test]
    fn a_sample_comes_back_as_it_was_sent() {
        assert_eq!(read_error(&write_error(&sample()), &asked(64)).unwrap(), sample());
        let unanswered = ErrorSample { status: None, body: None, traceparent: None, ..sample() };
        assert_eq!(read_error(&write_error(&unanswered), &asked(0)).unwrap(), unanswered);
    }

    #[test]
    fn what_the_plan_did_not_ask_for_does_not_come_in() {
        let body = |bytes| read_error(&write_error(&sample()), &asked(bytes));
        assert!(body(0).is_err() && body(8).is_err() && body(9).is_ok());
        let header = ErrorSample { headers: vec![("set-cookie".into(), "a=b".into())], ..sample() };
        assert!(read_error(&write_error(&header), &asked(64)).is_err());
        let outcome = proto::ErrorSample { outcome: 999, ..write_error(&sample()) };
        assert!(read_error(&outcome, &asked(64)).is_err());
    }
}
