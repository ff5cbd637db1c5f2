//! What the leader writes, while it leads.
//!
//! A term belongs to one fence. A task that outlives its leadership keeps its term
//! and is refused, even if the same controller leads again by then.

use super::coordinator::{KnownRun, Shared};
use super::error::EtcdError;
use super::keys::RunPart;
use super::leadership::Fence;
use super::records::{
    Active, AgentRecord, Checkpoint, Desired, MAX_DRIVE_BYTES, MAX_SUMMARY_BYTES, Record, ResultRecord, RunSpec,
    RunStatus, ShareRecord, within,
};
use super::transaction::{MAX_OPERATIONS, NotWritten, Value, Write, batches, commit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The leader's hand on etcd.
pub struct Term {
    pub(super) shared: Arc<Shared>,
    pub(super) fence: Fence,
    /// The mod revision at which each key was seen or written last.
    known: Mutex<BTreeMap<String, i64>>,
}

impl Term {
    pub(super) fn new(shared: Arc<Shared>, fence: Fence) -> Self {
        Self { shared, fence, known: Mutex::default() }
    }

    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Begins the term: what was there before it is read, so that it can be written on. The oldest run first.
    pub async fn take_over(&self) -> Result<Vec<KnownRun>, EtcdError> {
        let (runs, revisions) = self.shared.runs().await?;
        let (_, active) = self.shared.connection.list(&self.shared.keys.all_active(), true).await?;
        let mut known = self.known();
        known.extend(revisions);
        known.extend(active.into_iter().map(|entry| (entry.key, entry.mod_revision)));
        Ok(runs)
    }

    /// A new run and its claim on every target, all or nothing.
    pub async fn create_run(
        &self,
        run: &str,
        spec: &RunSpec,
        status: &RunStatus,
        targets: &[String],
    ) -> Result<(), EtcdError> {
        spec.check()?;
        within("a run's targets (each one operation)", targets.len() + 2, MAX_OPERATIONS)?;
        let keys = &self.shared.keys;
        let spec_key = keys.part(run, RunPart::Spec);
        let active = Active { run: run.to_owned() }.durable()?;
        let mut writes = vec![
            Write { key: spec_key.clone(), seen: 0, value: spec.durable()? },
            Write { key: keys.part(run, RunPart::Status), seen: 0, value: status.durable()? },
        ];
        let claim = |target: &String| Write { key: keys.active(target), seen: 0, value: active.clone() };
        writes.extend(targets.iter().map(claim));
        match self.commit(writes).await {
            Ok(_) => Ok(()),
            Err(NotWritten::Moved { key, .. }) if key.starts_with(&keys.run(run)) => {
                Err(EtcdError::RunExists { run: run.to_owned() })
            }
            Err(NotWritten::Moved { key, found }) => {
                let holder = found.and_then(|entry| Active::decoded(&key, &entry.value).ok());
                let target = keys.target_of(&key).unwrap_or(key);
                Err(EtcdError::TargetBusy { target, run: holder.map(|active| active.run).unwrap_or_default() })
            }
            Err(other) => Err(self.told(other)),
        }
    }

    /// What an operator asked for, before it is done.
    pub async fn put_desired(&self, run: &str, desired: &Desired) -> Result<(), EtcdError> {
        self.put(vec![(self.shared.keys.part(run, RunPart::Desired), desired.durable()?)]).await
    }

    /// Before the message that makes it true is sent.
    pub async fn put_status(&self, run: &str, status: &RunStatus) -> Result<(), EtcdError> {
        self.put(vec![(self.shared.keys.part(run, RunPart::Status), status.durable()?)]).await
    }

    /// Where a run stands, for the leader that comes next; before the messages that make it true are sent.
    pub async fn put_drive(&self, run: &str, drive: &[u8]) -> Result<(), EtcdError> {
        within("a run's state", drive.len(), MAX_DRIVE_BYTES)?;
        self.put(vec![(self.shared.keys.part(run, RunPart::Drive), Value::Durable(drive.to_vec()))]).await
    }

    /// Who carries which share.
    pub async fn put_shares(&self, run: &str, shares: &[(u32, ShareRecord)]) -> Result<(), EtcdError> {
        let write = |(number, share): &(u32, ShareRecord)| {
            Ok((self.shared.keys.part(run, RunPart::Share(*number)), share.durable()?))
        };
        self.put(shares.iter().map(write).collect::<Result<_, EtcdError>>()?).await
    }

    /// How far the shares of a run are stored; not more often than [`super::CHECKPOINT_EVERY`]. What is written
    /// when this returns may be forgotten by the agents.
    pub async fn checkpoint(&self, run: &str, checkpoints: &[(u32, Checkpoint)]) -> Result<(), EtcdError> {
        let write = |(number, checkpoint): &(u32, Checkpoint)| {
            Ok((self.shared.keys.part(run, RunPart::Checkpoint(*number)), checkpoint.durable()?))
        };
        self.put(checkpoints.iter().map(write).collect::<Result<_, EtcdError>>()?).await
    }

    /// Vouches for an agent as long as we lead. Gives the epoch, above all that the slot ever had.
    pub async fn put_agent(&self, region: &str, slot: &str, agent: &AgentRecord) -> Result<u64, EtcdError> {
        let key = self.shared.keys.agent(region, slot);
        let value = Value::Leased(agent.encoded()?);
        loop {
            match self.commit(vec![self.write(key.clone(), value.clone())]).await {
                Ok(revision) => return Ok(u64::try_from(revision).unwrap_or(0)),
                // An earlier leader's word for the agent; it has dialled us now. The key has moved at most
                // as often as there were leaders, since only leaders write it.
                Err(NotWritten::Moved { .. }) => {}
                Err(other) => return Err(self.told(other)),
            }
        }
    }

    /// An agent has gone; unless the slot has another by now.
    pub async fn remove_agent(&self, region: &str, slot: &str, epoch: u64) -> Result<(), EtcdError> {
        let key = self.shared.keys.agent(region, slot);
        let seen = i64::try_from(epoch).unwrap_or(i64::MAX);
        match self.commit(vec![Write { key, seen, value: Value::Deleted }]).await {
            Ok(_) | Err(NotWritten::Moved { .. }) => Ok(()),
            Err(other) => Err(self.told(other)),
        }
    }

    /// A run's last status, the place of its result, and its targets free again, together.
    /// `date` is `YYYY-MM-DD`, of the run's creation.
    pub async fn conclude(
        &self,
        run: &str,
        date: &str,
        status: &RunStatus,
        result: &ResultRecord,
        targets: &[String],
    ) -> Result<(), EtcdError> {
        let keys = &self.shared.keys;
        within("a result's summary", result.summary.to_string().len(), MAX_SUMMARY_BYTES)?;
        within("a run's targets (each one operation)", targets.len() + 2, MAX_OPERATIONS)?;
        let mut writes = vec![
            self.write(keys.part(run, RunPart::Status), status.durable()?),
            self.write(keys.result(date, run), result.durable()?),
        ];
        writes.extend(targets.iter().map(|target| self.write(keys.active(target), Value::Deleted)));
        self.commit(writes).await.map(|_| ()).map_err(|error| self.told(error))
    }

    /// Writes keys of which we know what stands there.
    async fn put(&self, values: Vec<(String, Value)>) -> Result<(), EtcdError> {
        for batch in batches(values.into_iter().map(|(key, value)| self.write(key, value)).collect()) {
            self.commit(batch).await.map_err(|error| self.told(error))?;
        }
        Ok(())
    }

    fn write(&self, key: String, value: Value) -> Write {
        let seen = self.known().get(&key).copied().unwrap_or(0);
        Write { key, seen, value }
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<i64, NotWritten> {
        let committed = commit(&self.shared.connection, &self.fence, &writes).await;
        let mut known = self.known();
        match &committed {
            Ok(revision) => {
                for write in writes {
                    match write.value {
                        Value::Deleted => known.remove(&write.key),
                        _ => known.insert(write.key, *revision),
                    };
                }
            }
            Err(NotWritten::Moved { key, found }) => {
                match found {
                    Some(entry) => known.insert(key.clone(), entry.mod_revision),
                    None => known.remove(key),
                };
            }
            Err(NotWritten::FenceGone) => self.shared.session.refused(&self.fence),
            Err(NotWritten::Failed(_)) => {}
        }
        committed
    }

    pub(super) fn told(&self, not_written: NotWritten) -> EtcdError {
        match not_written {
            NotWritten::FenceGone => EtcdError::FenceGone,
            NotWritten::Moved { key, found } => {
                EtcdError::Moved { key, revision: found.map_or(0, |entry| entry.mod_revision) }
            }
            NotWritten::Failed(error) => error,
        }
    }

    pub(super) fn forget(&self, prefix: &str) {
        self.known().retain(|key, _| !key.starts_with(prefix));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
