//! One core's share of the load.
//!
//! A worker is a thread with a current-thread runtime that owns its
//! connections, its timers and its recorder: no locks and no shared writes on
//! the request path. It is told when to start and when to stop, and hands
//! finished intervals over; nothing else goes in or out.
//!
//! - [`timers`]: all waiting on one timerfd
//! - [`compiled`]: the plan made ready to send
//! - [`open`], [`closed`]: arrivals and users, each turn an [`iteration`]
//! - [`meter`]: what is counted and measured; [`gate`]: this worker's part of the agent's ceilings

mod check;
mod closed;
mod compiled;
mod escape;
mod gate;
mod iteration;
mod keep;
mod meter;
mod open;
mod portion;
mod pseudonym;
mod sample_log;
mod secrets_now;
#[cfg(test)]
mod tests;
mod timers;

pub use compiled::{CompileError, CompiledPlan, secrets_in_headers};
pub use keep::Keeping;
pub use portion::{Adoption, Portion};
pub use pseudonym::{NoKey, Pseudonymiser};

use crate::ceiling::Budget;
use crate::clock::now_ns;
use crate::http::{Attempt, TargetClient, TargetShared};
use crate::secrets::Secrets;
use crate::tokens::Tokens;
use gate::Gate;
use keep::Keeper;
use meter::{At, Looks, Meter, Sink};
use sample_log::SampleLog;
use secrets_now::SecretsNow;
use squall_common::interval::{FlowTable, IntervalSnapshot};
use squall_common::kept::KeptErrors;
use squall_common::ledger::Ledger;
use squall_common::plan::{LoadId, LoadModel, OnAgentLoss, Plan};
use squall_common::sample::{Outcome, Sample};
use squall_common::split::Share;
use squall_prompts::PromptSource;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use timers::Timers;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

/// How often a worker looks whether its own loop is on time and its lease holds.
const TICK_NS: u64 = 50_000_000;
/// Different errors a worker remembers in words.
const ERRORS_KEPT: usize = 20;
/// Of what a model server says of an error.
const ERROR_KEPT_CHARS: usize = 200;

/// What every worker of an agent shares: made once, read only.
pub struct Prepared {
    pub plan: Arc<Plan>,
    pub compiled: CompiledPlan,
    pub targets: Vec<Arc<TargetShared>>,
    /// By load.
    pub shares: Vec<Share>,
    pub seed: u64,
    pub flows: Arc<FlowTable>,
    pub secrets: Arc<Secrets>,
    pub tokens: Arc<Tokens>,
    /// By [`PromptsId`](squall_common::plan::PromptsId).
    pub prompts: Vec<PromptSource>,
    /// What the agent's ceilings leave to be enforced.
    pub budget: Budget,
    /// Until when load may be sent without word from the controller (monotonic ns).
    pub lease_until_ns: AtomicU64,
    /// Where the debug log of samples goes, if the plan asks for one.
    pub sample_log: Option<PathBuf>,
    /// How long before an instant its workers poll and do not sleep.
    pub busy_poll_ns: u64,
    /// Samples of failed requests, if the plan asks for them.
    pub keeping: Option<Keeping>,
}

/// What a worker is told.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// The common start, on this machine's monotonic clock.
    pub start_ns: Option<u64>,
    pub stop: Option<StopKind>,
    /// In the order of their numbers; none is ever taken back.
    pub adoptions: Vec<Arc<Adoption>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// Nothing new; what is in flight may drain.
    Graceful,
    /// Cut off at once.
    Now,
}

/// What a worker tells.
#[derive(Debug)]
pub enum FromWorker {
    Ready,
    Interval(IntervalSnapshot),
    /// Comes before the worker's last interval.
    Kept(KeptErrors),
    Done(WorkerEnd),
    Failed(String),
}

/// The worker's own totals, counted apart from its snapshots.
#[derive(Clone, Debug, Default)]
pub struct WorkerEnd {
    pub totals: Ledger,
    pub first_sent_ns: Option<u64>,
    pub lease_ended: bool,
    /// In words: each kind of error once, with the first one's detail.
    pub errors: Vec<String>,
}

/// A place in the agent: this worker out of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub index: u32,
    pub count: u32,
}

impl Lane {
    /// This worker's part of a count: every `count`-th, beginning at its index.
    fn part_of(self, total: u64) -> u64 {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        (total + count - 1 - index) / count
    }
}

/// What all tasks of one worker stand in.
pub struct Shop {
    prepared: Arc<Prepared>,
    plan: Arc<Plan>,
    lane: Lane,
    seed: u64,
    clients: Vec<Rc<TargetClient>>,
    meter: Meter<Channel>,
    timers: Rc<Timers>,
    tasks: Cell<u64>,
    all_done: Notify,
    lease_until_ns: Cell<u64>,
    lease_ended: Cell<bool>,
    lease_lapsed: Notify,
    errors: RefCell<BTreeMap<(Outcome, u16), String>>,
    gate: Rc<Gate>,
    keeper: Option<Keeper>,
    secrets_now: SecretsNow,
}

impl std::ops::Deref for Shop {
    type Target = Prepared;

    fn deref(&self) -> &Prepared {
        &self.prepared
    }
}

impl Shop {
    fn share(&self, load: LoadId) -> &Share {
        &self.prepared.shares[load.0 as usize]
    }

    /// May load still be sent? After a stop of the whole process, this is asked
    /// before the first request goes out.
    fn lease_holds(&self) -> bool {
        let holds = now_ns() < self.lease_until_ns.get();
        if !holds && !self.lease_ended.replace(true) {
            self.timers.cancel();
            self.lease_lapsed.notify_one();
        }
        holds
    }

    fn refresh_lease(&self) {
        self.lease_until_ns.set(self.prepared.lease_until_ns.load(Ordering::Relaxed));
        self.lease_holds();
    }

    fn note_error(&self, at: At, outcome: Outcome, attempt: &Attempt, said: Option<&str>) {
        let mut errors = self.errors.borrow_mut();
        let key = (outcome, at.target.0);
        if errors.len() >= ERRORS_KEPT || errors.contains_key(&key) {
            return;
        }
        let target = &self.plan.target(at.target).name;
        let step = &self.plan.scenario(at.scenario).steps[at.step.0 as usize].name;
        let detail = match (&attempt.detail, said, attempt.status) {
            (Some(detail), ..) => detail.clone().into_owned(),
            (None, Some(said), _) => said.chars().take(ERROR_KEPT_CHARS).collect::<String>(),
            (None, None, Some(status)) => format!("status {status}"),
            (None, None, None) => "no detail".to_owned(),
        };
        errors.insert(key, format!("first `{}` from target `{target}` in `{step}`: {detail}", outcome.name()));
    }

    /// Runs a task of the load; the worker ends when all have ended.
    fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        self.tasks.set(self.tasks.get() + 1);
        let counted = Counted(self.clone());
        tokio::task::spawn_local(async move {
            let _counted = counted;
            task.await;
        });
    }
}

struct Counted(Rc<Shop>);

impl Drop for Counted {
    fn drop(&mut self) {
        let left = self.0.tasks.get() - 1;
        self.0.tasks.set(left);
        if left == 0 {
            self.0.all_done.notify_one();
        }
    }
}

/// Hands intervals to the control thread. The channel holds minutes of them; if
/// it is full all the same, intervals are joined: time resolution goes, counts stay.
struct Channel {
    sender: mpsc::Sender<(u32, FromWorker)>,
    worker: u32,
    held: RefCell<Option<IntervalSnapshot>>,
    log: RefCell<Option<SampleLog>>,
}

impl Channel {
    /// Hands over what was held back, however long that takes; not for use inside the runtime.
    fn flush(&self) {
        if let Some(held) = self.held.take() {
            // The control thread is gone only when the agent itself ends.
            let _ = self.sender.blocking_send((self.worker, FromWorker::Interval(held)));
        }
    }
}

impl Sink for Channel {
    fn interval(&self, snapshot: IntervalSnapshot) {
        let joined = match self.held.take() {
            Some(mut held) => {
                held.join_later(&snapshot);
                held
            }
            None => snapshot,
        };
        if let Err(mpsc::error::TrySendError::Full((_, FromWorker::Interval(back)))) =
            self.sender.try_send((self.worker, FromWorker::Interval(joined)))
        {
            self.held.replace(Some(back));
        }
    }

    fn sample(&self, sample: &Sample) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.write(sample);
        }
    }
}

/// The body of a worker's thread; returns when its part of the run is over.
pub fn run(
    prepared: Arc<Prepared>,
    lane: Lane,
    orders: watch::Receiver<Orders>,
    sender: mpsc::Sender<(u32, FromWorker)>,
) {
    let ended = work(prepared, lane, orders, &sender).unwrap_or_else(|error| FromWorker::Failed(error.to_string()));
    // The control thread is gone only when the agent itself ends.
    let _ = sender.blocking_send((lane.index, ended));
}

fn work(
    prepared: Arc<Prepared>,
    lane: Lane,
    mut orders: watch::Receiver<Orders>,
    sender: &mpsc::Sender<(u32, FromWorker)>,
) -> std::io::Result<FromWorker> {
    // Wake-ups may otherwise be 50 µs late to save power.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let shop = local.block_on(&runtime, async {
        let timers = Timers::new(prepared.busy_poll_ns)?;
        tokio::task::spawn_local(timers.clone().drive());
        let clients: Vec<Rc<TargetClient>> =
            prepared.targets.iter().map(|target| TargetClient::new(target.clone(), lane.index, lane.count)).collect();
        let _ = sender.send((lane.index, FromWorker::Ready)).await;
        let Some(start_ns) = started(&mut orders).await else { return Ok(None) };
        let shop = open_shop(prepared.clone(), lane, clients, timers, start_ns, sender.clone())?;
        if shop.timers.sleep_until(start_ns).await.is_ok() {
            run_loads(&shop, &mut orders).await;
        }
        std::io::Result::Ok(Some(shop))
    })?;
    // Dropping the tasks counts what they had under way as cut off.
    drop(local);
    let Some(shop) = shop else { return Ok(FromWorker::Done(WorkerEnd::default())) };
    if let Some(keeper) = &shop.keeper {
        // The control thread is gone only when the agent itself ends.
        let _ = sender.blocking_send((lane.index, FromWorker::Kept(keeper.take())));
    }
    shop.meter.finish();
    shop.meter.sink().flush();
    Ok(FromWorker::Done(WorkerEnd {
        totals: shop.meter.totals(),
        first_sent_ns: shop.meter.first_sent_ns(),
        lease_ended: shop.lease_ended.get(),
        errors: told(&shop),
    }))
}

/// The worker's warnings: its errors in words, and what its ceilings held back.
fn told(shop: &Shop) -> Vec<String> {
    let errors = shop.errors.take();
    let errors = errors.into_values().map(|text| shop.secrets.redact(&text).into_owned());
    errors.chain(gate::warnings(&shop.gate, &shop.budget, &shop.clients)).collect()
}

/// Waits for the start; `None` when it is called off.
async fn started(orders: &mut watch::Receiver<Orders>) -> Option<u64> {
    let order = orders.wait_for(|orders| orders.start_ns.is_some() || orders.stop.is_some()).await.ok()?;
    if order.stop.is_some() { None } else { order.start_ns }
}

fn open_shop(
    prepared: Arc<Prepared>,
    lane: Lane,
    clients: Vec<Rc<TargetClient>>,
    timers: Rc<Timers>,
    start_ns: u64,
    sender: mpsc::Sender<(u32, FromWorker)>,
) -> std::io::Result<Rc<Shop>> {
    let log = match &prepared.sample_log {
        Some(stem) => Some(SampleLog::create(stem, lane.index, start_ns)?),
        None => None,
    };
    let sink = Channel { sender, worker: lane.index, held: RefCell::default(), log: RefCell::new(log) };
    let counted = clients.clone();
    let connections = move || {
        counted
            .iter()
            .fold((0, 0), |(open, opened), client| (open + client.open_connections(), opened + client.opened_total()))
    };
    let log_samples = prepared.sample_log.is_some();
    let gate = Rc::new(Gate::new(&prepared.budget, gate::part_of(&prepared, lane)));
    let held_back = gate::watch(gate.clone(), prepared.clone(), clients.clone());
    let keeps_time = timers.clone();
    let looks = Looks {
        connections: Box::new(connections),
        held_back: Box::new(held_back),
        polled_in_vain_ns: Box::new(move || keeps_time.polled_in_vain_ns()),
    };
    let meter = Meter::new(prepared.flows.clone(), start_ns, sink, log_samples, looks);
    Ok(Rc::new(Shop {
        plan: prepared.plan.clone(),
        seed: prepared.seed,
        lane,
        clients,
        meter,
        timers,
        tasks: Cell::new(0),
        all_done: Notify::new(),
        lease_until_ns: Cell::new(prepared.lease_until_ns.load(Ordering::Relaxed)),
        lease_ended: Cell::new(false),
        lease_lapsed: Notify::new(),
        errors: RefCell::default(),
        gate,
        keeper: prepared.keeping.as_ref().map(|keeping| Keeper::new(&keeping.asked, prepared.seed, lane.index)),
        secrets_now: SecretsNow::of(&prepared.secrets),
        prepared,
    }))
}

/// Offers the load, then waits for what is in flight: until all is answered, the
/// drain is over, or a stop says otherwise.
async fn run_loads(shop: &Rc<Shop>, orders: &mut watch::Receiver<Orders>) {
    // It may have run out while the start was waited for.
    shop.refresh_lease();
    tokio::task::spawn_local(tick(shop.clone()));
    for load in shop.plan.load_ids() {
        begin(shop, load, &Portion::own(shop.share(load).clone()));
    }
    if let (OnAgentLoss::Redistribute, Some(offered)) = (shop.plan.on_agent_loss, shop.plan.offered_for()) {
        // Its own part may end before it has to take another's over.
        let (stays, until_ns) = (shop.clone(), shop.meter.start_ns() + offered.as_nanos() as u64);
        shop.spawn(async move {
            let _ = stays.timers.sleep_until(until_ns).await;
        });
    }
    let mut adopted = 0;
    if shop.tasks.get() == 0 {
        // Nothing of this load is this worker's: it reports empty intervals with the others.
        shop.spawn(async {});
    }
    let drain = shop.plan.drain;
    let mut deadline = shop.plan.offered_for().map(|offered| at(shop.meter.start_ns()) + offered + drain);
    // However load ends, what is in flight gets one drain, and never a later end than the plan's own.
    let drained = |deadline: Option<tokio::time::Instant>| {
        let until = tokio::time::Instant::now() + drain;
        Some(deadline.map_or(until, |planned| planned.min(until)))
    };
    loop {
        tokio::select! {
            () = shop.all_done.notified() => return,
            () = until(deadline) => return,
            () = shop.lease_lapsed.notified() => deadline = drained(deadline),
            changed = orders.changed() => {
                let orders = orders.borrow_and_update();
                let stop = if changed.is_err() { Some(StopKind::Now) } else { orders.stop };
                for adoption in &orders.adoptions[adopted..] {
                    for (load, portion) in shop.plan.load_ids().zip(&adoption.portions) {
                        begin(shop, load, portion);
                    }
                }
                adopted = orders.adoptions.len();
                drop(orders);
                match stop {
                    Some(StopKind::Now) => return,
                    Some(StopKind::Graceful) => {
                        shop.timers.cancel();
                        deadline = drained(deadline);
                    }
                    None => {}
                }
            }
        }
    }
}

fn begin(shop: &Rc<Shop>, load: LoadId, portion: &Portion) {
    match &shop.plan.load(load).model {
        LoadModel::Open { .. } => open::begin(shop, load, portion),
        LoadModel::Closed { .. } | LoadModel::SharedIterations { .. } | LoadModel::PerUserIterations { .. } => {
            closed::begin(shop, load, portion);
        }
    }
}

fn at(instant_ns: u64) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_nanos(instant_ns.saturating_sub(now_ns()))
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Watches the loop's own lateness, ends intervals in which nothing happens, and
/// keeps the lease in view.
async fn tick(shop: Rc<Shop>) {
    let mut next_ns = shop.meter.start_ns();
    loop {
        next_ns += TICK_NS;
        if shop.timers.sleep_until(next_ns).await.is_err() {
            // Stopping: no instant matters to the microsecond any more.
            tokio::time::sleep(Duration::from_nanos(next_ns.saturating_sub(now_ns()))).await;
        } else {
            shop.meter.stall(now_ns().saturating_sub(next_ns) / 1_000);
        }
        shop.refresh_lease();
        shop.secrets_now.refresh(&shop.secrets);
        let now_ns = now_ns();
        shop.meter.roll_until(now_ns);
        // After a stall the ticks it swallowed are not made up for.
        next_ns = next_ns.max(now_ns.saturating_sub(TICK_NS));
    }
}
