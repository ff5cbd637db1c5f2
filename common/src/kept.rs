//! Samples of failed requests that are kept: which, and what of each.
//!
//! Every failure gets a random rank and the lowest ranks of a place stay, so each
//! failure is as likely to be kept as any other, however many come, and merging
//! two reservoirs gives what one for both would have kept.

use crate::plan::{ScenarioId, StepId, TargetId};
use crate::sample::{Outcome, PhaseTimes};
use std::collections::BTreeMap;

/// Response headers by which people on the other side find a request again.
pub const NAMING_HEADERS: [&str; 4] = ["apim-request-id", "x-request-id", "x-ms-client-request-id", "x-ms-region"];
/// Bytes told of one header's value.
pub const HEADER_BYTES: usize = 256;
/// Bytes that the samples of one agent and run may take together.
pub const MOST_BYTES: usize = 256 << 10;

/// One failed request. Texts hold no secret, and of a body what the plan asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorSample {
    pub scenario: ScenarioId,
    pub step: StepId,
    pub target: TargetId,
    /// When the failure was known, from the common start.
    pub at_us: u64,
    pub response_time_us: u64,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub phases: PhaseTimes,
    /// Those of [`NAMING_HEADERS`] that the response had.
    pub headers: Vec<(String, String)>,
    /// As it was sent.
    pub traceparent: Option<String>,
    /// The first of the response's body.
    pub body: Option<String>,
}

impl ErrorSample {
    /// About what it takes on the wire.
    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let texts = [&self.traceparent, &self.body].into_iter().flatten().map(String::len).sum::<usize>();
        128 + headers + texts
    }
}

/// The reservoir of one worker, or of an agent.
#[derive(Debug)]
pub struct KeptErrors {
    per_target: usize,
    /// By scenario and target, then by rank.
    places: BTreeMap<(u16, u16), BTreeMap<u64, ErrorSample>>,
}

impl KeptErrors {
    pub fn new(per_target: u32) -> Self {
        Self { per_target: per_target as usize, places: BTreeMap::new() }
    }

    /// Keeps what `make` makes if the rank is among the lowest of its place.
    pub fn offer(&mut self, scenario: ScenarioId, target: TargetId, rank: u64, make: impl FnOnce() -> ErrorSample) {
        let kept = self.places.entry((scenario.0, target.0)).or_default();
        if kept.len() >= self.per_target {
            match kept.last_key_value() {
                Some((&highest, _)) if rank < highest => drop(kept.pop_last()),
                _ => return,
            }
        }
        kept.insert(rank, make());
    }

    pub fn merge(&mut self, other: Self) {
        for ((scenario, target), kept) in other.places {
            for (rank, sample) in kept {
                self.offer(ScenarioId(scenario), TargetId(target), rank, || sample);
            }
        }
    }

    /// What fits into [`MOST_BYTES`], by time, and how many do not. The lowest
    /// ranks of every place go first, so that no place is left out for another.
    pub fn into_samples(self) -> (Vec<ErrorSample>, usize) {
        let mut places: Vec<_> = self.places.into_values().map(BTreeMap::into_values).collect();
        let (mut samples, mut bytes, mut left_out) = (Vec::new(), 0, 0);
        loop {
            let round: Vec<ErrorSample> = places.iter_mut().filter_map(Iterator::next).collect();
            if round.is_empty() {
                break;
            }
            for sample in round {
                if bytes + sample.bytes() > MOST_BYTES {
                    left_out += 1;
                } else {
                    bytes += sample.bytes();
                    samples.push(sample);
                }
            }
        }
        samples.sort_by_key(|sample| sample.at_us);
        (samples, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn sample(target: u16, at_us: u64) -> ErrorSample {
        ErrorSample {
            scenario: ScenarioId(0),
            step: StepId(0),
            target: TargetId(target),
            at_us,
            response_time_us: 1,
            outcome: Outcome::HttpServerError,
            status: Some(500),
            phases: PhaseTimes::default(),
            headers: Vec::new(),
            traceparent: None,
            body: None,
        }
    }

    fn offered(kept: &mut KeptErrors, target: u16, at_us: u64, random: &mut Random) {
        kept.offer(ScenarioId(0), TargetId(target), random.next_u64(), || sample(target, at_us));
    }

    #[test]
    fn no_place_keeps_more_than_its_part_and_none_is_left_out() {
        let (mut kept, mut random) = (KeptErrors::new(5), Random::at(1, &[]));
        (0..1_000).for_each(|at| offered(&mut kept, 0, at, &mut random));
        (0..3).for_each(|at| offered(&mut kept, 1, at, &mut random));
        let (samples, left_out) = kept.into_samples();
        let of = |target| samples.iter().filter(|sample| sample.target.0 == target).count();
        assert_eq!((of(0), of(1), left_out), (5, 3, 0));
        assert!(samples.is_sorted_by_key(|sample| sample.at_us));
    }

    #[test]
    fn every_failure_is_as_likely_to_be_kept_as_any_other() {
        let mut kept_at = [0u32; 4];
        let mut random = Random::at(7, &[]);
        for _ in 0..4_000 {
            let mut kept = KeptErrors::new(1);
            (0..4).for_each(|at| offered(&mut kept, 0, at, &mut random));
            kept_at[kept.into_samples().0[0].at_us as usize] += 1;
        }
        // Five standard deviations of a fair draw; the seed is fixed.
        assert!(kept_at.iter().all(|times| times.abs_diff(1_000) < 140), "{kept_at:?}");
    }

    #[test]
    fn two_workers_merged_keep_what_one_would_have_kept() {
        let ranks: Vec<u64> = (0..100).map(|at| Random::at(3, &[at]).next_u64()).collect();
        let of = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut kept = KeptErrors::new(10);
            numbers.for_each(|n| kept.offer(ScenarioId(0), TargetId(0), ranks[n], || sample(0, n as u64)));
            kept
        };
        let mut apart = of(&mut (0..100).filter(|n| n % 3 == 0));
        apart.merge(of(&mut (0..100).filter(|n| n % 3 != 0)));
        assert_eq!(apart.into_samples(), of(&mut (0..100)).into_samples());
    }

    #[test]
    fn samples_that_do_not_fit_into_one_message_are_counted() {
        let (mut kept, mut random) = (KeptErrors::new(100), Random::at(1, &[]));
        for at in 0..100 {
            let large = ErrorSample { body: Some("x".repeat(4_096)), ..sample(0, at) };
            kept.offer(ScenarioId(0), TargetId(0), random.next_u64(), || large);
        }
        let (samples, left_out) = kept.into_samples();
        assert_eq!(samples.len() + left_out, 100);
        assert!(samples.iter().map(ErrorSample::bytes).sum::<usize>() <= MOST_BYTES && left_out > 30, "{left_out}");
    }
}
