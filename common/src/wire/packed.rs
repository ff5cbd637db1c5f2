//! All histograms of a series in one run of bytes, exact, bucket by bucket.
//!
//! What is coded is what HdrHistogram V2 holds, the counts in the order of their
//! buckets; only the coding is another. V2 spends a byte on every count and on
//! every gap and leaves the rest to deflate, which knows nothing of
//! distributions. Here each count is coded with the probabilities that the counts
//! before it suggest: by their mean over about eight buckets and over about two.
//! What is learned of one histogram serves the next. `docs/protocol.md` has the
//! format.

use super::coder::{Chance, Coder, Decoder, Encoder};
use crate::histogram::{MAX_US, latency_histogram};
use hdrhistogram::Histogram;
use thiserror::Error;

/// Counts from here on are told by their length in bits.
const ESCAPE: u64 = 15;
/// Bits that tell of a length; longer ones share the last.
const LENGTHS: usize = 17;
const NODES: usize = ESCAPE as usize + LENGTHS;
/// A count's weight in the means, at most.
const WEIGHT_MAX: u64 = 1_023;
/// Means have this many bits behind the point; those below 1/64 are all one.
const POINT: u32 = 16;
const FINE: u32 = POINT - 6;
/// Classes of the mean over eight buckets, two for each doubling, and over two.
const NEAR: usize = 34;
const NEXT: usize = 18;
/// Bits of the number of buckets a histogram uses.
const USED_BITS: u32 = 16;
/// Values below this have a bucket each; above, each doubling has half as many.
const EXACT: u64 = 2_048;
const HALF: u64 = EXACT / 2;

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Damaged {
    #[error("the packed histograms have {0} buckets, more than the shape")]
    Buckets(u64),
    #[error("the packed histograms end too early or too late")]
    Length,
}

/// The bucket of a value, as HdrHistogram numbers them.
fn bucket_of(value_us: u64) -> usize {
    if value_us < EXACT {
        return value_us as usize;
    }
    let doublings = value_us.ilog2() - (HALF.ilog2());
    (u64::from(doublings) * HALF + (value_us >> doublings)) as usize
}

/// The smallest value of a bucket.
fn value_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let doublings = bucket / HALF - 1;
    (bucket % HALF + HALF) << doublings
}

/// What counts are expected; both ends learn it alike.
struct Model {
    chances: Vec<Option<Chance>>,
    near: u64,
    next: u64,
}

impl Model {
    fn new() -> Self {
        Self { chances: vec![None; NEAR * NEXT * NODES], near: 0, next: 0 }
    }

    /// Another histogram begins: what was learned stays.
    fn begin(&mut self) {
        (self.near, self.next) = (0, 0);
    }

    /// One count, coded or decoded.
    #[inline]
    fn count(&mut self, coder: &mut impl Coder, count: u64) -> u64 {
        // Where the means are, per doubling: 1 is added so that a mean of zero has a class.
        let (near, next) = ((self.near >> FINE) + 1, (self.next >> FINE) + 1);
        let half = (near << 1 >> near.ilog2() & 1) as usize;
        let class = (2 * near.ilog2() as usize + half) * NEXT + next.ilog2() as usize;
        let mean = (self.near + self.next) / 2 + (1 << 8);
        let chances = &mut self.chances[class * NODES..][..NODES];
        let mut bit = |coder: &mut _, node: usize, bit| {
            // Counts spread like this when nothing is known but their mean.
            let chance = chances[node].get_or_insert_with(|| Chance::of(mean, 1 << POINT));
            Coder::bit(coder, bit, chance)
        };
        let mut coded = 0;
        while coded < ESCAPE && bit(coder, coded as usize, count > coded) {
            coded += 1;
        }
        if coded == ESCAPE {
            let rest = count.saturating_sub(ESCAPE - 1).max(1);
            let mut length = 1;
            while length < u64::BITS
                && bit(coder, ESCAPE as usize + (length as usize - 1).min(LENGTHS - 1), length <= rest.ilog2())
            {
                length += 1;
            }
            let tail = coder.plain(rest & !(1 << rest.ilog2()), length - 1);
            coded = (1 << (length - 1) | tail).saturating_add(ESCAPE - 1);
        }
        let weight = coded.min(WEIGHT_MAX) << POINT;
        self.near = self.near - (self.near >> 3) + (weight >> 3);
        self.next = self.next - (self.next >> 1) + (weight >> 1);
        coded
    }
}

pub(super) fn pack<'a>(histograms: impl Iterator<Item = &'a Histogram<u64>>) -> Vec<u8> {
    let (mut encoder, mut model) = (Encoder::new(), Model::new());
    let mut counts: Vec<u64> = Vec::new();
    for histogram in histograms {
        counts.clear();
        for recorded in histogram.iter_recorded() {
            counts.resize(bucket_of(recorded.value_iterated_to()), 0);
            counts.push(recorded.count_at_value());
        }
        encoder.plain(counts.len() as u64, USED_BITS);
        model.begin();
        for &count in &counts {
            model.count(&mut encoder, count);
        }
    }
    encoder.finish()
}

/// As many histograms as were packed. However the bytes were damaged, this takes no
/// more memory and steps than the shape has buckets.
pub(super) fn unpack(bytes: &[u8], histograms: usize) -> Result<Vec<Histogram<u64>>, Damaged> {
    let (mut decoder, mut model) = (Decoder::new(bytes), Model::new());
    let mut unpacked = Vec::new();
    for _ in 0..histograms {
        let used = decoder.plain(0, USED_BITS);
        if used > bucket_of(MAX_US) as u64 + 1 {
            return Err(Damaged::Buckets(used));
        }
        let mut histogram = latency_histogram();
        model.begin();
        for bucket in 0..used as usize {
            let count = model.count(&mut decoder, 0);
            if !decoder.is_inside() {
                return Err(Damaged::Length);
            }
            if count > 0 {
                // Saturates; the bucket is inside the shape.
                histogram.saturating_record_n(value_of(bucket), count);
            }
        }
        unpacked.push(histogram);
    }
    if decoder.ended() { Ok(unpacked) } else { Err(Damaged::Length) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_histogram() -> impl Strategy<Value = Histogram<u64>> {
        let value = prop_oneof![1u64..40, 1u64..5_000, 1u64..=MAX_US];
        let count = prop_oneof![Just(1u64), 1u64..40, 1u64..1 << 40, Just(u64::MAX)];
        prop::collection::vec((value, count), 0..120).prop_map(|values| {
            let mut histogram = latency_histogram();
            values.into_iter().for_each(|(value, count)| histogram.saturating_record_n(value, count));
            histogram
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_bucket_by_bucket(histograms in prop::collection::vec(any_histogram(), 0..6)) {
            let bytes = pack(histograms.iter());
            let unpacked = unpack(&bytes, histograms.len()).unwrap();
            prop_assert_eq!(unpacked.len(), histograms.len());
            for (unpacked, histogram) in unpacked.iter().zip(&histograms) {
                prop_assert_eq!(unpacked, histogram);
                prop_assert!(unpacked.iter_recorded().eq(histogram.iter_recorded()));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), histograms in 0usize..12) {
            let _ = unpack(&bytes, histograms);
        }

        #[test]
        fn bytes_cut_short_are_refused(histogram in any_histogram(), cut in any::<prop::sample::Index>()) {
            let bytes = pack([&histogram].into_iter());
            prop_assert!(unpack(&bytes[..cut.index(bytes.len())], 1).is_err());
        }
    }

    #[test]
    fn buckets_are_hdrhistograms_own() {
        let histogram = latency_histogram();
        assert!(bucket_of(MAX_US) < histogram.distinct_values());
        let coarse = (0..22).flat_map(|shift| (2_000u64..4_200).step_by(7).map(move |value| value << shift));
        for value in (0..10_000).chain(coarse).filter(|&value| value <= MAX_US).chain([MAX_US]) {
            assert_eq!(value_of(bucket_of(value)), histogram.lowest_equivalent(value));
            assert_eq!(bucket_of(histogram.highest_equivalent(value)), bucket_of(value));
        }
    }
}
