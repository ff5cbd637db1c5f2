//! What must hold, whatever goes wrong.

use super::store::Ended;
use super::world::{Clock, SECOND, World};
use crate::fleet::Member;
use crate::report::RunRecord;
use crate::run::{Limits, Outcome};
use squall_common::merge::RunMerge;
use squall_common::verdict::Verdict;
use std::collections::BTreeMap;

/// What really happened, beside what anybody says.
#[derive(Default)]
pub struct Truth {
    /// Requests sent, by the sender's epoch and its second.
    sent: BTreeMap<u64, BTreeMap<u32, u64>>,
    pub controller_clocks: BTreeMap<String, Clock>,
    pub verdict: Option<Verdict>,
    /// Whoever watches the run has heard of its end.
    pub is_told: bool,
}

impl Truth {
    pub fn sent(&mut self, epoch: u64, interval: u32, requests: u64) {
        *self.sent.entry(epoch).or_default().entry(interval).or_default() += requests;
    }

    fn sent_by(&self, epoch: u64, below: Option<u32>) -> u64 {
        let seconds = self.sent.get(&epoch).into_iter().flatten();
        seconds.filter(|(second, _)| below.is_none_or(|below| **second < below)).map(|(_, sent)| sent).sum()
    }
}

impl World {
    /// An agent is about to be taken for lost: it must have stopped by itself.
    pub fn may_be_taken_for_lost(&self, epoch: u64) {
        for (place, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.is_alive) {
            let Some(run) = agent.run.as_ref().filter(|run| run.order.epoch == epoch) else { continue };
            let left = agent.lease.until_ns().saturating_sub(agent.clock.at(self.now));
            assert!(
                !run.offers_load() || left == 0,
                "agent {place} is taken for lost while its lease goes on for {} ms",
                left / 1_000_000
            );
        }
    }

    /// The result says what really happened.
    pub fn check_result(&mut self, members: &[Member], merge: &RunMerge, outcome: &Outcome, record: &RunRecord) {
        let mut is_whole = true;
        for (place, (member, merged)) in members.iter().zip(merge.agents()).enumerate() {
            let told_until = merged.last_interval.map_or(0, |last| last + 1);
            let (sent, all) =
                (self.truth.sent_by(member.epoch, Some(told_until)), self.truth.sent_by(member.epoch, None));
            assert_eq!(merged.ledger.sent, sent, "agent #{place} sent so many in its first {told_until} s");
            let hole = record.holes.iter().find(|hole| hole.agent == member.slot);
            is_whole &= hole.is_none();
            match hole {
                Some(hole) => assert_eq!(hole.first_interval, told_until, "the hole of agent #{place} begins there"),
                None => assert_eq!(merged.ledger.sent, all, "agent #{place} has no hole; it sent so many in all"),
            }
        }
        let unbalanced = record.reasons.iter().find(|reason| reason.contains("does not balance"));
        assert_eq!(unbalanced, None);
        let ended_as_meant = outcome.aborted.is_none() && !outcome.stopped_early;
        if is_whole && ended_as_meant {
            assert_eq!(record.verdict, Verdict::Passed, "nothing is missing: {:?}", record.reasons);
            assert_eq!(Some(merge.ledger().sent), record.planned_by_plan, "all of the plan was sent");
        }
        if record.verdict == Verdict::Passed {
            assert!(is_whole || outcome.losses_accepted, "passed with holes: {:?}", record.holes);
        }
        if outcome.start_at_ns.is_none() {
            assert_eq!(merge.ledger().sent, 0, "it never started");
        }
        self.truth.verdict = Some(record.verdict);
    }

    /// When every run must have ended: each wait in its turn, from the last fault on.
    pub fn must_have_ended_by(&self) -> u64 {
        let limits = Limits::default();
        let plan = &self.plan;
        let waits = limits.arm * 2 + plan.offered_for().unwrap_or_default() + plan.drain + limits.finish_grace * 2;
        self.settings.faults_end + waits.as_nanos() as u64 + 20 * SECOND
    }

    /// After the result: nobody works for a run that is over.
    pub fn check_orphans(&self) {
        for (place, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.is_alive) {
            let is_there = agent.paused_until <= self.now;
            assert!(agent.run.is_none() || !is_there, "agent {place} still carries the run that is over");
        }
    }

    pub fn check_end(&self) {
        match self.store.ended {
            Some(Ended::Concluded) => {
                let verdict = self.truth.verdict;
                if self.settings.gentle {
                    assert_eq!(verdict, Some(Verdict::Passed), "nothing happened that a run must not outlive whole");
                }
            }
            Some(Ended::Interrupted) => {
                assert!(self.store.drive.is_none() && self.store.snapshots.is_empty());
            }
            // The store does not take it, or never took the run: then the operator was told that there is none.
            None => assert!(self.truth.is_told || self.store.members.is_none(), "the run has not ended"),
        }
    }
}
