//! Stored snapshots → one frame an interval, streamed: a long run never stands in memory at once.

use crate::report::Kept;
use crate::store::{SnapshotStream, StoreError};
use prost::Message;
use squall_common::merge::{Frame, RegionIndex};
use squall_common::plan::KeepErrors;
use squall_common::wire::{read_error, read_snapshot};
use std::collections::BTreeMap;

/// The frames of a run, in order.
pub struct Frames {
    snapshots: SnapshotStream,
    regions: BTreeMap<String, RegionIndex>,
    /// Frames that a later snapshot may still add to.
    open: BTreeMap<u32, Frame>,
    /// No snapshot to come ends before this interval; `None`: none is to come.
    open_from: Option<u32>,
    failed: Option<StoreError>,
    /// Which samples of failed requests are to be kept, and those that came.
    asked: Option<KeepErrors>,
    kept: Vec<Kept>,
}

impl Frames {
    /// `regions` names each slot's region; `asked`: what the plan says of samples of failed requests.
    pub fn new(snapshots: SnapshotStream, regions: BTreeMap<String, RegionIndex>, asked: Option<KeepErrors>) -> Self {
        Self { snapshots, regions, open: BTreeMap::new(), open_from: Some(0), failed: None, asked, kept: Vec::new() }
    }

    /// The samples of failed requests, after the frames ended.
    pub fn kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// What kept the rest of the frames from being read, after they ended.
    pub fn failure(&mut self) -> Option<StoreError> {
        self.failed.take()
    }

    fn read_one(&mut self) {
        let (key, bytes) = match self.snapshots.next() {
            Some(Ok(row)) => row,
            Some(Err(error)) => {
                self.failed = Some(error);
                self.open_from = None;
                return;
            }
            None => {
                self.open_from = None;
                return;
            }
        };
        self.open_from = Some(key.first_interval);
        // Both were checked before the snapshot was stored.
        let wire = squall_proto::Snapshot::decode(bytes).ok();
        if let Some(asked) = &self.asked {
            // One that says what nobody asked for is left out; the counts have their own check.
            let errors = wire.iter().flat_map(|wire| &wire.errors).filter_map(|error| read_error(error, asked).ok());
            self.kept.extend(errors.map(|error| (key.slot.clone(), error)));
        }
        let read = wire.and_then(|wire| read_snapshot(&wire).ok());
        let (Some(snapshot), Some(region)) = (read, self.regions.get(&key.slot)) else {
            self.failed = Some(StoreError::Failed(format!("snapshot {} of `{}` is damaged", key.sequence, key.slot)));
            return;
        };
        let interval = snapshot.last_interval;
        let frame = self.open.entry(interval).or_insert_with(|| Frame { interval, ..Frame::default() });
        frame.add(&key.slot, *region, &snapshot);
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        loop {
            let first = self.open.keys().next().copied();
            match (first, self.open_from) {
                (Some(first), Some(from)) if first < from => return self.open.remove(&first),
                (Some(first), None) => return self.open.remove(&first),
                (None, None) => return None,
                _ => self.read_one(),
            }
        }
    }
}
