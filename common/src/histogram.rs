//! The one shape of every latency histogram in the cluster.
//!
//! Equal shapes add bucket by bucket, so a merged percentile is the percentile
//! of all samples. Unequal ones would be re-binned, which is why they refuse.

use hdrhistogram::Histogram;
use thiserror::Error;

/// The largest value a histogram holds: one hour, in microseconds.
pub const MAX_US: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latency in µs, from 1 µs to 1 h, three significant digits.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_US, SIGNIFICANT_DIGITS).expect("constant bounds are valid")
}

/// A latency histogram that never clamps in silence: what lies above the range
/// is counted beside it.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    overflow: u64,
    sum_us: u128,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "histogram of another shape ({low}..{high} µs, {digits} digits) refuses to merge with 1..{MAX_US} µs, {SIGNIFICANT_DIGITS} digits"
)]
pub struct ShapeMismatch {
    low: u64,
    high: u64,
    digits: u8,
}

/// Refuses every shape but the cluster's own.
pub fn check_shape(low: u64, high: u64, digits: u8) -> Result<(), ShapeMismatch> {
    if (low, high, digits) == (1, MAX_US, SIGNIFICANT_DIGITS) {
        Ok(())
    } else {
        Err(ShapeMismatch { low, high, digits })
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Latencies {
    fn eq(&self, other: &Self) -> bool {
        self.overflow == other.overflow && self.histogram == other.histogram
    }
}

impl Latencies {
    pub fn new() -> Self {
        Self { histogram: latency_histogram(), overflow: 0, sum_us: 0 }
    }

    /// Takes a histogram that came over the wire, if it has the cluster's shape.
    pub fn from_parts(histogram: Histogram<u64>, overflow: u64, sum_us: u128) -> Result<Self, ShapeMismatch> {
        check_shape(histogram.low(), histogram.high(), histogram.sigfig())?;
        Ok(Self { histogram, overflow, sum_us })
    }

    /// Records one latency in µs. Zero counts as 1 µs, the smallest value the
    /// shape can tell apart; above one hour it counts as overflow.
    #[inline]
    pub fn record_us(&mut self, value_us: u64) {
        self.sum_us += u128::from(value_us);
        if value_us > MAX_US || self.histogram.record(value_us.max(1)).is_err() {
            self.overflow += 1;
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("one constructor makes every shape");
        self.overflow += other.overflow;
        self.sum_us += other.sum_us;
    }

    /// Samples recorded, those above the range included.
    pub fn count(&self) -> u64 {
        self.histogram.len() + self.overflow
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Exact sum of what was recorded, in µs.
    pub fn sum_us(&self) -> u128 {
        self.sum_us
    }

    /// Exact mean in µs (the sum is kept beside the buckets), 0 when empty.
    pub fn mean_us(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.sum_us as f64 / self.count() as f64 }
    }

    pub fn min_us(&self) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.min() }
    }

    pub fn max_us(&self) -> u64 {
        if self.overflow > 0 { MAX_US } else { self.histogram.max() }
    }

    /// The value in µs at `percentile` (0–100). Overflowed samples stand above
    /// every bucket, so a percentile that falls among them is the range's end.
    pub fn percentile_us(&self, percentile: f64) -> u64 {
        if self.is_empty() {
            return 0;
        }
        if self.overflow == 0 {
            return self.histogram.value_at_percentile(percentile);
        }
        let rank = (percentile / 100.0 * self.count() as f64).ceil().max(1.0);
        if rank > self.histogram.len() as f64 {
            return MAX_US;
        }
        self.histogram.value_at_percentile(rank / self.histogram.len() as f64 * 100.0)
    }

    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_above_the_range_is_counted_not_clamped() {
        let mut latencies = Latencies::new();
        latencies.record_us(MAX_US + 1);
        latencies.record_us(10);
        assert_eq!(latencies.overflow(), 1);
        assert_eq!(latencies.count(), 2);
        assert_eq!(latencies.histogram().len(), 1);
        assert_eq!(latencies.percentile_us(50.0), 10);
        assert_eq!(latencies.percentile_us(99.0), MAX_US);
    }

    #[test]
    fn another_shape_refuses_to_merge() {
        let two_digits = Histogram::new_with_bounds(1, MAX_US, 2).unwrap();
        let refused = Latencies::from_parts(two_digits, 0, 0).unwrap_err();
        assert!(refused.to_string().contains("2 digits"));
    }

    #[test]
    fn the_mean_is_exact_where_buckets_round() {
        let mut latencies = Latencies::new();
        latencies.record_us(1_000_001);
        latencies.record_us(1_000_002);
        assert_eq!(latencies.mean_us(), 1_000_001.5);
    }
}
