//! The size of a snapshot on the wire, from the histograms of a real run.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use prost::Message;
use squall_common::interval::{Flow, FlowKey, Health, IntervalSnapshot, Series, SeriesKey};
use squall_common::plan::{Metric, ScenarioId, StepId, TargetId};
use squall_common::sample::{Outcome, OutcomeClass};
use squall_common::wire::{SnapshotWriter, read_histogram};
use std::collections::BTreeMap;
use thiserror::Error;

const RUN_ID: &str = "01JDQ7C0M5Z8X3V6W9T2R4Y1KB";
const SLOT: &str = "azure-eastus-1";

#[derive(Debug, Error)]
pub enum Unreadable {
    #[error("the run has no interval of about {0} requests")]
    NoSuchInterval(u64),
    #[error("a line of intervals.hlog cannot be read: {0}")]
    Line(String),
}

/// What the snapshots of one run come to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Size {
    /// Of the median interval.
    pub bytes: usize,
    pub largest_bytes: usize,
    /// The histograms of the median interval alone, as HdrHistogram V2 with deflate.
    pub v2_bytes: usize,
    pub intervals: usize,
    pub histograms: usize,
}

/// The snapshots of the intervals of about `samples` requests.
pub fn sizes(hlog: &[u8], samples: u64) -> Result<Size, Unreadable> {
    let wanted = samples * 98 / 100..=samples * 102 / 100;
    let mut histograms = 0;
    let mut all = Vec::new();
    for series in read(hlog)?.into_values() {
        let count = series.latencies(Metric::ResponseTime).map_or(0, |latencies| latencies.count());
        if wanted.contains(&count) {
            histograms = histograms.max(series.metrics().count());
            let mut writer = SnapshotWriter::default();
            let v2_bytes: usize = series.metrics().map(|(_, latencies)| writer.histogram(latencies).len()).sum();
            all.push((encoded_bytes(series, count), v2_bytes));
        }
    }
    all.sort_unstable();
    let (largest_bytes, _) = *all.last().ok_or(Unreadable::NoSuchInterval(samples))?;
    let (bytes, v2_bytes) = all[all.len() / 2];
    Ok(Size { bytes, largest_bytes, v2_bytes, intervals: all.len(), histograms })
}

/// The successful series of every interval, by its start in µs.
fn read(hlog: &[u8]) -> Result<BTreeMap<u128, Series>, Unreadable> {
    let mut intervals: BTreeMap<u128, Series> = BTreeMap::new();
    for entry in IntervalLogIterator::new(hlog) {
        let LogEntry::Interval(line) = entry.map_err(|error| Unreadable::Line(format!("{error:?}")))? else { continue };
        let Some(tag) = line.tag() else { continue };
        let mut parts = tag.as_str().rsplit('|');
        let metric = parts.next().and_then(Metric::from_name);
        let (Some(metric), Some("ok")) = (metric, parts.next()) else { continue };
        let bytes = STANDARD.decode(line.encoded_histogram()).map_err(|error| Unreadable::Line(error.to_string()))?;
        let latencies = read_histogram(&bytes, metric, 0, 0).map_err(|error| Unreadable::Line(error.to_string()))?;
        intervals.entry(line.start_timestamp().as_micros()).or_default().latencies_mut(metric).add(&latencies);
    }
    Ok(intervals)
}

/// What the agent would send: the series with its counters, its flow, its health.
fn encoded_bytes(mut series: Series, count: u64) -> usize {
    series.outcomes[Outcome::Ok as usize] = count;
    series.statuses.insert(200, count);
    (series.bytes_sent, series.bytes_received, series.body_bytes) = (count * 80, count * 200, count * 16);
    series.decoded_body_bytes = series.body_bytes;
    let flow = FlowKey { scenario: ScenarioId(0), step: StepId(0), target: TargetId(0) };
    let mut snapshot = IntervalSnapshot::of(1_000);
    let counts =
        Flow { planned: count, sent: count, iterations_started: count, iterations_completed: count, ..Flow::default() };
    snapshot.flows.insert(flow, counts);
    snapshot.series.insert(SeriesKey { flow, class: OutcomeClass::Ok }, series);
    snapshot.health = Health {
        wall_us: 1_000_123,
        worker_cpu_us: 512_345,
        workers: 1,
        worst_stall_us: 345,
        in_flight: 12,
        connections: 64,
        resident_bytes: 23_456_789,
        ..Health::default()
    };
    SnapshotWriter::default().snapshot(RUN_ID, SLOT, 3, 1_001, &snapshot).encoded_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_such_an_interval_is_said() {
        let error = sizes(b"#[Histogram log format version 1.3]\n", 10_000).unwrap_err();
        assert_eq!(error.to_string(), "the run has no interval of about 10000 requests");
    }

    #[test]
    fn every_metric_adds_its_histogram_to_the_size() {
        let mut series = Series::default();
        for value_us in 1..=10_000u64 {
            series.latencies_mut(Metric::ResponseTime).record_us(50 + value_us % 700);
        }
        let one = encoded_bytes(series.clone(), 10_000);
        for value_us in 1..=10_000u64 {
            series.latencies_mut(Metric::Wait).record_us(40 + value_us % 700);
        }
        let two = encoded_bytes(series, 10_000);
        assert!(one > 0 && two > one, "{one} {two}");
    }
}
