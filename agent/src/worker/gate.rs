//! One worker's part of the agent's ceilings, without looking at other workers.
//!
//! A request that would go above it is told when its turn comes: turns are
//! handed out in order, so however many wait, each wakes once.

use super::{Lane, Prepared};
use crate::ceiling::{Budget, Ceilings};
use crate::http::TargetClient;
use squall_common::units::{show_bytes, show_rate};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What may be used ahead of time, so that chance alone holds nothing back.
const BURST_NS: f64 = 100_000_000.0;
/// How much of what a request's bytes were guessed at the last one decides.
const LEARNING: f64 = 0.2;

/// Something that may be used at so much a second.
#[derive(Debug)]
struct Flow {
    ns_a_unit: f64,
    /// When all that was handed out will have been earned; on the monotonic clock.
    earned_ns: Cell<f64>,
}

impl Flow {
    fn new(per_s: f64) -> Self {
        Self { ns_a_unit: 1e9 / per_s, earned_ns: Cell::new(0.0) }
    }

    /// Hands out `units` and tells from when on they may be used.
    fn take(&self, units: f64, now_ns: f64) -> f64 {
        let earned_ns = self.earned_ns.get().max(now_ns);
        self.earned_ns.set(earned_ns + units * self.ns_a_unit);
        earned_ns - BURST_NS
    }

    /// It was so much more or less than what was taken.
    fn correct(&self, units: f64) {
        self.earned_ns.set(self.earned_ns.get() + units * self.ns_a_unit);
    }
}

/// Holds one worker's requests to its part of a [`Budget`].
#[derive(Debug, Default)]
pub struct Gate {
    rate: Option<Flow>,
    bytes: Option<Flow>,
    /// What a request is thought to cost, from those before it.
    bytes_a_request: Cell<f64>,
    held_by_rate: Cell<u64>,
    held_by_bytes: Cell<u64>,
    rate_flag: String,
    bytes_flag: String,
}

impl Gate {
    /// `part`: this worker's of all workers, above 0 to 1.
    pub fn new(budget: &Budget, part: f64) -> Self {
        Self {
            rate: budget.closed_per_s.map(|per_s| Flow::new(per_s * part)),
            bytes: budget.bytes_per_s.map(|per_s| Flow::new(per_s * part)),
            rate_flag: budget
                .ceilings
                .max_rate
                .map(|rate| format!("--max-rate {}", show_rate(rate)))
                .unwrap_or_default(),
            bytes_flag: budget
                .ceilings
                .max_bytes_per_s
                .map(|bytes| format!("--max-bytes-per-s {}", show_bytes(bytes).replace(' ', "")))
                .unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Whether there is nothing to hold to.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.rate.is_none() && self.bytes.is_none()
    }

    /// Lets one request in: at once, or at the instant given. Open loads have their
    /// rate from the plan, which was judged before.
    pub fn admit(&self, is_closed: bool, now_ns: u64) -> Option<u64> {
        let now = now_ns as f64;
        let by_rate = self.rate.as_ref().filter(|_| is_closed).map_or(now, |rate| rate.take(1.0, now));
        let by_bytes = self.bytes.as_ref().map_or(now, |bytes| bytes.take(self.bytes_a_request.get(), now));
        let later = |held: &Cell<u64>| held.set(held.get() + 1);
        if by_rate > now && by_rate >= by_bytes {
            later(&self.held_by_rate);
        } else if by_bytes > now {
            later(&self.held_by_bytes);
        } else {
            return None;
        }
        Some(by_rate.max(by_bytes) as u64)
    }

    /// What an admitted request turned out to cost.
    #[inline]
    pub fn settle(&self, bytes: u64) {
        if let Some(flow) = &self.bytes {
            let guess = self.bytes_a_request.get();
            flow.correct(bytes as f64 - guess);
            self.bytes_a_request.set(guess + (bytes as f64 - guess) * LEARNING);
        }
    }

    /// How many requests each ceiling held back so far, by its flag.
    pub fn held(&self) -> [(&str, u64); 2] {
        [(&self.rate_flag, self.held_by_rate.get()), (&self.bytes_flag, self.held_by_bytes.get())]
    }
}

/// This worker's part of what the agent may do: by its users where only users
/// bring load, else evenly.
pub fn part_of(prepared: &Prepared, lane: Lane) -> f64 {
    let mut users = vec![0; lane.count as usize];
    for (load, share) in prepared.plan.loads.iter().zip(&prepared.shares) {
        let Some(peak) = load.peak_users() else { return 1.0 / f64::from(lane.count) };
        let own = share.count_of(peak.into());
        for (index, users) in (0..).zip(&mut users) {
            *users += Lane { index, ..lane }.part_of(own);
        }
    }
    // A worker without users asks for nothing, and gets a part that divides.
    let all: u64 = users.iter().sum();
    users[lane.index as usize].max(1) as f64 / all.max(1) as f64
}

/// Every ceiling that held requests back, by its flag, and how many.
fn all_held<'a>(
    gate: &'a Gate,
    budget: &'a Budget,
    clients: &'a [Rc<TargetClient>],
) -> impl Iterator<Item = (String, u64)> {
    let capped = clients.iter().zip(&budget.connections).filter(|(_, most)| most.is_some());
    let waited: u64 = capped.map(|(client, _)| client.waited_total()).sum();
    let most = budget.ceilings.max_connections.unwrap_or_default();
    let of_gate = gate.held().map(|(flag, held)| (flag.to_owned(), held));
    of_gate.into_iter().chain([(format!("--max-connections {most}"), waited)]).filter(|(_, held)| *held > 0)
}

/// What the end of the run says of it.
pub fn warnings(gate: &Gate, budget: &Budget, clients: &[Rc<TargetClient>]) -> Vec<String> {
    let line = |(flag, held)| format!("the agent's ceiling `{flag}` held {held} requests of one worker back");
    all_held(gate, budget, clients).map(line).collect()
}

/// Tells, each time it is asked, which ceiling held requests back since the last time.
pub fn watch(gate: Rc<Gate>, prepared: Arc<Prepared>, clients: Vec<Rc<TargetClient>>) -> impl Fn() -> Option<String> {
    let told: RefCell<BTreeMap<String, u64>> = RefCell::default();
    move || {
        if prepared.budget.ceilings == Ceilings::default() {
            return None;
        }
        let mut told = told.borrow_mut();
        let mut reason = None;
        for (flag, held) in all_held(&gate, &prepared.budget, &clients) {
            if told.insert(flag.clone(), held) != Some(held) {
                reason.get_or_insert(format!("the agent's ceiling `{flag}` held requests back"));
            }
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gate(rate: Option<f64>, bytes: Option<u64>) -> Gate {
        let ceilings = Ceilings { max_rate: rate, max_connections: None, max_bytes_per_s: bytes };
        let budget = Budget {
            ceilings,
            closed_per_s: rate,
            bytes_per_s: bytes.map(|bytes| bytes as f64),
            connections: Vec::new(),
        };
        Gate::new(&budget, 1.0)
    }

    const START_NS: u64 = 5_000_000_000;

    #[test]
    fn without_a_ceiling_nothing_waits() {
        let gate = gate(None, None);
        assert!((0..1_000).all(|_| gate.admit(true, START_NS).is_none()));
        assert_eq!(gate.held().map(|(_, held)| held), [0, 0]);
    }

    proptest! {
        /// However eager the users, no stretch of time has more turns than the ceiling and its burst.
        #[test]
        fn turns_keep_to_the_rate(rate in 1u32..2_000, gaps_us in prop::collection::vec(0u64..2_000, 1..400)) {
            let gate = gate(Some(rate.into()), None);
            let mut now_ns = START_NS;
            let mut turns: Vec<u64> = Vec::new();
            for gap_us in gaps_us {
                now_ns += gap_us * 1_000;
                turns.push(gate.admit(true, now_ns).unwrap_or(now_ns));
            }
            turns.sort_unstable();
            let burst = f64::from(rate) * BURST_NS / 1e9;
            for (n, from) in turns.iter().enumerate() {
                let within = turns[n..].iter().take_while(|&&turn| turn < from + 500_000_000).count() as f64;
                prop_assert!(within <= f64::from(rate) * 0.5 + burst + 2.0, "{within} in half a second");
            }
        }

        #[test]
        fn bytes_keep_to_the_ceiling_in_the_long_run(sizes in prop::collection::vec(0u64..50_000, 50..200)) {
            let gate = gate(None, Some(100_000));
            let mut now_ns = START_NS;
            for &size in &sizes {
                now_ns = gate.admit(false, now_ns).unwrap_or(now_ns);
                gate.settle(size);
            }
            let took_s = (now_ns - START_NS) as f64 / 1e9;
            let all_but_last: u64 = sizes[..sizes.len() - 1].iter().sum();
            // What the last turn waits for is guessed, the rest is known.
            prop_assert!(all_but_last as f64 <= (took_s + 0.1) * 100_000.0 + 50_000.0, "{all_but_last} in {took_s} s");
        }
    }

    #[test]
    fn what_was_held_back_is_told_with_its_flag() {
        let gate = gate(Some(10.0), Some(1 << 20));
        for _ in 0..10 {
            gate.admit(true, START_NS);
        }
        let [(rate, by_rate), (bytes, by_bytes)] = gate.held();
        assert_eq!((rate, bytes), ("--max-rate 10/s", "--max-bytes-per-s 1MiB"));
        assert!(by_rate >= 8 && by_bytes == 0, "{by_rate} {by_bytes}");
    }

    #[test]
    fn open_loads_are_held_by_bytes_alone() {
        let gate = gate(Some(1.0), Some(1_000));
        assert!((0..5).all(|_| gate.admit(false, START_NS).is_none()));
        gate.settle(10_000);
        assert!(gate.admit(false, START_NS).is_some_and(|turn| turn > START_NS + 8_000_000_000));
    }
}
