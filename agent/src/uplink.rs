//! The agent's intervals → numbered snapshots, kept until the controller has them.
//!
//! Invariant: every interval taken is in exactly one snapshot, every snapshot
//! is kept until it is acknowledged, and snapshots are offered in the order of
//! their numbers. A session that breaks only moves the cursor back.
//!
//! The newest snapshots stay in memory, older ones go to the [`Spool`]. When
//! that is full too, further intervals are joined before they get a number:
//! time resolution goes, counts stay.

use crate::spool::{Place, Spool};
use prost::Message;
use squall_common::interval::IntervalSnapshot;
use squall_common::wire::SnapshotWriter;
use squall_proto::{ErrorSample, Snapshot};
use std::collections::VecDeque;

/// Snapshots kept in memory; two minutes without a controller.
const IN_MEMORY: usize = 120;
/// The spool's size: a day of a few series.
const SPOOL_BYTES: u64 = 256 << 20;

enum Kept {
    Memory(Box<Snapshot>),
    Spooled(Place),
}

/// A kept snapshot can't be read back: the run can't be told whole any more.
#[derive(Debug, thiserror::Error)]
#[error("snapshot {sequence} cannot be read back from the spool: {why}")]
pub struct SpoolBroken {
    sequence: u64,
    why: String,
}

/// Numbers snapshots and keeps them.
pub struct Uplink {
    run_id: String,
    slot: String,
    epoch: u64,
    writer: SnapshotWriter,
    last_sequence: u64,
    /// Up to `last_sequence`, without gaps.
    kept: VecDeque<Kept>,
    /// How many of the oldest in `kept` are in the spool.
    spooled: usize,
    acknowledged: u64,
    next_to_send: u64,
    keep_all: bool,
    spool: Option<Spool>,
    spool_bytes: u64,
    waiting: Option<IntervalSnapshot>,
    /// Go with the next snapshot that gets a number.
    errors: Vec<ErrorSample>,
    joined: u64,
}

impl Uplink {
    /// `keep_all`: keep what is acknowledged too, as far as there is room.
    pub fn new(run_id: &str, slot: &str, epoch: u64, keep_all: bool) -> Self {
        Self {
            run_id: run_id.to_owned(),
            slot: slot.to_owned(),
            epoch,
            writer: SnapshotWriter::default(),
            last_sequence: 0,
            kept: VecDeque::new(),
            spooled: 0,
            acknowledged: 0,
            next_to_send: 1,
            keep_all,
            spool: None,
            spool_bytes: SPOOL_BYTES,
            waiting: None,
            errors: Vec::new(),
            joined: 0,
        }
    }

    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Intervals that lost their own second under pressure.
    pub fn joined_intervals(&self) -> u64 {
        self.joined
    }

    /// Keeps an interval, numbered at once where there is room.
    pub fn take(&mut self, snapshot: IntervalSnapshot) {
        let whole = match self.waiting.take() {
            Some(mut waiting) => {
                self.joined += 1;
                waiting.join_later(&snapshot);
                waiting
            }
            None => snapshot,
        };
        if self.make_room() {
            self.number(&whole);
        } else {
            self.waiting = Some(whole);
        }
    }

    /// Lets samples of failed requests go with the next snapshot.
    pub fn attach(&mut self, errors: Vec<ErrorSample>) {
        self.errors = errors;
    }

    /// Numbers what waited for room: at the end of the run there is nothing to join it with.
    pub fn flush(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.number(&waiting);
        }
    }

    fn number(&mut self, snapshot: &IntervalSnapshot) {
        self.last_sequence += 1;
        let mut numbered = self.writer.snapshot(&self.run_id, &self.slot, self.epoch, self.last_sequence, snapshot);
        numbered.errors = std::mem::take(&mut self.errors);
        self.kept.push_back(Kept::Memory(Box::new(numbered)));
    }

    /// Whether memory may take one more snapshot.
    fn make_room(&mut self) -> bool {
        while self.kept.len() - self.spooled >= IN_MEMORY {
            if !self.spool_oldest() && !self.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn spool_oldest(&mut self) -> bool {
        if self.spool.is_none() {
            self.spool = Spool::create(&std::env::temp_dir(), self.spool_bytes).ok();
        }
        let (Some(spool), Some(Kept::Memory(oldest))) = (&mut self.spool, self.kept.get(self.spooled)) else {
            return false;
        };
        match spool.append(&oldest.encode_to_vec()) {
            Ok(place) => {
                self.kept[self.spooled] = Kept::Spooled(place);
                self.spooled += 1;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the spool takes no more");
                false
            }
        }
    }

    /// Gives up what is kept only in case another controller asks for it.
    fn forget_oldest(&mut self) -> bool {
        let may = self.first_kept() <= self.acknowledged;
        if may {
            self.drop_front();
        }
        may
    }

    fn drop_front(&mut self) {
        if let Some(Kept::Spooled(_)) = self.kept.pop_front() {
            self.spooled -= 1;
            if self.spooled == 0
                && let Some(spool) = &mut self.spool
            {
                spool.clear();
            }
        }
    }

    fn first_kept(&self) -> u64 {
        self.last_sequence + 1 - self.kept.len() as u64
    }

    /// Whether there is something to send.
    pub fn has_next(&self) -> bool {
        self.next_to_send <= self.last_sequence
    }

    /// The next snapshot to send.
    pub fn next(&mut self) -> Option<Result<Snapshot, SpoolBroken>> {
        if !self.has_next() {
            return None;
        }
        let sequence = self.next_to_send.max(self.first_kept());
        let snapshot = match self.kept.get((sequence - self.first_kept()) as usize)? {
            Kept::Memory(snapshot) => Ok(Snapshot::clone(snapshot)),
            Kept::Spooled(place) => self.read(*place).map_err(|why| SpoolBroken { sequence, why }),
        };
        self.next_to_send = sequence + 1;
        Some(snapshot)
    }

    fn read(&self, place: Place) -> Result<Snapshot, String> {
        let spool = self.spool.as_ref().ok_or("there is no spool")?;
        let record = spool.read(place).map_err(|error| error.to_string())?;
        Snapshot::decode(record.as_slice()).map_err(|error| error.to_string())
    }

    /// Everything up to and with `sequence` is stored.
    pub fn acknowledge(&mut self, sequence: u64) {
        self.acknowledged = self.acknowledged.max(sequence.min(self.last_sequence));
        while !self.keep_all && !self.kept.is_empty() && self.first_kept() <= self.acknowledged {
            self.drop_front();
        }
    }

    /// After a session broke: what lies beyond `stored` is to be sent again.
    /// Another controller may have stored less than was once acknowledged.
    pub fn rewind(&mut self, stored: u64) {
        self.acknowledged = stored.min(self.last_sequence);
        self.acknowledge(stored);
        self.next_to_send = self.acknowledged + 1;
    }

    pub fn all_acknowledged(&self) -> bool {
        self.acknowledged == self.last_sequence && self.waiting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_common::interval::{Flow, FlowKey};
    use squall_common::random::Random;

    fn part(interval: u32) -> IntervalSnapshot {
        let mut snapshot = IntervalSnapshot::of(interval);
        snapshot.flows.insert(FlowKey::OTHER, Flow { planned: 1, ..Flow::default() });
        snapshot
    }

    fn small(spool_bytes: u64, keep_all: bool) -> Uplink {
        Uplink { spool_bytes, ..Uplink::new("run", "slot", 1, keep_all) }
    }

    fn planned(snapshot: &Snapshot) -> u64 {
        snapshot.flows.iter().map(|flow| flow.planned).sum()
    }

    /// Whatever breaks and comes back in whatever order, the controller has every interval once.
    #[test]
    fn every_interval_arrives_once_over_any_broken_sessions() {
        for seed in 0..300u64 {
            let mut random = Random::at(seed, &[]);
            // From a spool that holds next to nothing to one that holds all.
            let mut uplink = small([0, 900, 20_000, 1 << 20][random.below(4) as usize], random.below(2) == 0);
            let (mut stored, mut counted, mut last_interval, mut interval) = (0, 0, None::<u32>, 0);
            for step in 0..2_000 {
                match random.below(10) {
                    0..=4 => {
                        uplink.take(part(interval));
                        interval += 1;
                    }
                    5..=7 => {
                        // Lost on its way, or stored; and then acknowledged, or not.
                        if let Some(next) = uplink.next() {
                            let next = next.unwrap();
                            if random.below(4) > 0 && next.sequence == stored + 1 {
                                assert_eq!(
                                    next.first_interval,
                                    last_interval.map_or(0, |last| last + 1),
                                    "seed {seed}"
                                );
                                (stored, last_interval) = (next.sequence, Some(next.last_interval));
                                counted += planned(&next);
                            }
                        }
                        if random.below(3) == 0 {
                            uplink.acknowledge(stored);
                        }
                    }
                    8 => uplink.rewind(stored),
                    _ => {
                        if step % 7 == 0 {
                            uplink.acknowledge(stored)
                        }
                    }
                }
            }
            uplink.flush();
            uplink.rewind(stored);
            while let Some(next) = uplink.next() {
                counted += planned(&next.unwrap());
            }
            uplink.acknowledge(uplink.last_sequence());
            assert_eq!(counted, u64::from(interval), "seed {seed}");
            assert!(uplink.all_acknowledged());
        }
    }

    #[test]
    fn with_no_room_anywhere_intervals_are_joined_and_said_to_be() {
        let mut uplink = small(0, false);
        (0..1_000).for_each(|interval| uplink.take(part(interval)));
        assert_eq!(
            (uplink.last_sequence(), uplink.joined_intervals()),
            (IN_MEMORY as u64, 1_000 - IN_MEMORY as u64 - 1)
        );
        uplink.flush();
        let last = std::iter::from_fn(|| uplink.next()).last().unwrap().unwrap();
        assert_eq!((last.first_interval, last.last_interval), (IN_MEMORY as u32, 999));
    }

    #[test]
    fn kept_snapshots_can_all_be_asked_for_again() {
        let mut uplink = small(1 << 20, true);
        (0..500).for_each(|interval| uplink.take(part(interval)));
        while uplink.next().is_some() {}
        uplink.acknowledge(500);
        assert!(uplink.all_acknowledged() && !uplink.has_next());
        uplink.rewind(0);
        let again = std::iter::from_fn(|| uplink.next()).map(|next| next.unwrap().first_interval);
        assert!(again.eq(0..500));
    }
}
