//! What outlives the process: runs, their bundles, snapshots, events and results.
//!
//! A snapshot is acknowledged only after [`Store::add_snapshots`] has returned,
//! and a status is stored before the message that makes it true is sent.

mod embedded;
mod seal;

pub use embedded::EmbeddedStore;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use thiserror::Error;

/// Why something could not be stored or read.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{path} is in use by another squall process; stop it, or choose another --data directory")]
    Locked { path: PathBuf },
    #[error("{path} is not a readable Squall store ({detail}); move it away to begin with an empty one")]
    Corrupt { path: PathBuf, detail: String },
    #[error("cannot open {path}: {source}; --data names another directory")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("the store has no space left ({0}): free some, or choose a --data directory elsewhere")]
    Full(std::io::Error),
    #[error("{what} in the store is damaged: {detail}")]
    Damaged { what: String, detail: String },
    /// Another controller leads; nothing was written.
    #[error("this controller leads no longer")]
    NotLeading,
    /// Not to be had like this, and why.
    #[error("{0}")]
    Refused(String),
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What is known of one run, whatever has become of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredRun {
    pub run_id: String,
    pub name: String,
    /// A name of [`crate::run::Stage`], or `interrupted`.
    pub state: String,
    /// Empty while it runs.
    pub verdict: String,
    /// Why, where the verdict is neither passed nor failed.
    pub reason: String,
    pub created_unix_ms: u64,
    pub duration_s: f64,
    pub sent: u64,
    /// summary.json, once there is one.
    pub summary_json: String,
    /// The controller that has the result's files, where that is another one.
    #[serde(default)]
    pub kept_at: String,
}

/// Where a run that has ended stands.
pub const STATE_DONE: &str = "done";
/// Where a run stands whose controller went away.
pub const STATE_INTERRUPTED: &str = "interrupted";

impl StoredRun {
    pub fn has_ended(&self) -> bool {
        self.state == STATE_DONE || self.state == STATE_INTERRUPTED
    }
}

/// Names one snapshot. In this order snapshots stream by interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotKey {
    pub first_interval: u32,
    pub slot: String,
    pub epoch: u64,
    pub sequence: u64,
}

/// Encoded snapshots of a run, by their first interval.
pub type SnapshotStream = Box<dyn Iterator<Item = Result<(SnapshotKey, Bytes), StoreError>> + Send>;

/// Where runs are kept. Calls block until the disk has answered.
pub trait Store: Send + Sync {
    /// A new run and the plan bundle it runs, together.
    fn create_run(&self, run: &StoredRun, bundle: &[u8]) -> Result<(), StoreError>;
    /// Where a live run stands, for a controller that comes after this one.
    fn put_drive(&self, run_id: &str, drive: &[u8]) -> Result<(), StoreError>;
    fn drive(&self, run_id: &str) -> Result<Option<Bytes>, StoreError>;
    /// Overwrites what is known of a run.
    fn update_run(&self, run: &StoredRun) -> Result<(), StoreError>;
    fn run(&self, run_id: &str) -> Result<Option<StoredRun>, StoreError>;
    /// The newest first.
    fn runs(&self, limit: usize) -> Result<Vec<StoredRun>, StoreError>;
    fn bundle(&self, run_id: &str) -> Result<Option<Bytes>, StoreError>;
    /// Durable when it returns. Storing the same snapshot again changes nothing.
    fn add_snapshots(&self, run_id: &str, snapshots: &[(SnapshotKey, Bytes)]) -> Result<(), StoreError>;
    fn snapshots(&self, run_id: &str) -> Result<SnapshotStream, StoreError>;
    /// Lines of events.jsonl, appended.
    fn add_events(&self, run_id: &str, lines: &[String]) -> Result<(), StoreError>;
    fn events(&self, run_id: &str) -> Result<Vec<String>, StoreError>;
    /// The results directory, and the run's last status, together.
    fn conclude(&self, run: &StoredRun, files: &[(String, Vec<u8>)]) -> Result<(), StoreError>;
    fn result_names(&self, run_id: &str) -> Result<Vec<String>, StoreError>;
    fn result(&self, run_id: &str, name: &str) -> Result<Option<Bytes>, StoreError>;
}

/// Ends a run that nothing can go on with.
pub fn mark_interrupted(store: &dyn Store, mut run: StoredRun, why: &str) -> Result<(), StoreError> {
    run.reason = format!("the controller went away while the run was {}: {why}", run.state);
    run.state = STATE_INTERRUPTED.to_owned();
    run.verdict = squall_common::verdict::Verdict::Aborted.name().to_owned();
    store.update_run(&run)
}

#[cfg(test)]
mod tests;
