//! Old runs leave etcd; the index of their results stays.

use super::connection::Failed;
use super::error::EtcdError;
use super::keys::RunPart;
use super::records::{Active, Record, RunStatus};
use super::term::Term;
use super::transaction::holds;
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, Txn, TxnOp};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a retention job took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub runs: Vec<String>,
    /// Targets that were held for a run that has ended.
    pub freed: Vec<String>,
}

/// Runs of this age, the oldest first. Their ids begin with the time they were created at.
fn older_than(runs: BTreeSet<String>, keep: Duration, now_unix_ms: u64) -> Vec<String> {
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let is_old = |run: &String| {
        let id = ulid::Ulid::from_string(run);
        id.is_ok_and(|id| id.timestamp_ms().saturating_add(keep_ms) < now_unix_ms)
    };
    runs.into_iter().filter(is_old).collect()
}

impl Term {
    /// Deletes runs that ended and were created longer ago than `keep`, and frees targets that were left behind.
    pub async fn retain(&self, keep: Duration, now_unix_ms: u64) -> Result<Removed, EtcdError> {
        let keys = &self.shared.keys;
        let (_, entries) = self.shared.connection.list(&keys.runs(), true).await?;
        let runs: BTreeSet<String> =
            entries.iter().filter_map(|entry| keys.part_of(&entry.key)).map(|(run, _)| run).collect();
        let mut removed = Removed { freed: self.free_targets().await?, runs: Vec::new() };
        for run in older_than(runs, keep, now_unix_ms) {
            if self.has_ended(&run).await? {
                let prefix = keys.run(&run);
                let all = DeleteOptions::new().with_prefix();
                self.fenced(Vec::new(), TxnOp::delete(prefix.as_str(), Some(all))).await?;
                self.forget(&prefix);
                removed.runs.push(run);
            }
        }
        Ok(removed)
    }

    async fn free_targets(&self) -> Result<Vec<String>, EtcdError> {
        let keys = &self.shared.keys;
        let (_, active) = self.shared.connection.list(&keys.all_active(), false).await?;
        let mut freed = Vec::new();
        for entry in active {
            let holder = Active::decoded(&entry.key, &entry.value)?.run;
            if self.has_ended(&holder).await? {
                let unmoved = Compare::mod_revision(entry.key.as_str(), CompareOp::Equal, entry.mod_revision);
                self.fenced(vec![unmoved], TxnOp::delete(entry.key.as_str(), None)).await?;
                self.forget(&entry.key);
                freed.extend(keys.target_of(&entry.key));
            }
        }
        Ok(freed)
    }

    /// Also true of a run that is not there at all.
    async fn has_ended(&self, run: &str) -> Result<bool, EtcdError> {
        let key = self.shared.keys.part(run, RunPart::Status);
        let found = self
            .shared
            .connection
            .persistent(|client| {
                let key = key.clone();
                async move { client.kv_client().get(key, Some(GetOptions::new())).await }
            })
            .await?;
        match found.kvs().first() {
            Some(kv) => Ok(RunStatus::decoded(&key, kv.value())?.ended),
            None => Ok(true),
        }
    }

    /// A deletion, which may be done twice, as long as we lead.
    async fn fenced(&self, mut conditions: Vec<Compare>, deletion: TxnOp) -> Result<(), EtcdError> {
        let is_unconditional = conditions.is_empty();
        conditions.push(holds(&self.fence));
        let transaction = Txn::new().when(conditions).and_then([deletion]);
        let connection = &self.shared.connection;
        let mut last = String::new();
        for attempt in 0..connection.attempts() {
            let transaction = transaction.clone();
            match connection.request(|client| async move { client.kv_client().txn(transaction).await }).await {
                Ok(answer) if !answer.succeeded() && is_unconditional => {
                    self.shared.session.refused(&self.fence);
                    return Err(EtcdError::FenceGone);
                }
                // It moved meanwhile, or was deleted by the attempt before.
                Ok(_) => return Ok(()),
                Err(Failed::Refused(error)) => return Err(EtcdError::Refused(EtcdError::detail(&error))),
                Err(Failed::Unknown(detail)) => last = detail,
            }
            connection.wait(attempt).await;
        }
        Err(connection.unreachable_because(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_beyond_the_time_to_keep_are_old() {
        let id = |ms| ulid::Ulid::from_parts(ms, 1).to_string();
        let runs = BTreeSet::from([id(1_000), id(5_000), "not-a-run-id".to_owned()]);
        assert_eq!(older_than(runs, Duration::from_secs(2), 3_001), [id(1_000)]);
    }
}
