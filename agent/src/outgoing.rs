//! What a run has to tell the controller, and how far that has come. Pure but for the spool.
//!
//! Snapshots go first, in their order, the totals last. A session that breaks
//! takes everything back that was not stored, the totals always: only the
//! controller behind the next session can say whether they were heard.

use crate::uplink::{SpoolBroken, Uplink};
use squall_common::interval::IntervalSnapshot;
use squall_proto::{ErrorSample, Finished, Snapshot};

/// How far the last word has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    No,
    Sent,
    Heard,
}

/// The next thing to be sent to the controller.
pub enum Telling {
    Snapshot(Snapshot),
    Finished(Finished),
}

/// A run's snapshots and its last word.
pub struct Outgoing {
    uplink: Uplink,
    /// The last word, once the load has ended.
    finished: Option<Finished>,
    said: Said,
    keep_all: bool,
}

impl Outgoing {
    /// `keep_all`: keep what is stored too, in case another controller asks for it.
    pub fn new(run_id: &str, slot: &str, epoch: u64, keep_all: bool) -> Self {
        Self { uplink: Uplink::new(run_id, slot, epoch, keep_all), finished: None, said: Said::No, keep_all }
    }

    pub fn take(&mut self, snapshot: IntervalSnapshot) {
        self.uplink.take(snapshot);
    }

    /// Samples of failed requests, before the last snapshot is taken.
    pub fn attach(&mut self, errors: Vec<ErrorSample>) {
        self.uplink.attach(errors);
    }

    /// The load has ended: no interval comes any more. The totals speak of
    /// snapshots, so they are made once those have their numbers.
    pub fn finish(&mut self, totals: impl FnOnce(&Uplink) -> Finished) {
        self.uplink.flush();
        self.finished = Some(totals(&self.uplink));
    }

    pub fn has_snapshot(&self) -> bool {
        self.uplink.has_next()
    }

    /// Whether [`Self::tell`] has something.
    pub fn has_to_tell(&self) -> bool {
        self.has_snapshot() || (self.finished.is_some() && self.said == Said::No)
    }

    /// What to send next.
    pub fn tell(&mut self) -> Option<Result<Telling, SpoolBroken>> {
        if let Some(next) = self.uplink.next() {
            return Some(next.map(Telling::Snapshot));
        }
        let finished = self.finished.as_ref().filter(|_| self.said == Said::No)?;
        self.said = Said::Sent;
        Some(Ok(Telling::Finished(finished.clone())))
    }

    /// `sequence` is stored; `finished`: so is the last word.
    pub fn acknowledge(&mut self, sequence: u64, finished: bool) {
        self.uplink.acknowledge(sequence);
        if finished && self.finished.is_some() {
            self.said = Said::Heard;
        }
    }

    /// A new session: what is not stored by the controller behind it is told again.
    pub fn rewind(&mut self, stored_sequence: u64) {
        self.uplink.rewind(stored_sequence);
        self.said = Said::No;
    }

    /// Everything is told and stored.
    pub fn is_told(&self) -> bool {
        self.said == Said::Heard && self.uplink.all_acknowledged()
    }

    /// Everything is told and stored, and nobody will ask for it again.
    pub fn is_over(&self) -> bool {
        self.is_told() && !self.keep_all
    }
}
