//! What every controller of a fleet may do, whether it leads or not: stand for
//! election, read, follow.

use super::cache::Entry;
use super::connection::Connection;
use super::error::EtcdError;
use super::keys::{Keys, RunPart, SCHEMA};
use super::leadership::{Fence, Leadership};
use super::options::Options;
use super::records::{AgentRecord, Checkpoint, Desired, Record, ResultRecord, RunSpec, RunStatus, Schema, ShareRecord};
use super::session::Session;
use super::term::Term;
use super::watch::{self, Watch};
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch as latest;

/// A controller's place in etcd; cheap to clone. When the last one is dropped, it resigns.
#[derive(Clone)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub keys: Keys,
    pub connection: Arc<Connection>,
    pub session: Session,
}

/// All that etcd holds of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownRun {
    pub run: String,
    pub spec: Option<RunSpec>,
    pub desired: Option<Desired>,
    pub status: Option<RunStatus>,
    /// As [`Term::put_drive`] wrote it.
    pub drive: Option<Vec<u8>>,
    pub shares: BTreeMap<u32, ShareRecord>,
    pub checkpoints: BTreeMap<u32, Checkpoint>,
    /// What could not be read, and why; the rest is as it was written.
    pub unreadable: Vec<String>,
}

impl Coordinator {
    /// Connects, checks that we know the fleet's schema, and stands for election.
    pub async fn start(options: Options) -> Result<Self, EtcdError> {
        let options = Arc::new(options);
        let keys = Keys::new(&options.fleet);
        let connection = Arc::new(Connection::new(options.clone()));
        // A file that cannot be read is told as such, not as an etcd that does not answer.
        connection.client().await?;
        check_schema(&connection, &keys, &options.fleet).await?;
        let session = Session::start(options)?;
        let shared = Shared { keys, connection, session };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where this controller stands, and every change of it.
    pub fn leadership(&self) -> latest::Receiver<Leadership> {
        self.shared.session.leadership()
    }

    /// Whether this leadership goes on, by all we know. A process that was stopped for longer than its
    /// lease knows it as soon as it wakes: nobody has looked at the lease meanwhile.
    pub fn believes(&self, fence: &Fence) -> bool {
        self.shared.session.believes(fence)
    }

    /// What the leader may do, as long as the fence holds.
    pub fn term(&self, fence: Fence) -> Term {
        Term::new(self.shared.clone(), fence)
    }

    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Revokes the lease, so that another leads at once.
    pub async fn resign(&self) {
        self.shared.session.resign().await;
    }

    /// All runs that are kept, the oldest first.
    pub async fn runs(&self) -> Result<Vec<KnownRun>, EtcdError> {
        self.shared.runs().await.map(|(runs, _)| runs)
    }

    /// Region, slot, epoch and record of every agent that the leader vouches for.
    pub async fn agents(&self) -> Result<Vec<(String, String, u64, AgentRecord)>, EtcdError> {
        let (_, entries) = self.shared.connection.list(&self.shared.keys.agents(), false).await?;
        let agent = |entry: Entry| {
            let (region, slot) = self.shared.keys.agent_of(&entry.key)?;
            let epoch = u64::try_from(entry.mod_revision).unwrap_or(0);
            Some(AgentRecord::decoded(&entry.key, &entry.value).map(|record| (region, slot, epoch, record)))
        };
        entries.into_iter().filter_map(agent).collect()
    }

    /// Run and place of every result, the oldest first.
    pub async fn results(&self) -> Result<Vec<(String, ResultRecord)>, EtcdError> {
        let (_, entries) = self.shared.connection.list(&self.shared.keys.results(), false).await?;
        let result = |entry: Entry| {
            let run = entry.key.rsplit_once('/')?.1.to_owned();
            Some(ResultRecord::decoded(&entry.key, &entry.value).map(|record| (run, record)))
        };
        entries.into_iter().filter_map(result).collect()
    }

    /// Follows what is below a prefix, e.g. [`Keys::runs`], through broken streams and compactions.
    pub fn watch(&self, prefix: impl Into<String>) -> Watch {
        watch::follow(self.shared.connection.clone(), prefix.into())
    }
}

impl Shared {
    /// The runs, and at which revision each of their keys is.
    pub async fn runs(&self) -> Result<(Vec<KnownRun>, BTreeMap<String, i64>), EtcdError> {
        let (_, entries) = self.connection.list(&self.keys.runs(), false).await?;
        let revisions = entries.iter().map(|entry| (entry.key.clone(), entry.mod_revision)).collect();
        Ok((assembled(&self.keys, entries), revisions))
    }
}

/// One unreadable record takes nothing else with it: the others may be all a new leader needs.
fn assembled(keys: &Keys, entries: Vec<Entry>) -> Vec<KnownRun> {
    let mut runs: BTreeMap<String, KnownRun> = BTreeMap::new();
    for Entry { key, value, .. } in entries {
        let Some((run, part)) = keys.part_of(&key) else { continue };
        let known = runs.entry(run.clone()).or_insert_with(|| KnownRun { run, ..KnownRun::default() });
        let taken = match part {
            RunPart::Spec => take(&mut known.spec, RunSpec::decoded(&key, &value).and_then(|spec| spec.verify(&key))),
            RunPart::Desired => take(&mut known.desired, Desired::decoded(&key, &value)),
            RunPart::Status => take(&mut known.status, RunStatus::decoded(&key, &value)),
            RunPart::Drive => take(&mut known.drive, Ok(value)),
            RunPart::Share(number) => {
                ShareRecord::decoded(&key, &value).map(|share| drop(known.shares.insert(number, share)))
            }
            RunPart::Checkpoint(number) => {
                Checkpoint::decoded(&key, &value).map(|checkpoint| drop(known.checkpoints.insert(number, checkpoint)))
            }
        };
        if let Err(error) = taken {
            known.unreadable.push(error.to_string());
        }
    }
    runs.into_values().collect()
}

fn take<T>(place: &mut Option<T>, decoded: Result<T, EtcdError>) -> Result<(), EtcdError> {
    *place = Some(decoded?);
    Ok(())
}

/// The first controller of a fleet writes the schema; the others must know it.
async fn check_schema(connection: &Connection, keys: &Keys, fleet: &str) -> Result<(), EtcdError> {
    let key = keys.schema();
    let ours = Schema { version: SCHEMA }.encoded()?;
    let transaction = Txn::new()
        .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key.as_str(), ours, None)])
        .or_else([TxnOp::get(key.as_str(), None)]);
    let answer = connection
        .persistent(|client| {
            let transaction = transaction.clone();
            async move { client.kv_client().txn(transaction).await }
        })
        .await?;
    if answer.succeeded() {
        return Ok(());
    }
    let responses = answer.op_responses();
    let Some(TxnOpResponse::Get(found)) = responses.first() else { return Ok(()) };
    let value = found.kvs().first().map_or(&[][..], etcd_client::KeyValue::value);
    let found = Schema::decoded(&key, value)?.version;
    if found > SCHEMA {
        return Err(EtcdError::Schema { fleet: fleet.to_owned(), found, known: SCHEMA });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_record_is_named_and_the_rest_of_its_run_is_kept() {
        let keys = Keys::new("blue");
        let entry =
            |part, value: Vec<u8>| Entry { key: keys.part("01J", part), value, create_revision: 1, mod_revision: 1 };
        let status = RunStatus { phase: "running".into(), ..RunStatus::default() };
        let entries = vec![
            entry(RunPart::Checkpoint(0), b"{\"epoch\":1".to_vec()),
            entry(RunPart::Status, status.encoded().unwrap()),
        ];
        let runs = assembled(&keys, entries);
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].status.as_ref(), Some(&status));
        assert!(runs[0].unreadable[0].contains("checkpoints/0"), "{:?}", runs[0].unreadable);
    }
}
