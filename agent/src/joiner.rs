//! Intervals of all workers → intervals of the agent. Pure.

use squall_common::interval::IntervalSnapshot;
use std::collections::VecDeque;

/// Joins the intervals of all workers: an interval is whole when every worker has ended it.
#[derive(Debug)]
pub struct Joiner {
    pending: Vec<VecDeque<IntervalSnapshot>>,
    done: Vec<bool>,
}

impl Joiner {
    pub fn new(workers: usize) -> Self {
        Self { pending: (0..workers).map(|_| VecDeque::new()).collect(), done: vec![false; workers] }
    }

    /// Takes an interval of one worker; they come in order, without gaps.
    pub fn push(&mut self, worker: usize, snapshot: IntervalSnapshot) {
        self.pending[worker].push_back(snapshot);
    }

    /// A worker will end no more intervals.
    pub fn finish(&mut self, worker: usize) {
        self.done[worker] = true;
    }

    pub fn all_done(&self) -> bool {
        self.done.iter().all(|&done| done)
    }

    /// The next interval that all workers have ended. Where one worker joined
    /// several into one, the others' are joined to match.
    pub fn pop(&mut self) -> Option<IntervalSnapshot> {
        loop {
            let open = |(queue, done): (&VecDeque<IntervalSnapshot>, &bool)| queue.is_empty() && !done;
            if self.pending.iter().zip(&self.done).any(open) {
                return None;
            }
            let reach = self.pending.iter().filter_map(|queue| Some(queue.front()?.last_interval)).max()?;
            let mut behind = false;
            for (queue, done) in self.pending.iter_mut().zip(&self.done) {
                while queue.front().is_some_and(|head| head.last_interval < reach) {
                    if queue.len() < 2 {
                        // A worker that has ended has nothing to add; another must end its interval first.
                        if *done {
                            break;
                        }
                        return None;
                    }
                    let Some(mut head) = queue.pop_front() else { break };
                    if let Some(next) = queue.front() {
                        head.join_later(next);
                        queue[0] = head;
                    }
                    behind = true;
                }
            }
            if behind {
                continue;
            }
            return self.pending.iter_mut().filter_map(VecDeque::pop_front).reduce(|mut joined, one| {
                joined.join_worker(&one);
                joined
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use squall_common::interval::{Flow, FlowKey};

    fn part(first: u32, last: u32) -> IntervalSnapshot {
        let mut snapshot = IntervalSnapshot::of(first);
        snapshot.last_interval = last;
        let planned = u64::from(last - first) + 1;
        snapshot.flows.insert(FlowKey::OTHER, Flow { planned, ..Flow::default() });
        snapshot
    }

    fn planned(snapshot: &IntervalSnapshot) -> u64 {
        snapshot.flows.values().map(|flow| flow.planned).sum()
    }

    #[test]
    fn an_interval_waits_for_the_slowest_worker() {
        let mut joiner = Joiner::new(2);
        joiner.push(0, part(0, 0));
        assert!(joiner.pop().is_none());
        joiner.push(1, part(0, 0));
        let joined = joiner.pop().expect("whole");
        assert_eq!((joined.first_interval, joined.last_interval, planned(&joined)), (0, 0, 2));
    }

    proptest! {
        /// However workers cut their time, nothing is lost and no interval comes twice.
        #[test]
        fn joining_keeps_every_count_and_the_order(cuts in prop::collection::vec(prop::collection::vec(1u32..4, 0..12), 1..4)) {
            let end = 20u32;
            let mut joiner = Joiner::new(cuts.len());
            for (worker, lengths) in cuts.iter().enumerate() {
                let mut first = 0;
                for length in lengths.iter().copied().chain(std::iter::repeat(1)) {
                    let last = (first + length - 1).min(end - 1);
                    joiner.push(worker, part(first, last));
                    first = last + 1;
                    if first >= end { break; }
                }
                joiner.finish(worker);
            }
            let joined: Vec<IntervalSnapshot> = std::iter::from_fn(|| joiner.pop()).collect();
            prop_assert_eq!(joined.iter().map(planned).sum::<u64>(), u64::from(end) * cuts.len() as u64);
            let mut next = 0;
            for snapshot in &joined {
                prop_assert_eq!(snapshot.first_interval, next);
                next = snapshot.last_interval + 1;
            }
            prop_assert_eq!(next, end);
        }
    }
}
