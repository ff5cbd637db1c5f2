//! The open model: the intended instant of every arrival.
//!
//! Uniform: arrival number n of the fleet stands where the integral of the rate
//! reaches n. Poisson: points of a unit-rate process, mapped through the same
//! inverse. The process is built in blocks of the integral, each seeded by its
//! place: memorylessness makes the joined blocks one exact Poisson process, and
//! re-anchoring at every block keeps rounding from piling up.

use super::Curve;
use crate::plan::{Arrivals, LoadId, Phase};
use crate::random::{Random, mix};
use crate::split::{Deal, Share};

/// Expected arrivals in one seeded block of a Poisson process.
const BLOCK: f64 = 256.0;
/// A whole number of arrivals may miss its integral by this much of rounding.
const ROUNDING: f64 = 1e-6;

/// One intended arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// Nanoseconds after the start of the run.
    pub offset_ns: u64,
    /// The arrival's number in the whole fleet; seeds its random values.
    pub number: u64,
}

/// The arrivals of one share, in order, computed as they are asked for.
#[derive(Clone, Debug)]
pub struct ArrivalSchedule {
    curve: Curve,
    process: Process,
    /// Computed already, and next.
    waiting: Option<Arrival>,
}

#[derive(Clone, Debug)]
enum Process {
    Uniform { deal: Deal, next_local: u64, end: u64 },
    Poisson(Poisson),
}

#[derive(Clone, Debug)]
struct Poisson {
    share: Share,
    seed: u64,
    block: u64,
    random: Random,
    /// Position in the unit-rate process.
    at: f64,
    number: u64,
}

impl ArrivalSchedule {
    pub fn new(phases: &[Phase], arrivals: Arrivals, seed: u64, load: LoadId, share: &Share) -> Self {
        let curve = Curve::new(phases);
        let process = match arrivals {
            Arrivals::Uniform => Process::Uniform { deal: share.deal(), next_local: 0, end: whole_arrivals(&curve) },
            Arrivals::Poisson => {
                let seed = mix(seed, &[u64::from(load.0), 0x0a77_17a1]);
                let random = Random::at(seed, &[0]);
                Process::Poisson(Poisson { share: share.clone(), seed, block: 0, random, at: 0.0, number: 0 })
            }
        };
        Self { curve, process, waiting: None }
    }
}

impl ArrivalSchedule {
    /// Leaves out the arrivals before `from_ns`.
    pub fn wind_to(&mut self, from_ns: u64) {
        self.waiting = self.find(|arrival| arrival.offset_ns >= from_ns);
    }
}

/// Uniform arrivals that the whole curve means: every whole number below its integral.
fn whole_arrivals(curve: &Curve) -> u64 {
    (curve.total() - ROUNDING).ceil().max(0.0) as u64
}

impl Poisson {
    /// The next point of the fleet's process that falls to this share.
    fn next_owned(&mut self, total: f64) -> Option<(f64, u64)> {
        loop {
            self.at += self.random.exponential();
            let block_end = (self.block + 1) as f64 * BLOCK;
            if self.at >= block_end {
                if block_end >= total {
                    return None;
                }
                self.block += 1;
                self.at = block_end;
                self.random = Random::at(self.seed, &[self.block]);
                continue;
            }
            if self.at >= total {
                return None;
            }
            let number = self.number;
            self.number += 1;
            if self.share.owns_point(mix(self.seed, &[number, 1])) {
                return Some((self.at, number));
            }
        }
    }
}

impl Iterator for ArrivalSchedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if let Some(waiting) = self.waiting.take() {
            return Some(waiting);
        }
        let (amount, number) = match &mut self.process {
            Process::Uniform { deal, next_local, end } => {
                let number = deal.number_of(*next_local).filter(|number| number < end)?;
                *next_local += 1;
                (number as f64, number)
            }
            Process::Poisson(poisson) => poisson.next_owned(self.curve.total())?,
        };
        // Rounding may put the last whole arrival a hair beyond the integral.
        let time_s = self.curve.time_of(amount).unwrap_or(self.curve.end_s());
        Some(Arrival { offset_ns: (time_s * 1e9) as u64, number })
    }
}

/// How many arrivals one share of a load means before `until_ns`.
pub fn planned_arrivals(schedule: ArrivalSchedule, until_ns: u64) -> u64 {
    if let Process::Uniform { deal, end, next_local: 0 } = &schedule.process
        && schedule.curve.end_s() * 1e9 <= until_ns as f64
    {
        return deal.count_below(*end);
    }
    schedule.take_while(|arrival| arrival.offset_ns < until_ns).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PhaseKind;
    use proptest::prelude::*;
    use std::time::Duration;

    fn phase(from: f64, to: f64, seconds: f64) -> Phase {
        Phase { name: "p".into(), kind: PhaseKind::Hold, from, to, duration: Duration::from_secs_f64(seconds) }
    }

    fn any_phases() -> impl Strategy<Value = Vec<Phase>> {
        prop::collection::vec((0.0..200.0f64, 0.0..200.0f64, 0.1..5.0f64), 1..5)
            .prop_map(|stretches| stretches.into_iter().map(|(from, to, seconds)| phase(from, to, seconds)).collect())
    }

    fn any_arrivals() -> impl Strategy<Value = Arrivals> {
        prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson)]
    }

    #[test]
    fn a_schedule_wound_forward_has_the_rest_and_all_of_it() {
        let phases = [phase(50.0, 150.0, 4.0)];
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
            let whole = ArrivalSchedule::new(&phases, arrivals, 7, LoadId(0), &Share::whole());
            let mut rest = whole.clone();
            rest.wind_to(2_000_000_000);
            let expected: Vec<Arrival> = whole.filter(|arrival| arrival.offset_ns >= 2_000_000_000).collect();
            assert!(expected.len() > 100);
            assert_eq!(rest.collect::<Vec<_>>(), expected);
        }
    }

    proptest! {
        /// The union of all shares' arrivals is the single-machine schedule,
        /// instant by instant, whatever the weights.
        #[test]
        fn shares_together_are_the_plan(phases in any_phases(), arrivals in any_arrivals(), seed in any::<u64>(),
                                        weights in prop::collection::vec(0u32..50, 1..10)) {
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let schedule = |share: &Share| ArrivalSchedule::new(&phases, arrivals, seed, LoadId(0), share);
            let mut together: Vec<Arrival> = (0..weights.len())
                .flat_map(|index| schedule(&Share::new(weights.clone(), index).unwrap()))
                .collect();
            together.sort_by_key(|arrival| arrival.number);
            prop_assert_eq!(together, schedule(&Share::whole()).collect::<Vec<_>>());
        }

        #[test]
        fn arrivals_never_go_back_and_stay_inside_the_profile(phases in any_phases(), arrivals in any_arrivals(), seed in any::<u64>()) {
            let end_ns: u128 = phases.iter().map(|phase| phase.duration.as_nanos()).sum();
            let all: Vec<Arrival> = ArrivalSchedule::new(&phases, arrivals, seed, LoadId(0), &Share::whole()).collect();
            prop_assert!(all.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(all.last().is_none_or(|last| u128::from(last.offset_ns) <= end_ns + 1));
        }

        #[test]
        fn equal_seeds_give_equal_instants(phases in any_phases(), seed in any::<u64>()) {
            let schedule = |seed| ArrivalSchedule::new(&phases, Arrivals::Poisson, seed, LoadId(0), &Share::whole()).take(50).collect::<Vec<_>>();
            prop_assert_eq!(schedule(seed), schedule(seed));
        }

        #[test]
        fn the_count_ahead_of_time_is_the_count_that_comes(phases in any_phases(), arrivals in any_arrivals(), until_ms in 0u64..12_000) {
            let schedule = ArrivalSchedule::new(&phases, arrivals, 5, LoadId(1), &Share::new(vec![3, 2], 1).unwrap());
            let counted = schedule.clone().take_while(|arrival| arrival.offset_ns < until_ms * 1_000_000).count() as u64;
            prop_assert_eq!(planned_arrivals(schedule, until_ms * 1_000_000), counted);
        }
    }

    #[test]
    fn a_fixed_rate_sends_exactly_rate_times_time() {
        let all: Vec<Arrival> =
            ArrivalSchedule::new(&[phase(1_000.0, 1_000.0, 10.0)], Arrivals::Uniform, 1, LoadId(0), &Share::whole())
                .collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(all[0].offset_ns, 0);
        assert_eq!(all[1].offset_ns, 1_000_000);
    }

    #[test]
    fn nothing_drifts_over_24_hours() {
        let day = [phase(333.0, 333.0, 86_400.0)];
        let mut schedule =
            ArrivalSchedule::new(&day, Arrivals::Uniform, 1, LoadId(0), &Share::new(vec![1, 1, 1], 2).unwrap());
        let last = schedule.by_ref().last().expect("arrivals");
        let exact_ns = last.number as u128 * 1_000_000_000 / 333;
        assert!(u128::from(last.offset_ns).abs_diff(exact_ns) <= 20, "{} from {exact_ns}", last.offset_ns);
    }

    #[test]
    fn a_poisson_day_keeps_its_rate_to_the_end() {
        let day = [phase(50.0, 50.0, 86_400.0)];
        let all = ArrivalSchedule::new(&day, Arrivals::Poisson, 9, LoadId(0), &Share::whole());
        let mut by_hour = [0u32; 24];
        for arrival in all {
            by_hour[(arrival.offset_ns / 3_600_000_000_000) as usize] += 1;
        }
        // 180,000 expected an hour, standard deviation 424: five of them.
        assert!(by_hour.iter().all(|&count| count.abs_diff(180_000) < 2_121), "{by_hour:?}");
    }

    #[test]
    fn poisson_gaps_of_one_share_have_the_variance_of_a_poisson_process() {
        let share = Share::new(vec![1, 1, 1, 1], 2).unwrap();
        let all: Vec<u64> =
            ArrivalSchedule::new(&[phase(400.0, 400.0, 500.0)], Arrivals::Poisson, 3, LoadId(0), &share)
                .map(|arrival| arrival.offset_ns)
                .collect();
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e9).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential's deviation is its mean; round-robin dealing would halve it.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "mean {mean}, deviation {}", variance.sqrt());
    }

    #[test]
    fn a_pause_sends_nothing_and_moves_nothing() {
        let phases = [phase(10.0, 10.0, 1.0), phase(0.0, 0.0, 5.0), phase(10.0, 10.0, 1.0)];
        let all: Vec<u64> = ArrivalSchedule::new(&phases, Arrivals::Uniform, 1, LoadId(0), &Share::whole())
            .map(|arrival| arrival.offset_ns / 1_000_000)
            .collect();
        assert_eq!(all.len(), 20);
        assert_eq!((all[9], all[10]), (900, 6_000));
    }

    #[test]
    fn a_ramp_from_zero_sends_the_area_under_it() {
        let all = ArrivalSchedule::new(&[phase(0.0, 100.0, 10.0)], Arrivals::Uniform, 1, LoadId(0), &Share::whole());
        let offsets: Vec<u64> = all.map(|arrival| arrival.offset_ns).collect();
        assert_eq!(offsets.len(), 500);
        // n arrivals by t = 5·t² → arrival 125 at 5 s.
        assert_eq!(offsets[125] / 1_000, 5_000_000);
    }
}
