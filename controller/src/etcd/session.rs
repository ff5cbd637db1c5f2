//! Performs what the candidate decides, on a thread of its own.
//!
//! The lease's renewals must not wait behind thousands of tasks, so this thread
//! has its own runtime and its own connection to etcd, and does nothing else.

use super::connection::{Connection, Failed};
use super::error::EtcdError;
use super::keys::Keys;
use super::leadership::{Candidate, Command, Contender, Event, Fence, Leadership, key_of};
use super::options::Options;
use super::records::{CandidateRecord, Record};
use super::watch;
use etcd_client::{Client, Compare, CompareOp, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp, TxnOpResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch as latest};
use tokio::task::{AbortHandle, JoinSet};

/// Answers on their way to the candidate; it asks a handful of things at a time.
const OUTCOMES: usize = 64;
/// Refused writes and the wish to stop. Beyond it refusals are dropped: one is enough.
const ASKS: usize = 16;

/// A lease, a candidacy and what has come of it.
pub struct Session {
    leadership: latest::Receiver<Leadership>,
    asks: mpsc::Sender<Ask>,
    looked: Arc<Looked>,
    ttl: Duration,
}

/// When the candidate looked at its lease last, in milliseconds since the session began.
struct Looked {
    began: Instant,
    at_ms: AtomicU64,
}

enum Ask {
    Refused(Fence),
    Resign(oneshot::Sender<()>),
}

impl Session {
    /// Begins to stand for election; dropped, it resigns.
    pub fn start(options: Arc<Options>) -> Result<Self, EtcdError> {
        let (announce, leadership) = latest::channel(Leadership::Lost);
        let (asks, asked) = mpsc::channel(ASKS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EtcdError::Thread)?;
        let (ttl, looked) = (options.ttl, Arc::new(Looked { began: Instant::now(), at_ms: AtomicU64::new(0) }));
        let looking = looked.clone();
        std::thread::Builder::new()
            .name("squall-etcd".to_owned())
            .spawn(move || runtime.block_on(drive(options, announce, asked, looking)))
            .map_err(EtcdError::Thread)?;
        Ok(Self { leadership, asks, looked, ttl })
    }

    pub fn leadership(&self) -> latest::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Whether this leadership goes on, by what was seen within the life of a lease.
    pub fn believes(&self, fence: &Fence) -> bool {
        let looked_at = Duration::from_millis(self.looked.at_ms.load(Ordering::Acquire));
        let is_recent = self.looked.began.elapsed().saturating_sub(looked_at) <= self.ttl;
        is_recent && matches!(&*self.leadership.borrow(), Leadership::Leader(held) if held == fence)
    }

    /// etcd refused a write because this fence is gone.
    pub fn refused(&self, fence: &Fence) {
        let _ = self.asks.try_send(Ask::Refused(fence.clone()));
    }

    /// Revokes the lease, so that another need not wait for its end. Returns when that is done or failed.
    pub async fn resign(&self) {
        let (done, ended) = oneshot::channel();
        if self.asks.send(Ask::Resign(done)).await.is_ok() {
            let _ = ended.await;
        }
    }
}

async fn drive(
    options: Arc<Options>,
    announce: latest::Sender<Leadership>,
    mut asked: mpsc::Receiver<Ask>,
    looked: Arc<Looked>,
) {
    let began = looked.began;
    let prefix = Keys::new(&options.fleet).election();
    let seed = u64::from(std::process::id()) ^ crate::events::unix_ms();
    let mut candidate = Candidate::new(prefix.clone(), options.ttl, seed);
    let (outcomes, mut happened) = mpsc::channel(OUTCOMES);
    let connection = Arc::new(Connection::new(options.clone()));
    let mut election = watch::follow(connection.clone(), prefix.clone());
    let mut performer = Performer {
        options: options.clone(),
        prefix,
        connection,
        outcomes,
        announce,
        stream: None,
        revoking: JoinSet::new(),
    };
    let mut tick =
        tokio::time::interval((options.ttl / 50).clamp(Duration::from_millis(10), Duration::from_millis(100)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut resigned = None;
    while resigned.is_none() {
        let event = tokio::select! {
            Some(event) = happened.recv() => event,
            ask = asked.recv() => match ask {
                Some(Ask::Refused(fence)) => Event::FenceRefused(fence),
                Some(Ask::Resign(done)) => {
                    resigned = Some(Some(done));
                    Event::Resigned
                }
                None => {
                    resigned = Some(None);
                    Event::Resigned
                }
            },
            Some(_) = election.next() => Event::ElectionMoved,
            _ = tick.tick() => Event::Tick,
        };
        for command in candidate.step(began.elapsed(), event) {
            performer.perform(command);
        }
        // After what it found is announced: who reads the time has the announcement too.
        looked.at_ms.store(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }
    performer.finish().await;
    if let Some(done) = resigned.flatten() {
        let _ = done.send(());
    }
}

struct Performer {
    options: Arc<Options>,
    prefix: String,
    connection: Arc<Connection>,
    outcomes: mpsc::Sender<Event>,
    announce: latest::Sender<Leadership>,
    stream: Option<OpenStream>,
    revoking: JoinSet<()>,
}

struct OpenStream {
    number: u64,
    renewals: mpsc::Sender<()>,
    task: AbortHandle,
}

impl Performer {
    fn perform(&mut self, command: Command) {
        match command {
            Command::Announce(leadership) => {
                tracing::info!(?leadership, "leadership");
                self.announce.send_replace(leadership);
            }
            Command::Grant { ask } => self.ask(grant(self.connection.clone(), self.options.ttl, ask)),
            Command::Stand { ask, lease } => {
                let record = CandidateRecord {
                    id: format!("{lease:x}"),
                    address: self.options.address.clone(),
                    build: self.options.build.clone(),
                };
                self.ask(stand(self.connection.clone(), self.prefix.clone(), record, lease, ask));
            }
            Command::Open { stream, lease } => self.open(stream, lease),
            Command::Renew { stream } => {
                // A queue of one: a renewal that waits for another is the same renewal.
                if let Some(open) = self.stream.as_ref().filter(|open| open.number == stream) {
                    let _ = open.renewals.try_send(());
                }
            }
            Command::Close { stream } => {
                if self.stream.as_ref().is_some_and(|open| open.number == stream) {
                    self.close();
                }
            }
            Command::Revoke { lease } => {
                self.revoking.spawn(revoke(self.connection.clone(), lease));
                while self.revoking.try_join_next().is_some() {}
            }
        }
    }

    fn ask(&self, asking: impl Future<Output = Event> + Send + 'static) {
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let _ = outcomes.send(asking.await).await;
        });
    }

    fn open(&mut self, number: u64, lease: i64) {
        self.close();
        let (renewals, to_send) = mpsc::channel(1);
        let keeping = keep_alive(self.connection.clone(), number, lease, to_send, self.outcomes.clone());
        self.stream = Some(OpenStream { number, renewals, task: tokio::spawn(keeping).abort_handle() });
    }

    fn close(&mut self) {
        if let Some(open) = self.stream.take() {
            if !open.task.is_finished() {
                // It is closed because it was silent: so may be the member.
                self.connection.pass_turn();
            }
            open.task.abort();
        }
    }

    /// Waits for leases to be revoked, within their time.
    async fn finish(mut self) {
        self.close();
        while self.revoking.join_next().await.is_some() {}
    }
}

async fn grant(connection: Arc<Connection>, ttl: Duration, ask: u64) -> Event {
    // etcd counts whole seconds.
    let seconds = i64::try_from(ttl.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX);
    let call = |mut client: Client| async move { client.lease_grant(seconds, None::<LeaseGrantOptions>).await };
    match connection.request(call).await {
        Ok(granted) => Event::Granted { ask, lease: granted.id(), ttl: seconds_of(granted.ttl()) },
        Err(error) => {
            tracing::warn!(error = told(error), "etcd grants no lease; trying again");
            Event::GrantFailed { ask }
        }
    }
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

fn told(failed: Failed) -> String {
    match failed {
        Failed::Unknown(detail) => detail,
        Failed::Refused(error) => EtcdError::detail(&error),
    }
}

async fn stand(connection: Arc<Connection>, prefix: String, record: CandidateRecord, lease: i64, ask: u64) -> Event {
    let Ok(value) = record.encoded() else { return Event::StandFailed { ask } };
    let key = key_of(&prefix, lease);
    let election = TxnOp::get(prefix, Some(GetOptions::new().with_prefix()));
    let put = TxnOp::put(key.as_str(), value, Some(PutOptions::new().with_lease(lease)));
    let transaction = Txn::new()
        .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
        .and_then([put, election.clone()])
        .or_else([election]);
    match connection.request(|client| async move { client.kv_client().txn(transaction).await }).await {
        Ok(answer) => Event::Seen { ask, contenders: contenders(&answer.op_responses()) },
        Err(Failed::Refused(etcd_client::Error::GRpcStatus(status))) if status.code() == tonic::Code::NotFound => {
            Event::LeaseUnknown { ask }
        }
        Err(error) => {
            tracing::debug!(error = told(error), "the election cannot be read");
            Event::StandFailed { ask }
        }
    }
}

fn contenders(responses: &[TxnOpResponse]) -> Vec<Contender> {
    let kvs = responses.iter().filter_map(|response| match response {
        TxnOpResponse::Get(get) => Some(get.kvs()),
        _ => None,
    });
    let contender = |kv: &etcd_client::KeyValue| {
        let key = String::from_utf8_lossy(kv.key()).into_owned();
        // Whoever puts something else there still counts: the oldest key leads, whatever it says.
        let address =
            CandidateRecord::decoded(&key, kv.value()).map_or_else(|_| String::new(), |record| record.address);
        Contender { key, create_revision: kv.create_revision(), address }
    };
    kvs.flatten().map(contender).collect()
}

async fn revoke(connection: Arc<Connection>, lease: i64) {
    let call = |mut client: Client| async move { client.lease_revoke(lease).await };
    match connection.request(call).await {
        // NotFound: it has ended by itself.
        Ok(_) | Err(Failed::Refused(_)) => {}
        Err(Failed::Unknown(error)) => tracing::debug!(error, lease, "a lease given up was not revoked; it will end"),
    }
}

/// One keep-alive stream, until it fails or is aborted. That it is silent is for the candidate to notice.
async fn keep_alive(
    connection: Arc<Connection>,
    stream: u64,
    lease: i64,
    to_send: mpsc::Receiver<()>,
    outcomes: mpsc::Sender<Event>,
) {
    let ended = match connection.client().await {
        Ok((client, turn)) => {
            let ended = renew(client, stream, lease, to_send, &outcomes).await;
            if let Err(error) = &ended {
                connection.failed(turn);
                tracing::debug!(error = EtcdError::detail(error), "a keep-alive stream broke; opening another");
            }
            ended.unwrap_or(Event::StreamFailed { stream })
        }
        Err(error) => {
            tracing::warn!(%error, "cannot keep the lease alive; trying again");
            Event::StreamFailed { stream }
        }
    };
    let _ = outcomes.send(ended).await;
}

async fn renew(
    client: Client,
    stream: u64,
    lease: i64,
    mut to_send: mpsc::Receiver<()>,
    outcomes: &mpsc::Sender<Event>,
) -> Result<Event, etcd_client::Error> {
    let gone = Event::Renewed { stream, ttl: Duration::ZERO };
    let (mut keeper, mut answers) = match client.lease_client().keep_alive(lease).await {
        Ok(open) => open,
        // The client's words for a first answer with a time to live of 0.
        Err(etcd_client::Error::LeaseKeepAliveError(why)) if why.contains("not found") => return Ok(gone),
        Err(error) => return Err(error),
    };
    let _ = outcomes.send(Event::Opened { stream }).await;
    loop {
        tokio::select! {
            renewal = to_send.recv() => match renewal {
                Some(()) => keeper.keep_alive().await?,
                None => return Ok(Event::StreamFailed { stream }),
            },
            answer = answers.message() => match answer? {
                Some(answer) if answer.ttl() > 0 => {
                    let _ = outcomes.send(Event::Renewed { stream, ttl: seconds_of(answer.ttl()) }).await;
                }
                Some(_) => return Ok(gone),
                None => return Ok(Event::StreamFailed { stream }),
            },
        }
    }
}
