//! `intervals.hlog`, added up.

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use squall_common::histogram::latency_histogram;

/// The sum of all lines of one metric, e.g. `response_time`.
pub fn sum_of(log: &str, metric: &str) -> Histogram<u64> {
    let mut sum = latency_histogram();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        let LogEntry::Interval(line) = entry.unwrap_or_else(|error| panic!("a bad line: {error:?}")) else { continue };
        let is_of_metric = line.tag().is_some_and(|tag| tag.as_str().rsplit('|').next() == Some(metric));
        if is_of_metric {
            sum.add(decoded(line.encoded_histogram())).expect("one shape");
        }
    }
    sum
}

/// A histogram as it travels: V2, deflated, in base64.
pub fn decoded(base64: &str) -> Histogram<u64> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).expect("base64");
    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram")
}

/// What a histogram holds when it is given these values.
pub fn of(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = latency_histogram();
    for value in values {
        histogram.record(value.max(1)).expect("within an hour");
    }
    histogram
}

/// Asserts that two histograms hold the same count in every bucket.
pub fn assert_same_buckets(left: &Histogram<u64>, right: &Histogram<u64>) {
    let buckets = |histogram: &Histogram<u64>| -> Vec<(u64, u64)> {
        histogram.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value())).collect()
    };
    assert_eq!(left.len(), right.len());
    assert_eq!(buckets(left), buckets(right));
}
