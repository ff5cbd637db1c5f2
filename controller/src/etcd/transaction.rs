//! Writes that etcd accepts from the leader only, each against what was seen of it.
//!
//! `IF the fence holds AND each key is at the revision seen THEN write ELSE read all`.
//! A request without an answer may have been done: it is repeated, which does it at
//! most once, and if the repetition finds the keys moved, they are compared with
//! what was to be written.

use super::cache::Entry;
use super::connection::{Connection, Failed};
use super::error::EtcdError;
use super::leadership::Fence;
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, ResponseHeader, Txn, TxnOp, TxnOpResponse, TxnResponse};
use std::sync::Arc;

/// Operations of one transaction; etcd's default bound is 128.
pub const MAX_OPERATIONS: usize = 60;
/// Values of one transaction together; etcd's default bound for a request is 1.5 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// One key to write.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: String,
    /// The mod revision it was seen at; 0: it was not there.
    pub seen: i64,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Durable(Vec<u8>),
    /// Goes when the leader's lease does.
    Leased(Vec<u8>),
    Deleted,
}

impl Write {
    pub fn bytes(&self) -> usize {
        match &self.value {
            Value::Durable(value) | Value::Leased(value) => value.len(),
            Value::Deleted => 0,
        }
    }

    fn is_done_in(&self, found: Option<&Entry>) -> bool {
        match (&self.value, found) {
            (Value::Durable(value) | Value::Leased(value), Some(entry)) => {
                entry.value == *value && entry.mod_revision > self.seen
            }
            (Value::Deleted, None) => true,
            _ => false,
        }
    }
}

/// Why nothing was written.
#[derive(Debug)]
pub enum NotWritten {
    FenceGone,
    /// The first of the keys that is not as it was seen; `found` is `None` when it is not there.
    Moved {
        key: String,
        found: Option<Entry>,
    },
    Failed(EtcdError),
}

/// Writes all or nothing, and gives the revision at which it was done.
pub async fn commit(connection: &Connection, fence: &Fence, writes: &[Write]) -> Result<i64, NotWritten> {
    let Some(transaction) = transaction(fence, writes) else { return Err(NotWritten::FenceGone) };
    let transaction = Arc::new(transaction);
    let (mut is_repeated, mut last) = (false, String::new());
    for attempt in 0..connection.attempts() {
        let answered = connection
            .request(|client| {
                let transaction = transaction.as_ref().clone();
                async move { client.kv_client().txn(transaction).await }
            })
            .await;
        match answered {
            Ok(answer) => return judge(fence, writes, &answer, is_repeated),
            // The only thing we name that etcd may not find is the leader's lease.
            Err(Failed::Refused(etcd_client::Error::GRpcStatus(status))) if status.code() == tonic::Code::NotFound => {
                return Err(NotWritten::FenceGone);
            }
            Err(Failed::Refused(error)) => {
                return Err(NotWritten::Failed(EtcdError::Refused(EtcdError::detail(&error))));
            }
            Err(Failed::Unknown(detail)) => last = detail,
        }
        is_repeated = true;
        connection.wait(attempt).await;
    }
    Err(NotWritten::Failed(connection.unreachable_because(last)))
}

/// The lease that a leader's key hangs on is the last part of its name.
fn lease_of(fence: &Fence) -> Option<i64> {
    i64::from_str_radix(fence.key.rsplit_once('/')?.1, 16).ok()
}

fn transaction(fence: &Fence, writes: &[Write]) -> Option<Txn> {
    let lease = lease_of(fence)?;
    let unmoved = |write: &Write| Compare::mod_revision(write.key.as_str(), CompareOp::Equal, write.seen);
    let operation = |write: &Write| match &write.value {
        Value::Durable(value) => TxnOp::put(write.key.as_str(), value.clone(), None),
        Value::Leased(value) => {
            TxnOp::put(write.key.as_str(), value.clone(), Some(PutOptions::new().with_lease(lease)))
        }
        Value::Deleted => TxnOp::delete(write.key.as_str(), None),
    };
    let read = |write: &Write| TxnOp::get(write.key.as_str(), None);
    Some(
        Txn::new()
            .when(std::iter::once(holds(fence)).chain(writes.iter().map(unmoved)).collect::<Vec<_>>())
            .and_then(writes.iter().map(operation).collect::<Vec<_>>())
            .or_else(std::iter::once(fence_read(fence)).chain(writes.iter().map(read)).collect::<Vec<_>>()),
    )
}

/// That the leadership holds.
pub fn holds(fence: &Fence) -> Compare {
    Compare::create_revision(fence.key.as_str(), CompareOp::Equal, fence.create_revision)
}

fn fence_read(fence: &Fence) -> TxnOp {
    TxnOp::get(fence.key.as_str(), Some(GetOptions::new().with_keys_only()))
}

fn judge(fence: &Fence, writes: &[Write], answer: &TxnResponse, is_repeated: bool) -> Result<i64, NotWritten> {
    if answer.succeeded() {
        return Ok(answer.header().map_or(0, ResponseHeader::revision));
    }
    let mut found = answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(get) => get.kvs().first().map(Entry::from),
        _ => None,
    });
    let fence_key = found.next().flatten();
    refusal(fence, writes, fence_key.as_ref(), &found.collect::<Vec<_>>(), is_repeated)
}

/// What it means that a condition did not hold.
fn refusal(
    fence: &Fence,
    writes: &[Write],
    fence_key: Option<&Entry>,
    found: &[Option<Entry>],
    is_repeated: bool,
) -> Result<i64, NotWritten> {
    if fence_key.map(|entry| entry.create_revision) != Some(fence.create_revision) {
        return Err(NotWritten::FenceGone);
    }
    let both = || writes.iter().zip(found);
    // Only the leader writes these keys, and that is us: what stands there as we meant it, we wrote.
    if is_repeated && both().all(|(write, found)| write.is_done_in(found.as_ref())) {
        let newest = found.iter().flatten().map(|entry| entry.mod_revision).max();
        return Ok(newest.unwrap_or(0));
    }
    let revision = |found: &Option<Entry>| found.as_ref().map_or(0, |entry| entry.mod_revision);
    match both().find(|(write, found)| revision(found) != write.seen) {
        Some((write, found)) => Err(NotWritten::Moved { key: write.key.clone(), found: found.clone() }),
        // All conditions hold as we read them, so etcd contradicts itself.
        None => Err(NotWritten::Failed(EtcdError::Refused("it says that nothing moved and that something did".into()))),
    }
}

/// Splits writes into transactions that etcd takes.
pub fn batches(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut batches: Vec<Vec<Write>> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_OPERATIONS && bytes + write.bytes() <= MAX_BYTES => {
                bytes += write.bytes();
                batch.push(write);
            }
            _ => {
                bytes = write.bytes();
                batches.push(vec![write]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fence() -> Fence {
        Fence { key: "election/a1".into(), create_revision: 5 }
    }

    fn write(key: &str, seen: i64, value: &str) -> Write {
        Write { key: key.into(), seen, value: Value::Durable(value.into()) }
    }

    fn entry(key: &str, mod_revision: i64, value: &str) -> Entry {
        Entry { key: key.into(), value: value.into(), create_revision: 5, mod_revision }
    }

    #[test]
    fn a_fence_that_was_made_anew_is_another() {
        let mut key = entry("election/a1", 9, "");
        key.create_revision = 9;
        for found in [None, Some(&key)] {
            let refused = refusal(&fence(), &[write("k", 1, "v")], found, &[None], false);
            assert!(matches!(refused, Err(NotWritten::FenceGone)), "{refused:?}");
        }
    }

    #[test]
    fn a_key_that_moved_is_named_with_what_stands_there() {
        let found = [Some(entry("a", 1, "x")), Some(entry("b", 7, "y"))];
        let writes = [write("a", 1, "new"), write("b", 2, "new")];
        match refusal(&fence(), &writes, Some(&entry("election/a1", 5, "")), &found, false) {
            Err(NotWritten::Moved { key, found }) => {
                assert_eq!((key.as_str(), found), ("b", Some(entry("b", 7, "y"))));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_an_unanswered_request_had_written_counts_as_written() {
        let found = [Some(entry("a", 8, "new")), None];
        let writes = [write("a", 1, "new"), Write { key: "b".into(), seen: 3, value: Value::Deleted }];
        let key = entry("election/a1", 5, "");
        assert_eq!(refusal(&fence(), &writes, Some(&key), &found, true).unwrap(), 8);
        // Without a request before, somebody else wrote it.
        assert!(matches!(refusal(&fence(), &writes, Some(&key), &found, false), Err(NotWritten::Moved { .. })));
    }

    #[test]
    fn half_of_what_was_to_be_written_is_not_what_we_wrote() {
        let found = [Some(entry("a", 8, "new")), Some(entry("b", 3, "old"))];
        let writes = [write("a", 1, "new"), write("b", 3, "new")];
        let refused = refusal(&fence(), &writes, Some(&entry("election/a1", 5, "")), &found, true);
        assert!(matches!(refused, Err(NotWritten::Moved { .. })), "{refused:?}");
    }

    proptest! {
        #[test]
        fn batches_hold_everything_in_order_within_the_bounds(sizes in proptest::collection::vec(0..400_000usize, 0..200)) {
            let write = |(n, size): (usize, &usize)| write(&n.to_string(), 0, &"x".repeat(*size));
            let batches = batches(sizes.iter().enumerate().map(write).collect());
            for batch in &batches {
                prop_assert!(!batch.is_empty() && batch.len() <= MAX_OPERATIONS);
                prop_assert!(batch.iter().map(Write::bytes).sum::<usize>() <= MAX_BYTES);
            }
            let keys: Vec<String> = batches.concat().into_iter().map(|write| write.key).collect();
            prop_assert_eq!(keys, (0..sizes.len()).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
}
