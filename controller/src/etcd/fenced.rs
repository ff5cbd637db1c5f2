//! The store of a leader: what the next one needs goes to etcd, fenced, before it
//! goes to the own disk; what is measured stays on the disk, since the agents keep it too.

use super::error::EtcdError;
use super::handover::index_of;
use super::records::{MAX_FIRST_DRIVE_BYTES, ResultRecord, RunSpec, RunStatus};
use super::term::Term;
use crate::bundle::sha256;
use crate::mandate::Mandate;
use crate::plan_source;
use crate::report::numbers;
use crate::store::{SnapshotKey, SnapshotStream, Store, StoreError, StoredRun};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{ZlibDecoder, ZlibEncoder};
use prost::Message;
use squall_proto::PlanBundle;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::runtime::Handle;

const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Bounds what a damaged drive may take when it is unpacked.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// Writes of one term.
pub struct FencedStore {
    inner: Arc<dyn Store>,
    term: Arc<Term>,
    mandate: Arc<Mandate>,
    runtime: Handle,
    /// Where the results of this controller are found.
    address: String,
}

pub fn packed(drive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    ZlibEncoder::new(drive, Compression::default()).read_to_end(&mut packed)?;
    Ok(packed)
}

pub fn unpacked(drive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    ZlibDecoder::new(drive).take(MAX_UNPACKED_BYTES).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// What a plan is called, and what it sends load to: one run at a time for each.
fn aims_of(bundle: &[u8]) -> Option<(String, Vec<String>)> {
    let loaded = plan_source::load(&PlanBundle::decode(bundle).ok()?).ok()?;
    let targets: BTreeSet<String> =
        loaded.plan.targets.iter().map(|target| format!("{}:{}", target.host, target.port)).collect();
    Some((loaded.plan.name.clone(), targets.into_iter().collect()))
}

impl FencedStore {
    /// Its calls block on this runtime, so they are made from threads that may.
    pub fn new(
        inner: Arc<dyn Store>,
        term: Arc<Term>,
        mandate: Arc<Mandate>,
        runtime: Handle,
        address: String,
    ) -> Self {
        Self { inner, term, mandate, runtime, address }
    }

    /// Asks until etcd has answered: what is fenced may be written twice, and without
    /// an answer for the life of a lease the mandate ends.
    fn settle(&self, mut write: impl AsyncFnMut(&Term) -> Result<(), EtcdError>) -> Result<(), StoreError> {
        self.runtime.block_on(async {
            loop {
                if !self.mandate.holds() {
                    return Err(StoreError::NotLeading);
                }
                match write(&self.term).await {
                    Ok(()) => return Ok(()),
                    Err(EtcdError::FenceGone) => {
                        self.mandate.end();
                        return Err(StoreError::NotLeading);
                    }
                    // Moved: by a write of ours that went unanswered; where it is now is known by now.
                    Err(error @ (EtcdError::Unreachable { .. } | EtcdError::Moved { .. })) => {
                        tracing::warn!(%error, "written to etcd again");
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                    Err(error) => return Err(StoreError::Refused(error.to_string())),
                }
            }
        })
    }

    fn status(&self, phase: &str, ended: bool, reason: &str) -> RunStatus {
        let reason = reason.chars().take(1_000).collect();
        let term = self.term.fence().create_revision;
        RunStatus { phase: phase.to_owned(), ended, term, reason, ..RunStatus::default() }
    }

    /// Nothing is concluded by who leads no longer.
    fn begin_concluding(&self, run_id: &str) -> Result<(), StoreError> {
        let status = self.status("concluding", false, "");
        self.settle(async |term| term.put_status(run_id, &status).await)
    }

    fn conclude_in_etcd(&self, run: &StoredRun) -> Result<(), StoreError> {
        let bundle = self.inner.bundle(&run.run_id)?.unwrap_or_default();
        let targets = aims_of(&bundle).map(|(_, targets)| targets).unwrap_or_default();
        let created = numbers::rfc3339(UNIX_EPOCH + Duration::from_millis(run.created_unix_ms));
        let date = created.get(..10).unwrap_or("1970-01-01");
        let status = self.status(&run.state, true, &run.reason);
        let result = ResultRecord {
            location: self.address.clone(),
            sha256: sha256(run.summary_json.as_bytes()),
            verdict: run.verdict.clone(),
            summary: index_of(run),
        };
        self.settle(async |term| term.conclude(&run.run_id, date, &status, &result, &targets).await)
    }
}

impl Store for FencedStore {
    fn create_run(&self, run: &StoredRun, bundle: &[u8]) -> Result<(), StoreError> {
        let (name, targets) = aims_of(bundle).ok_or_else(|| StoreError::Refused("the plan cannot be read".into()))?;
        let spec = RunSpec::new(name, bundle.to_vec(), &self.address, run.created_unix_ms);
        let status = self.status(&run.state, false, "");
        let mut is_repeated = false;
        self.settle(async |term| {
            let created = term.create_run(&run.run_id, &spec, &status, &targets).await;
            match created {
                // By the attempt before, which went unanswered.
                Err(EtcdError::RunExists { .. }) if is_repeated => Ok(()),
                other => {
                    is_repeated = true;
                    other
                }
            }
        })?;
        self.inner.create_run(run, bundle)
    }

    fn put_drive(&self, run_id: &str, drive: &[u8]) -> Result<(), StoreError> {
        let bytes = packed(drive).map_err(|error| StoreError::Failed(error.to_string()))?;
        if bytes.len() > MAX_FIRST_DRIVE_BYTES && self.inner.drive(run_id)?.is_none() {
            return Err(StoreError::Refused(format!(
                "what the next leader would need of this run takes {} bytes in etcd, more than {MAX_FIRST_DRIVE_BYTES}: \
                 run it on fewer agents, or with fewer loads",
                bytes.len()
            )));
        }
        self.settle(async |term| term.put_drive(run_id, &bytes).await)?;
        self.inner.put_drive(run_id, drive)
    }

    fn drive(&self, run_id: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.drive(run_id)
    }

    fn update_run(&self, run: &StoredRun) -> Result<(), StoreError> {
        if run.has_ended() {
            self.begin_concluding(&run.run_id)?;
            self.inner.update_run(run)?;
            return self.conclude_in_etcd(run);
        }
        let status = self.status(&run.state, false, &run.reason);
        self.settle(async |term| term.put_status(&run.run_id, &status).await)?;
        self.inner.update_run(run)
    }

    fn run(&self, run_id: &str) -> Result<Option<StoredRun>, StoreError> {
        self.inner.run(run_id)
    }

    fn runs(&self, limit: usize) -> Result<Vec<StoredRun>, StoreError> {
        self.inner.runs(limit)
    }

    fn bundle(&self, run_id: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.bundle(run_id)
    }

    fn add_snapshots(&self, run_id: &str, snapshots: &[(SnapshotKey, Bytes)]) -> Result<(), StoreError> {
        self.inner.add_snapshots(run_id, snapshots)
    }

    fn snapshots(&self, run_id: &str) -> Result<SnapshotStream, StoreError> {
        self.inner.snapshots(run_id)
    }

    fn add_events(&self, run_id: &str, lines: &[String]) -> Result<(), StoreError> {
        self.inner.add_events(run_id, lines)
    }

    fn events(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        self.inner.events(run_id)
    }

    /// The own disk first: what etcd says is there must be there.
    fn conclude(&self, run: &StoredRun, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        self.begin_concluding(&run.run_id)?;
        self.inner.conclude(run, files)?;
        self.conclude_in_etcd(run)
    }

    fn result_names(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        self.inner.result_names(run_id)
    }

    fn result(&self, run_id: &str, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.result(run_id, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_drive_is_what_it_was_and_smaller() {
        let drive = b"[1,2,3,4]".repeat(1_000);
        let bytes = packed(&drive).unwrap();
        assert!(bytes.len() < drive.len() / 10);
        assert_eq!(unpacked(&bytes).unwrap(), drive);
    }
}
