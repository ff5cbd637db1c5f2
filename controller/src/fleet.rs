//! The controller: agents with their sessions, live runs, and the store.
//!
//! Its state stands behind one lock that is held for moments and never over an
//! await. Every run has one task that owns it (`driver.rs`); sessions only hand
//! messages over, through queues with bounds.

use crate::driver;
use crate::identity::transport::Transport;
use crate::mandate::Mandate;
use crate::recovery;
use crate::registry::{Agent, Introduction, Joined, NotJoined, Registry, SessionId};
use crate::run::Limits;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use squall_agent::clock::now_ns;
use squall_common::allow::AllowList;
use squall_common::plan::Region;
use squall_proto::{AgentInfo, ControllerMessage, HeartbeatAnswer, RunUpdate, agent_message, controller_message};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tonic::Status;

/// Messages queued for one agent; when it does not read so many, its session ends.
pub const OUTBOX: usize = 256;
/// Messages queued for one run; when it is full, sessions wait and with them their agents.
pub const INBOX: usize = 1_024;
/// Updates a watcher may lag behind before it loses the oldest.
const UPDATES: usize = 512;

/// What a controller may be told to do differently; the defaults are the protocol's.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    /// An agent not heard of for so long is lost. Not before its lease is over:
    /// until then it may come back and nothing is missing.
    pub silent_after: Duration,
    /// How often an agent shows a sign of life.
    pub heartbeat: Duration,
    /// How long an agent may go on sending load without an answer.
    pub lease: Duration,
    /// Agents keep what is stored too, for a controller that does not have our store.
    pub agents_keep_all: bool,
    /// Told by every result.
    pub transport: Transport,
    /// Where plans may aim. Every agent has a list of its own beside it.
    pub allow: AllowList,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            // The lease, what two clocks drift apart meanwhile, and what an agent needs to notice its end.
            silent_after: Duration::from_millis(10_500),
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            agents_keep_all: false,
            transport: Transport::Loopback,
            allow: AllowList::any(),
        }
    }
}

impl Options {
    /// For a controller of several: agents keep what another one would need, and
    /// carry on for as long as an election and a takeover may take.
    #[cfg(feature = "etcd")]
    pub fn of_several(self) -> Self {
        let lease = Duration::from_secs(20);
        // As in the defaults: what two clocks drift apart meanwhile, and what an agent needs to notice its end.
        let silent_after = lease + Duration::from_millis(500);
        let limits = Limits { lease: silent_after, ..self.limits };
        Self { agents_keep_all: true, lease, silent_after, limits, ..self }
    }

    /// For agents in this very process: no network stands between us, so they start sooner.
    pub fn embedded() -> Self {
        let mut options = Self { transport: Transport::InProcess, ..Self::default() };
        options.limits.start_margin = Duration::from_millis(150);
        options
    }
}

/// What a run's task is told.
#[derive(Debug)]
pub enum Input {
    FromAgent {
        slot: String,
        epoch: u64,
        message: Box<agent_message::Message>,
    },
    /// Not heard of for longer than its lease.
    AgentSilent {
        slot: String,
        epoch: u64,
        reason: String,
    },
    /// It has a session again; `carries`: and still its share.
    AgentBack {
        slot: String,
        epoch: u64,
        carries: bool,
    },
    /// It will not come back.
    AgentGone {
        slot: String,
        epoch: u64,
        reason: String,
    },
    StopRequested {
        now: bool,
        reason: String,
    },
}

/// One agent that carries a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    pub slot: String,
    pub epoch: u64,
    pub incarnation: String,
    pub region: Region,
    pub version: String,
    pub workers: u32,
}

impl Member {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self {
            slot: agent.slot.clone(),
            epoch: agent.epoch,
            incarnation: agent.incarnation.clone(),
            region: agent.region.clone(),
            version: agent.version.clone(),
            workers: agent.workers,
        }
    }

    /// The agent that a controller which has just come waits for.
    pub(crate) fn expected(&self, run_id: &str, now_ns: u64) -> Agent {
        Agent {
            slot: self.slot.clone(),
            region: self.region.clone(),
            incarnation: self.incarnation.clone(),
            version: self.version.clone(),
            workers: self.workers,
            epoch: self.epoch,
            session: None,
            joined_ns: now_ns,
            last_heard_ns: now_ns,
            clock: None,
            run: Some(run_id.to_owned()),
            is_lost: false,
        }
    }
}

pub(crate) type Outbox = mpsc::Sender<Result<ControllerMessage, Status>>;

struct Link {
    session: SessionId,
    outbox: Outbox,
}

/// A run that has not ended.
pub(crate) struct LiveRun {
    pub name: String,
    pub inbox: mpsc::Sender<Input>,
    pub updates: broadcast::Sender<RunUpdate>,
    /// By slot and epoch: the last snapshot that is stored.
    stored: BTreeMap<(String, u64), u64>,
}

struct State {
    registry: Registry,
    links: BTreeMap<String, Link>,
    live: BTreeMap<String, LiveRun>,
}

/// A controller; cheap to clone.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub options: Options,
    pub mandate: Arc<Mandate>,
    state: Mutex<State>,
    /// Counts changes of the fleet, for those who wait for agents.
    changes: watch::Sender<u64>,
}

/// Wraps one message to an agent.
pub(crate) fn message(message: controller_message::Message) -> ControllerMessage {
    ControllerMessage { message: Some(message) }
}

impl Controller {
    /// Starts a controller on a store, and goes on with the runs that a controller before it left behind.
    pub fn start(store: Arc<dyn Store>, options: Options) -> Result<Self, StoreError> {
        Self::start_under(Arc::new(Mandate::of_one()), store, options)
    }

    /// As [`Controller::start`], for one of several: it acts only while the mandate holds.
    pub(crate) fn start_under(
        mandate: Arc<Mandate>,
        store: Arc<dyn Store>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let registry = Registry::new(crate::events::unix_ms());
        let state = State { registry, links: BTreeMap::new(), live: BTreeMap::new() };
        let (state, changes) = (Mutex::new(state), watch::Sender::new(0));
        let shared = Arc::new(Shared { store, options, mandate, state, changes });
        recovery::take_over(&shared)?;
        tokio::spawn(watch_for_silence(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn leads(&self) -> bool {
        self.shared.mandate.holds()
    }

    /// Ends the sessions and leaves the runs to another controller, without a word
    /// to anyone about them: agents dial again.
    #[cfg(feature = "etcd")]
    pub(crate) fn step_down(&self) {
        self.shared.mandate.end();
        let links = std::mem::take(&mut self.shared.lock().links);
        for link in links.into_values() {
            // One that reads nothing now finds its session closed with its next message.
            let _ = link.outbox.try_send(Err(Status::unavailable("this controller leads no longer; connect again")));
        }
    }

    pub fn options(&self) -> Options {
        self.shared.options.clone()
    }

    /// Tells every agent that it is needed no longer.
    pub fn release_agents(&self, reason: &str) {
        let release = controller_message::Message::Release(squall_proto::Release { reason: reason.to_owned() });
        let state = self.shared.lock();
        for link in state.links.values() {
            // An agent whose queue is full learns it from the end of its stream.
            let _ = link.outbox.try_send(Ok(message(release.clone())));
        }
    }

    /// How many runs have not ended.
    pub fn live_runs(&self) -> usize {
        self.shared.lock().live.len()
    }

    pub fn is_live(&self, run_id: &str) -> bool {
        self.shared.lock().live.contains_key(run_id)
    }

    /// Asks every live run to stop.
    pub fn stop_runs(&self, now: bool, reason: &str) {
        let inboxes: Vec<_> = self.shared.lock().live.values().map(|run| run.inbox.clone()).collect();
        for inbox in inboxes {
            tell(inbox, Input::StopRequested { now, reason: reason.to_owned() });
        }
    }
}

impl State {
    /// Makes a run live.
    fn open(&mut self, run_id: &str, name: &str) -> driver::Ends {
        let (inbox, received) = mpsc::channel(INBOX);
        let (updates, _) = broadcast::channel(UPDATES);
        let live = LiveRun { name: name.to_owned(), inbox, updates: updates.clone(), stored: BTreeMap::new() };
        self.live.insert(run_id.to_owned(), live);
        driver::Ends { inbox: received, updates }
    }
}

fn superseded(slot: &str) -> squall_proto::Refused {
    squall_proto::Refused {
        code: squall_proto::refused::Code::Superseded.into(),
        reason: format!("slot `{slot}` was taken over by an agent started later; give every agent a --slot of its own"),
        leader: String::new(),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole values behind: every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fleet_changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lets an agent in and closes the session it replaces. `carried`: the run and
    /// epoch that it says it still works for. The welcome is queued before anyone
    /// else can find the agent, so it is always what comes first; it is told what
    /// of its run is stored, where that run goes on.
    pub fn join(
        &self,
        hello: &Introduction,
        carried: (&str, u64),
        outbox: Outbox,
        welcome: impl FnOnce(&Joined, Option<u64>) -> ControllerMessage,
    ) -> Result<(Joined, SessionId), NotJoined> {
        let mut state = self.lock();
        let (joined, session) = state.registry.join(hello, now_ns())?;
        let live = joined.run.as_ref().and_then(|run| state.live.get(run));
        let carries = live.is_some() && joined.carries(carried.0, carried.1);
        let stored = live.map(|run| run.stored.get(&(joined.slot.clone(), joined.epoch)).copied().unwrap_or(0));
        // A new queue has room.
        let _ = outbox.try_send(Ok(welcome(&joined, stored.filter(|_| carries))));
        let returned = live.map(|run| run.inbox.clone());
        let old = state.links.insert(joined.slot.clone(), Link { session, outbox });
        if let (Some(old), Some(_)) = (old, joined.replaces) {
            // A hello may be overtaken by a later one of the same agent: whichever of its
            // sessions it is on, it must not take this for another agent in its slot.
            let _ = old.outbox.try_send(match joined.is_back {
                true => Err(Status::unavailable("this agent has another session; connect again")),
                false => Ok(message(controller_message::Message::Refused(superseded(&joined.slot)))),
            });
        }
        let bereaved = joined.bereaved_run.as_ref();
        let told = bereaved.and_then(|(run, epoch)| Some((state.live.get(run)?.inbox.clone(), *epoch)));
        drop(state);
        if let Some((inbox, epoch)) = told {
            let reason = "its process was replaced by a newer one".to_owned();
            tell(inbox, Input::AgentGone { slot: joined.slot.clone(), epoch, reason });
        }
        if let Some(inbox) = returned {
            tell(inbox, Input::AgentBack { slot: joined.slot.clone(), epoch: joined.epoch, carries });
        }
        self.fleet_changed();
        Ok((joined, session))
    }

    /// The connection of an agent ended.
    pub fn disconnect(&self, slot: &str, session: SessionId) {
        let mut state = self.lock();
        state.registry.disconnect(slot, session);
        if state.links.get(slot).is_some_and(|link| link.session == session) {
            state.links.remove(slot);
        }
        drop(state);
        self.fleet_changed();
    }

    /// The agent said goodbye; its run, if any, is told.
    pub fn leave(&self, slot: &str, session: SessionId, reason: &str) {
        let mut state = self.lock();
        let left = state.registry.leave(slot, session);
        if left.is_some() {
            state.links.remove(slot);
        }
        let told = left.and_then(|agent| Some((state.live.get(agent.run.as_ref()?)?.inbox.clone(), agent.epoch)));
        drop(state);
        if let Some((inbox, epoch)) = told {
            let reason = format!("left the fleet: {reason}");
            tell(inbox, Input::AgentGone { slot: slot.to_owned(), epoch, reason });
        }
        self.fleet_changed();
    }

    /// Answers a sign of life; `None`: the session counts no longer.
    pub fn heartbeat(
        &self,
        slot: &str,
        session: SessionId,
        heartbeat: &squall_proto::Heartbeat,
        t1_ns: u64,
    ) -> Option<HeartbeatAnswer> {
        let mut state = self.lock();
        if !self.mandate.holds() || !state.registry.hear(slot, session, t1_ns) {
            return None;
        }
        let run = state.registry.get(slot).and_then(|agent| agent.run.as_deref());
        let is_of_run = run.is_some_and(|run| heartbeat.run_id.is_empty() || heartbeat.run_id == run);
        let may_run_for_ms = if is_of_run { self.options.lease.as_millis() as u64 } else { 0 };
        drop(state);
        Some(HeartbeatAnswer { t0_ns: heartbeat.t0_ns, t1_ns, t2_ns: now_ns(), may_run_for_ms })
    }

    /// Any other message is a sign of life too. `None`: the session counts no longer.
    pub fn route(&self, slot: &str, session: SessionId, run_id: &str) -> Option<(u64, Option<mpsc::Sender<Input>>)> {
        let mut state = self.lock();
        if !self.mandate.holds() || !state.registry.hear(slot, session, now_ns()) {
            return None;
        }
        let (epoch, run) = state.registry.get(slot).map(|agent| (agent.epoch, agent.run.clone()))?;
        let is_its_run = run.as_deref() == Some(run_id);
        Some((epoch, state.live.get(run_id).filter(|_| is_its_run).map(|run| run.inbox.clone())))
    }

    pub fn set_clock(&self, slot: &str, session: SessionId, offset_ns: i64, bound_ns: u64) {
        if let Some(agent) = self.lock().registry.current(slot, session) {
            agent.clock = Some((offset_ns, bound_ns));
        }
    }

    /// Sends to the incarnation with this epoch; `false`: it is not there, or does not read.
    pub fn send(&self, slot: &str, epoch: u64, command: controller_message::Message) -> bool {
        if !self.mandate.holds() {
            return false;
        }
        let state = self.lock();
        let is_there = state.registry.get(slot).is_some_and(|agent| agent.epoch == epoch);
        is_there && state.links.get(slot).is_some_and(|link| link.outbox.try_send(Ok(message(command))).is_ok())
    }

    /// Ends a run's claim on an agent.
    pub fn dismiss(&self, slot: &str, epoch: u64) {
        self.lock().registry.assign(slot, epoch, None);
        self.fleet_changed();
    }

    /// Everything stored is stored; the run is live no longer.
    pub fn retire(&self, run_id: &str, members: &[Member]) {
        let mut state = self.lock();
        for member in members {
            if state.registry.get(&member.slot).is_some_and(|agent| agent.run.as_deref() == Some(run_id)) {
                state.registry.assign(&member.slot, member.epoch, None);
            }
        }
        state.live.remove(run_id);
        drop(state);
        self.fleet_changed();
    }

    /// Another controller goes on with the run.
    pub fn leave_run(&self, run_id: &str) {
        self.lock().live.remove(run_id);
    }

    /// The updates of a live run from now on.
    pub fn watch(&self, run_id: &str) -> Option<broadcast::Receiver<RunUpdate>> {
        self.lock().live.get(run_id).map(|run| run.updates.subscribe())
    }

    pub fn inbox(&self, run_id: &str) -> Option<mpsc::Sender<Input>> {
        self.lock().live.get(run_id).map(|run| run.inbox.clone())
    }

    /// Connected agents, and the run that each works for with its name.
    pub fn fleet(&self) -> Vec<(Member, Option<(String, String)>)> {
        let state = self.lock();
        let connected = state.registry.agents().filter(|agent| agent.session.is_some());
        connected
            .map(|agent| {
                let name = |run: &String| state.live.get(run).map(|live| live.name.clone()).unwrap_or_default();
                (Member::of(agent), agent.run.as_ref().map(|run| (run.clone(), name(run))))
            })
            .collect()
    }

    /// Binds the members to a new run, all or none; `Err` names an agent that is not free.
    pub fn claim(&self, run_id: &str, name: &str, members: &[Member]) -> Result<driver::Ends, String> {
        let mut state = self.lock();
        for member in members {
            let agent = state.registry.get(&member.slot).filter(|agent| agent.epoch == member.epoch);
            if agent.is_none_or(|agent| agent.run.is_some()) {
                return Err(member.slot.clone());
            }
        }
        for member in members {
            state.registry.assign(&member.slot, member.epoch, Some(run_id));
        }
        Ok(state.open(run_id, name))
    }

    /// As [`Shared::claim`], for a run of a controller before this one: its agents
    /// are expected back.
    pub fn reclaim(&self, run_id: &str, name: &str, members: &[Member]) -> driver::Ends {
        let now = now_ns();
        let mut state = self.lock();
        for member in members {
            state.registry.expect(member.expected(run_id, now));
        }
        state.open(run_id, name)
    }

    /// A snapshot of a live run is stored: an agent that comes back is told.
    pub fn note_stored(&self, run_id: &str, slot: &str, epoch: u64, sequence: u64) {
        if let Some(run) = self.lock().live.get_mut(run_id) {
            run.stored.insert((slot.to_owned(), epoch), sequence);
        }
    }

    /// Every agent, for lists.
    pub fn agent_infos(&self) -> Vec<AgentInfo> {
        let now = now_ns();
        let state = self.lock();
        let info = |agent: &crate::registry::Agent| {
            let (clock_offset_ns, clock_bound_ns) = agent.clock.unwrap_or_default();
            AgentInfo {
                slot: agent.slot.clone(),
                region: agent.region.to_string(),
                version: agent.version.clone(),
                state: agent.state().to_owned(),
                workers: agent.workers,
                epoch: agent.epoch,
                connected_for_ms: now.saturating_sub(agent.joined_ns) / 1_000_000,
                clock_offset_ns,
                clock_bound_ns,
                run_id: agent.run.clone().unwrap_or_default(),
            }
        };
        state.registry.agents().map(info).collect()
    }

    fn drop_silent(&self) {
        let mut state = self.lock();
        let limit = self.options.silent_after;
        let silent = state.registry.drop_silent(now_ns(), limit.as_nanos() as u64);
        if silent.is_empty() {
            return;
        }
        let mut told = Vec::new();
        for agent in silent {
            // Closing the stream makes an agent that lives after all dial again.
            if let Some(link) = state.links.remove(&agent.slot) {
                let _ = link.outbox.try_send(Err(Status::unavailable("no heartbeat came in time; connect again")));
            }
            if let Some(run) = agent.run.as_ref().and_then(|run| state.live.get(run)) {
                let reason = format!("no heartbeat for {} s", limit.as_secs());
                told.push((run.inbox.clone(), Input::AgentSilent { slot: agent.slot, epoch: agent.epoch, reason }));
            }
        }
        drop(state);
        for (inbox, gone) in told {
            tell(inbox, gone);
        }
        self.fleet_changed();
    }
}

/// Hands a run something that must not be lost. A full inbox is waited for
/// apart: nobody who calls this may be held up by one run.
fn tell(inbox: mpsc::Sender<Input>, input: Input) {
    if let Err(mpsc::error::TrySendError::Full(input)) = inbox.try_send(input) {
        tokio::spawn(async move { inbox.send(input).await });
    }
}

async fn watch_for_silence(shared: std::sync::Weak<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.drop_silent();
    }
}
