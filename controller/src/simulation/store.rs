//! What outlives a controller process. Each write is whole or not there, and
//! only the process that has the store open writes.

use crate::conclusion::Told;
use crate::fleet::Member;
use crate::run::Run;
use crate::store::SnapshotKey;
use squall_proto::Snapshot;
use std::collections::BTreeMap;

/// As `recovery::Drive`.
#[derive(Clone)]
pub struct StoredDrive {
    pub run: Run,
    pub told: Vec<Told>,
    /// The controller's clock and the wall's at the writing.
    pub clock: String,
    pub monotonic_ns: u64,
    pub wall_ns: u64,
}

#[derive(Default)]
pub struct Store {
    /// The controller process that has it open.
    pub owner: u64,
    /// Of the one run: who carries it.
    pub members: Option<Vec<Member>>,
    pub drive: Option<StoredDrive>,
    pub snapshots: BTreeMap<SnapshotKey, Snapshot>,
    /// The controller process whose writes all fail: as redb, which after a failed one
    /// does no more until it is opened again.
    pub fails_for: Option<u64>,
    /// How the run ended.
    pub ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Concluded,
    /// It had not begun when its controller went away.
    Interrupted,
}

pub enum Write {
    Create(Vec<Member>),
    Drive(Box<StoredDrive>),
    /// Time only: nothing that is read again.
    Status,
    Snapshots(Vec<(SnapshotKey, Snapshot)>),
    Ended(Ended),
}

impl Write {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "new run",
            Self::Drive(_) => "run's state",
            Self::Status => "status",
            Self::Snapshots(_) => "snapshots",
            Self::Ended(_) => "result",
        }
    }
}

impl Store {
    /// Whether this write is the first that says of some agent that it has told all.
    pub fn hears_last_word(&self, write: &Write) -> bool {
        let heard = |told: &[Told]| told.iter().filter(|told| told.finished.is_some()).count();
        let before = self.drive.as_ref().map_or(0, |drive| heard(&drive.told));
        matches!(write, Write::Drive(drive) if heard(&drive.told) > before)
    }

    /// `Err`: a process wrote that had lost the store.
    pub fn write(&mut self, by: u64, write: Write) -> Result<(), String> {
        if by != self.owner {
            return Err(format!("controller {by} wrote after controller {} had opened the store", self.owner));
        }
        if self.ended.is_some() {
            return Err("something was written after the result".to_owned());
        }
        match write {
            Write::Create(members) => self.members = Some(members),
            Write::Drive(drive) => self.drive = Some(*drive),
            Write::Status => {}
            Write::Snapshots(rows) => self.snapshots.extend(rows),
            Write::Ended(ended) => self.ended = Some(ended),
        }
        Ok(())
    }
}
