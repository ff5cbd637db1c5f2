//! The only file that names both our types and the protobuf ones.
//!
//! Reading foreign bytes never panics: every field is checked, and what is
//! wrong is said by name.

mod coder;
mod foreign;
mod kept;
mod packed;

pub use kept::{read_error, write_error};
pub use packed::Damaged;

use crate::generation::Tokens;
use crate::histogram::{Latencies, ShapeMismatch};
use crate::interval::{Flow, FlowKey, Health, IntervalSnapshot, MAX_FLOWS, Series, SeriesKey, SkipReason};
use crate::ledger::Ledger;
use crate::plan::file::PlanSource;
use crate::plan::{Metric, ScenarioId, StepId, TargetId};
use crate::sample::{Outcome, OutcomeClass};
use crate::split::{InvalidShare, Share};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use prost::Message;
use squall_proto as proto;
use thiserror::Error;

/// Intervals one snapshot may span; a run of days merged under pressure stays below it.
const MAX_SPAN: u32 = 1 << 20;

#[derive(Debug, Error)]
pub enum Malformed {
    #[error("{field} {value} is out of range")]
    OutOfRange { field: &'static str, value: u64 },
    #[error("histogram of {metric} cannot be read: {reason}")]
    Histogram { metric: &'static str, reason: String },
    #[error("histogram of {metric}: {source}")]
    Shape { metric: &'static str, source: ShapeMismatch },
    #[error(transparent)]
    Packed(#[from] Damaged),
    #[error(transparent)]
    Share(#[from] InvalidShare),
    #[error("{field} appears twice")]
    Twice { field: &'static str },
}

fn narrow(field: &'static str, value: u32) -> Result<u16, Malformed> {
    u16::try_from(value).map_err(|_| Malformed::OutOfRange { field, value: value.into() })
}

fn flow_key(scenario: u32, step: u32, target: u32) -> Result<FlowKey, Malformed> {
    Ok(FlowKey {
        scenario: ScenarioId(narrow("scenario", scenario)?),
        step: StepId(narrow("step", step)?),
        target: TargetId(narrow("target", target)?),
    })
}

fn counts<'a, const N: usize>(
    field: &'static str,
    codes: impl IntoIterator<Item = &'a proto::CodeCount>,
) -> Result<[u64; N], Malformed> {
    let mut counts = [0u64; N];
    for entry in codes {
        let place =
            counts.get_mut(entry.code as usize).ok_or(Malformed::OutOfRange { field, value: entry.code.into() })?;
        *place = place.saturating_add(entry.count);
    }
    Ok(counts)
}

fn code_counts(counts: &[u64]) -> Vec<proto::CodeCount> {
    (0u32..)
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(code, &count)| proto::CodeCount { code, count })
        .collect()
}

/// Writes histograms; keeps its buffers between uses.
pub struct SnapshotWriter {
    serializer: V2DeflateSerializer,
}

impl Default for SnapshotWriter {
    fn default() -> Self {
        Self { serializer: V2DeflateSerializer::new() }
    }
}

impl SnapshotWriter {
    /// HdrHistogram V2, deflated.
    pub fn histogram(&mut self, latencies: &Latencies) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        self.serializer
            .serialize(latencies.histogram(), &mut bytes)
            .expect("a Vec takes any histogram of constant shape");
        bytes
    }

    pub fn snapshot(
        &mut self,
        run_id: &str,
        slot: &str,
        epoch: u64,
        sequence: u64,
        snapshot: &IntervalSnapshot,
    ) -> proto::Snapshot {
        proto::Snapshot {
            run_id: run_id.to_owned(),
            slot: slot.to_owned(),
            epoch,
            sequence,
            first_interval: snapshot.first_interval,
            last_interval: snapshot.last_interval,
            flows: snapshot.flows.iter().map(|(key, flow)| write_flow(*key, flow)).collect(),
            series: snapshot.series.iter().map(|(key, series)| write_series(*key, series)).collect(),
            health: Some(write_health(&snapshot.health)),
            errors: Vec::new(),
        }
    }
}

fn write_series(key: SeriesKey, series: &Series) -> proto::Series {
    proto::Series {
        scenario: key.flow.scenario.0.into(),
        step: key.flow.step.0.into(),
        target: key.flow.target.0.into(),
        outcome_class: key.class.code(),
        outcomes: code_counts(&series.outcomes),
        statuses: series
            .statuses
            .iter()
            .map(|(&status, &count)| proto::CodeCount { code: status.into(), count })
            .collect(),
        bytes_sent: series.bytes_sent,
        bytes_received: series.bytes_received,
        body_bytes: series.body_bytes,
        decoded_body_bytes: series.decoded_body_bytes,
        tokens: (!series.tokens.is_empty()).then(|| write_tokens(&series.tokens)),
        histograms: series
            .metrics()
            .map(|(metric, latencies)| proto::MetricHistogram {
                metric: metric.index() as u32,
                v2_deflate: Vec::new().into(),
                overflow: latencies.overflow(),
                sum_us: latencies.sum_us() as u64,
            })
            .collect(),
        packed: packed::pack(series.metrics().map(|(_, latencies)| latencies.histogram())).into(),
    }
}

fn write_tokens(tokens: &Tokens) -> proto::Tokens {
    proto::Tokens {
        generations: tokens.generations,
        with_usage: tokens.with_usage,
        input: tokens.input,
        output: tokens.output,
        cached: tokens.cached,
        reasoning: tokens.reasoning,
        chunks: tokens.chunks,
        stalls: tokens.stalls,
        good: tokens.good,
        prompts_filtered: tokens.prompts_filtered,
        finish: code_counts(&tokens.finish),
    }
}

fn read_tokens(wire: &proto::Tokens) -> Result<Tokens, Malformed> {
    Ok(Tokens {
        generations: wire.generations,
        with_usage: wire.with_usage,
        input: wire.input,
        output: wire.output,
        cached: wire.cached,
        reasoning: wire.reasoning,
        chunks: wire.chunks,
        stalls: wire.stalls,
        good: wire.good,
        prompts_filtered: wire.prompts_filtered,
        finish: counts("finish reason", &wire.finish)?,
    })
}

fn write_flow(key: FlowKey, flow: &Flow) -> proto::Flow {
    proto::Flow {
        scenario: key.scenario.0.into(),
        step: key.step.0.into(),
        target: key.target.0.into(),
        planned: flow.planned,
        sent: flow.sent,
        skipped: code_counts(&flow.skipped),
        cut_off: flow.cut_off,
        iterations_started: flow.iterations_started,
        iterations_completed: flow.iterations_completed,
    }
}

fn write_health(health: &Health) -> proto::Health {
    proto::Health {
        wall_us: health.wall_us,
        worker_cpu_us: health.worker_cpu_us,
        cgroup_throttled_us: health.cgroup_throttled_us,
        workers: health.workers,
        worst_stall_us: health.worst_stall_us,
        in_flight: health.in_flight,
        users: health.users,
        connections: health.connections,
        connections_opened: health.connections_opened,
        generator_limited: health.generator_limited.clone().unwrap_or_default(),
        series_folded: health.series_folded,
        resident_bytes: health.resident_bytes,
        tokens_fetched: health.tokens_fetched,
        tokens_failed: health.tokens_failed,
        token_fetch_us: health.token_fetch_us,
    }
}

fn read_health(health: &proto::Health) -> Health {
    Health {
        wall_us: health.wall_us,
        worker_cpu_us: health.worker_cpu_us,
        cgroup_throttled_us: health.cgroup_throttled_us,
        workers: health.workers,
        worst_stall_us: health.worst_stall_us,
        in_flight: health.in_flight,
        users: health.users,
        connections: health.connections,
        connections_opened: health.connections_opened,
        series_folded: health.series_folded,
        resident_bytes: health.resident_bytes,
        tokens_fetched: health.tokens_fetched,
        tokens_failed: health.tokens_failed,
        token_fetch_us: health.token_fetch_us,
        generator_limited: Some(health.generator_limited.clone()).filter(|reason| !reason.is_empty()),
    }
}

/// Reads HdrHistogram V2, deflated or not.
pub fn read_histogram(bytes: &[u8], metric: Metric, overflow: u64, sum_us: u64) -> Result<Latencies, Malformed> {
    let bytes = foreign::bounded_histogram(bytes, metric)?;
    let histogram = Deserializer::new()
        .deserialize(&mut std::io::Cursor::new(bytes))
        .map_err(|reason| Malformed::Histogram { metric: metric.name(), reason: format!("{reason:?}") })?;
    Latencies::from_parts(histogram, overflow, sum_us.into())
        .map_err(|source| Malformed::Shape { metric: metric.name(), source })
}

fn read_series(wire: &proto::Series) -> Result<Series, Malformed> {
    let mut series = Series::default();
    series.outcomes = counts::<{ Outcome::ALL.len() }>("outcome", &wire.outcomes)?;
    series.bytes_sent = wire.bytes_sent;
    series.bytes_received = wire.bytes_received;
    series.body_bytes = wire.body_bytes;
    series.decoded_body_bytes = wire.decoded_body_bytes;
    if let Some(tokens) = &wire.tokens {
        series.tokens = read_tokens(tokens)?;
    }
    for entry in &wire.statuses {
        series.statuses.insert(narrow("status", entry.code)?, entry.count);
    }
    if wire.histograms.len() > Metric::COUNT {
        return Err(Malformed::OutOfRange { field: "histograms", value: wire.histograms.len() as u64 });
    }
    let packed = wire.histograms.iter().filter(|histogram| histogram.v2_deflate.is_empty()).count();
    let mut unpacked = if packed > 0 { packed::unpack(&wire.packed, packed)? } else { Vec::new() }.into_iter();
    for histogram in &wire.histograms {
        let metric = *Metric::ALL
            .get(histogram.metric as usize)
            .ok_or(Malformed::OutOfRange { field: "metric", value: histogram.metric.into() })?;
        if series.latencies(metric).is_some() {
            return Err(Malformed::Twice { field: metric.name() });
        }
        let (overflow, sum_us) = (histogram.overflow, histogram.sum_us);
        *series.latencies_mut(metric) = match histogram.v2_deflate.is_empty().then(|| unpacked.next()).flatten() {
            Some(counts) => Latencies::from_parts(counts, overflow, sum_us.into())
                .map_err(|source| Malformed::Shape { metric: metric.name(), source })?,
            None => read_histogram(&histogram.v2_deflate, metric, overflow, sum_us)?,
        };
    }
    Ok(series)
}

pub fn read_snapshot(wire: &proto::Snapshot) -> Result<IntervalSnapshot, Malformed> {
    let span = wire.last_interval.checked_sub(wire.first_interval);
    if span.is_none_or(|span| span > MAX_SPAN) {
        return Err(Malformed::OutOfRange { field: "last_interval", value: wire.last_interval.into() });
    }
    // Each has histograms of 200 KB, however few bytes they came in.
    if wire.series.len() > (MAX_FLOWS + 1) * OutcomeClass::ALL.len() {
        return Err(Malformed::OutOfRange { field: "series", value: wire.series.len() as u64 });
    }
    let mut snapshot = IntervalSnapshot::of(wire.first_interval);
    snapshot.last_interval = wire.last_interval;
    snapshot.health = wire.health.as_ref().map(read_health).unwrap_or_default();
    for flow in &wire.flows {
        let read = Flow {
            planned: flow.planned,
            sent: flow.sent,
            skipped: counts::<{ SkipReason::ALL.len() }>("skip reason", &flow.skipped)?,
            cut_off: flow.cut_off,
            iterations_started: flow.iterations_started,
            iterations_completed: flow.iterations_completed,
        };
        if snapshot.flows.insert(flow_key(flow.scenario, flow.step, flow.target)?, read).is_some() {
            return Err(Malformed::Twice { field: "flow" });
        }
    }
    for series in &wire.series {
        let class = OutcomeClass::from_code(series.outcome_class)
            .ok_or(Malformed::OutOfRange { field: "outcome class", value: series.outcome_class.into() })?;
        let key = SeriesKey { flow: flow_key(series.scenario, series.step, series.target)?, class };
        if snapshot.series.insert(key, read_series(series)?).is_some() {
            return Err(Malformed::Twice { field: "series" });
        }
    }
    foreign::check_counts(&snapshot)?;
    Ok(snapshot)
}

pub fn write_share(share: &Share) -> proto::Share {
    proto::Share {
        weights: share.weights().to_vec(),
        index: share.index() as u32,
        within: share.parent().map(|whole| Box::new(write_share(whole))),
    }
}

/// The part an agent of weight zero gets is not sent as an empty list: it is a share that owns nothing.
pub fn read_share(wire: &proto::Share) -> Result<Share, Malformed> {
    let share = Share::new(wire.weights.clone(), wire.index as usize)?;
    // Nesting is bounded by the decoder: prost reads no more than 100 levels.
    Ok(match &wire.within {
        Some(whole) => share.within(read_share(whole)?),
        None => share,
    })
}

/// A bundle as the plan reader takes it; both sides must read the same out of it.
pub fn read_bundle(bundle: &proto::PlanBundle) -> PlanSource {
    PlanSource {
        name: bundle.plan_name.clone(),
        text: bundle.plan_text.clone(),
        files: bundle.files.iter().map(|file| (file.path.clone(), file.content.clone())).collect(),
        overrides: bundle.overrides.iter().map(|set| (set.key.clone(), set.value.clone())).collect(),
    }
}

/// What both sides know a plan with its files by: SHA-256 over the encoded bundle, in hexadecimal.
pub fn bundle_digest(bundle: &proto::PlanBundle) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bundle.encode_to_vec()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The totals an agent counted apart from its snapshots.
pub fn read_totals(wire: &proto::Finished) -> Ledger {
    Ledger {
        planned: wire.planned,
        sent: wire.sent,
        skipped: wire.skipped,
        completed: wire.completed,
        failed: wire.failed,
        cut_off: wire.cut_off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    fn any_snapshot() -> impl Strategy<Value = IntervalSnapshot> {
        let flow = (0u16..3, 0u16..3, 0u16..3, 0u64..1_000, 0u64..1_000, 0u64..9).prop_map(
            |(scenario, step, target, planned, sent, skipped)| {
                let key = FlowKey { scenario: ScenarioId(scenario), step: StepId(step), target: TargetId(target) };
                (key, Flow { planned, sent, skipped: [skipped, 0, 1, 0], ..Flow::default() })
            },
        );
        let series = (0u16..3, 0usize..9, 0usize..Metric::COUNT, prop::collection::vec(1u64..4_000_000_000, 0..40))
            .prop_map(|(scenario, class, metric, values)| {
                let flow = FlowKey { scenario: ScenarioId(scenario), step: StepId(0), target: TargetId(1) };
                let mut series = Series::default();
                series.outcomes[class] = values.len() as u64;
                series.statuses.insert(200, values.len() as u64);
                for value in values {
                    series.latencies_mut(Metric::ALL[metric]).record_us(value);
                }
                (SeriesKey { flow, class: OutcomeClass::ALL[class] }, series)
            });
        (0u32..100, prop::collection::vec(flow, 0..5), prop::collection::vec(series, 0..5)).prop_map(
            |(interval, flows, series)| {
                let mut snapshot = IntervalSnapshot::of(interval);
                snapshot.flows = flows.into_iter().collect();
                snapshot.series = series.into_iter().collect();
                snapshot.health.worker_cpu_us = 7;
                snapshot
            },
        )
    }

    proptest! {
        #[test]
        fn a_snapshot_survives_the_wire_bucket_by_bucket(snapshot in any_snapshot()) {
            let wire = SnapshotWriter::default().snapshot("run", "slot", 1, 2, &snapshot);
            let bytes = wire.encode_to_vec();
            let read = read_snapshot(&proto::Snapshot::decode(bytes.as_slice()).unwrap()).unwrap();
            prop_assert_eq!(read, snapshot);
        }

        #[test]
        fn no_bytes_make_a_histogram_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_histogram(&bytes, Metric::ResponseTime, 0, 0);
        }

        #[test]
        fn a_damaged_snapshot_is_refused_or_read_never_a_panic(snapshot in any_snapshot(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = SnapshotWriter::default().snapshot("run", "slot", 1, 2, &snapshot).encode_to_vec();
            let place = at.index(bytes.len());
            bytes[place] = to;
            if let Ok(wire) = proto::Snapshot::decode(bytes.as_slice()) {
                let _ = read_snapshot(&wire);
            }
        }

        /// Merging in any grouping gives the histogram of all samples.
        #[test]
        fn merging_workers_then_agents_equals_recording_by_one(parts in prop::collection::vec(prop::collection::vec(1u64..10_000_000, 0..50), 1..6)) {
            let mut one = Latencies::new();
            parts.iter().flatten().for_each(|&value| one.record_us(value));
            let mut merged = Latencies::new();
            for values in &parts {
                let mut part = Latencies::new();
                values.iter().for_each(|&value| part.record_us(value));
                let bytes = SnapshotWriter::default().histogram(&part);
                merged.add(&read_histogram(&bytes, Metric::ResponseTime, part.overflow(), part.sum_us() as u64).unwrap());
            }
            prop_assert_eq!(merged, one);
        }
    }

    #[test]
    fn ten_thousand_samples_of_one_series_fit_into_four_kibibytes() {
        let mut random = crate::random::Random::at(1, &[]);
        let mut series = Series::default();
        for _ in 0..10_000 {
            // Around 5 ms with a tail, as a web service answers.
            let service_us = (4_000.0 + 1_000.0 * random.exponential()) as u64;
            let sample = crate::sample::Sample {
                scenario: ScenarioId(0),
                step: StepId(0),
                target: TargetId(0),
                intended_ns: 0,
                sent_ns: Some(20_000 + random.below(30_000)),
                done_ns: service_us * 1_000,
                outcome: Outcome::Ok,
                status: Some(200),
                phases: crate::sample::PhaseTimes {
                    write_us: Some(random.below(8)),
                    wait_us: Some(service_us),
                    receive_us: Some(random.below(6)),
                    ..Default::default()
                },
                bytes_sent: 100,
                bytes_received: 200,
                body_bytes: 16,
                decoded_body_bytes: 16,
            };
            series.record(&sample);
        }
        let mut snapshot = IntervalSnapshot::of(1);
        let flow = FlowKey { scenario: ScenarioId(0), step: StepId(0), target: TargetId(0) };
        snapshot.flows.insert(flow, Flow { planned: 10_000, sent: 10_000, ..Flow::default() });
        snapshot.series.insert(SeriesKey { flow, class: OutcomeClass::Ok }, series);
        let bytes =
            SnapshotWriter::default().snapshot("01J0000000000000000000000", "agent-1", 1, 2, &snapshot).encoded_len();
        assert!(bytes <= 4_096, "{bytes} bytes");
    }
}
