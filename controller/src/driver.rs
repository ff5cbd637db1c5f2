//! Performs what `run.rs` decides: one task owns one run from its first
//! message to its stored result.
//!
//! Everything that comes goes through [`Driver::take`], everything decided
//! through [`Driver::perform`]. A snapshot is stored, then merged, then
//! acknowledged; a status is stored before the messages that make it true.

mod takings;

pub use takings::Taking;

use crate::conclusion::{self, Told};
use crate::events::{Event, unix_ms};
use crate::fleet::{Input, Member, Shared};
use crate::live::live_view;
use crate::plan_source::{self, LoadedPlan};
use crate::recovery::{Drive, Resumed};
use crate::run::{self, Command, Outcome, Place, Run, Stage, Terms};
use crate::store::{STATE_DONE, SnapshotKey, StoreError, StoredRun};
use bytes::Bytes;
use prost::Message as _;
use squall_agent::clock::now_ns;
use squall_common::interval::{FlowKey, IntervalSnapshot};
use squall_common::merge::{Accepted, AgentIndex, RunMerge};
use squall_common::plan::Plan;
use squall_common::split::Share;
use squall_common::wire;
use squall_proto::{
    Ack, Go, PlanBundle, Prepare, RunFinished, RunUpdate, Snapshot, Stop, agent_message, controller_message, run_update,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{broadcast, mpsc};

/// Taken from the inbox at once: one commit of the store for all of them.
const BATCH: usize = 256;
/// How often time is looked at. Live views go out every fifth time.
const TICK: Duration = Duration::from_millis(100);
const TICKS_A_VIEW: u32 = 5;

/// The run's ends of its channels.
pub struct Ends {
    pub inbox: mpsc::Receiver<Input>,
    pub updates: broadcast::Sender<RunUpdate>,
}

/// Everything a run begins with.
pub struct Start {
    pub run_id: String,
    pub bundle: PlanBundle,
    pub loaded: LoadedPlan,
    pub members: Vec<Member>,
    /// By member, one for each load.
    pub shares: Vec<Vec<Share>>,
    pub status: StoredRun,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    start: Start,
    plan: Arc<Plan>,
    digest: String,
    updates: broadcast::Sender<RunUpdate>,
    run: Run,
    merge: RunMerge,
    told: Vec<Told>,
    newest_interval: Option<u32>,
    /// When load really ended, on our clock.
    load_ended_ns: Option<u64>,
    started_at: SystemTime,
    outcome: Option<Outcome>,
    /// Shares of lost agents that others took over, in order.
    takings: Vec<Taking>,
}

/// Runs a run to its end.
pub(crate) async fn drive(shared: Arc<Shared>, start: Start, ends: Ends) {
    let plan = Arc::new(start.loaded.plan.clone());
    let terms = Terms {
        offered: plan.offered_for(),
        drain: plan.drain,
        on_agent_loss: plan.on_agent_loss,
        min_agents: plan.min_agents,
    };
    let (run, commands) = Run::begin(now_ns(), start.members.len(), terms, shared.options.limits);
    let mut driver = Driver::new(shared, start, plan, run, ends.updates);
    driver.event(Event::new("run_submitted").with("agents", driver.start.members.len())).await;
    for warning in plan_source::warning_lines(&driver.start.loaded) {
        driver.event(Event::new("plan_warning").with("warning", warning)).await;
    }
    if driver.save().await {
        driver.perform(commands).await;
    }
    driver.until_concluding(ends.inbox).await;
    driver.conclude().await;
}

/// Goes on with a run that another controller began.
pub(crate) async fn resume(shared: Arc<Shared>, resumed: Resumed, ends: Ends) {
    let Resumed { start, drive, merge, takings, newest_interval } = resumed;
    let plan = merge.plan().clone();
    let mut driver = Driver::new(shared, start, plan, drive.run, ends.updates);
    (driver.merge, driver.newest_interval) = (merge, newest_interval);
    driver.told = drive.told.into_iter().map(Told::from).collect();
    driver.takings = takings;
    driver.load_ended_ns = drive.load_ended_ns;
    driver.started_at = drive.started_at;
    for (member, merged) in driver.start.members.iter().zip(driver.merge.agents()) {
        driver.shared.note_stored(&driver.start.run_id, &member.slot, member.epoch, merged.last_sequence);
    }
    // What had ended, but whose result was not stored, has to be concluded again.
    driver.outcome = driver.run.outcome();
    driver.event(Event::new("controller_resumed").with("stage", driver.run.stage().name())).await;
    driver.step(run::Event::Tick).await;
    driver.until_concluding(ends.inbox).await;
    driver.conclude().await;
}

impl Driver {
    fn new(
        shared: Arc<Shared>,
        start: Start,
        plan: Arc<Plan>,
        run: Run,
        updates: broadcast::Sender<RunUpdate>,
    ) -> Self {
        let agents: Vec<_> = start.members.iter().map(|member| (member.slot.clone(), member.region.clone())).collect();
        Self {
            digest: wire::bundle_digest(&start.bundle),
            merge: RunMerge::new(plan.clone(), &agents),
            told: vec![Told::default(); agents.len()],
            shared,
            start,
            plan,
            updates,
            run,
            newest_interval: None,
            load_ended_ns: None,
            started_at: SystemTime::now(),
            outcome: None,
            takings: Vec::new(),
        }
    }

    /// Writes down where the run stands; `false`: that failed, and the run with it.
    async fn save(&mut self) -> bool {
        let drive = Drive::of(&self.run, &self.start, &self.told, &self.takings, self.load_ended_ns, self.started_at);
        let run_id = self.start.run_id.clone();
        let stored = match drive.encode() {
            Ok(bytes) => self.with_store(move |store| store.put_drive(&run_id, &bytes)).await,
            Err(error) => Err(StoreError::Failed(error.to_string())),
        };
        let Err(error) = stored else { return true };
        if !self.shared.mandate.holds() {
            // Another controller decides what becomes of the run.
            return false;
        }
        tracing::error!(run = %self.start.run_id, %error, "the run's state cannot be stored");
        // Nothing is said that is not written down, but for the end of it all.
        let failed = run::Event::Failed { reason: format!("its state cannot be stored: {error}") };
        let (run, commands) = self.run.clone().step(now_ns(), failed);
        self.run = run;
        Box::pin(self.perform(commands)).await;
        // What ended the run may have been what could not be written.
        if self.outcome.is_none() {
            self.outcome = self.run.outcome();
        }
        false
    }

    async fn until_concluding(&mut self, mut inbox: mpsc::Receiver<Input>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticks = 0u32;
        let mut batch = Vec::with_capacity(BATCH);
        while self.outcome.is_none() && self.shared.mandate.holds() {
            tokio::select! {
                taken = inbox.recv_many(&mut batch, BATCH) => {
                    if taken > 0 {
                        self.take(std::mem::take(&mut batch)).await;
                    }
                }
                _ = tick.tick() => {
                    self.step(run::Event::Tick).await;
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(TICKS_A_VIEW) {
                        self.publish_view();
                    }
                }
            }
        }
        self.publish_view();
    }

    /// Snapshots first, in one commit; then the rest, in order.
    async fn take(&mut self, batch: Vec<Input>) {
        let mut snapshots = Vec::new();
        let mut others = Vec::new();
        for input in batch {
            match input {
                Input::FromAgent { slot, epoch, message } => {
                    let Some(place) = self.place(&slot, epoch) else { continue };
                    match *message {
                        agent_message::Message::Snapshot(snapshot) => snapshots.push((place, snapshot)),
                        other => others.push((Some(place), Input::FromAgent { slot, epoch, message: Box::new(other) })),
                    }
                }
                Input::AgentGone { ref slot, epoch, .. }
                | Input::AgentSilent { ref slot, epoch, .. }
                | Input::AgentBack { ref slot, epoch, .. } => {
                    if let Some(place) = self.place(slot, epoch) {
                        others.push((Some(place), input));
                    }
                }
                Input::StopRequested { .. } => others.push((None, input)),
            }
        }
        self.take_snapshots(snapshots).await;
        for (place, input) in others {
            match (place, input) {
                (Some(place), Input::FromAgent { message, .. }) => self.take_message(place, *message).await,
                (Some(place), Input::AgentGone { reason, .. }) => self.lose(place, reason, true).await,
                (Some(place), Input::AgentSilent { reason, .. }) => self.lose(place, reason, false).await,
                (Some(place), Input::AgentBack { carries, .. }) => {
                    let back = Event::new("agent_back").with("agent", self.slot(place)).with("carries_share", carries);
                    self.event(back).await;
                    self.step(run::Event::Back { agent: place, carries }).await;
                    if carries && self.run.is_going(place) {
                        self.tell_takings(place);
                    }
                }
                (_, Input::StopRequested { now, reason }) => {
                    self.event(Event::new("stop_requested").with("now", now).with("reason", reason.as_str())).await;
                    self.step(run::Event::StopRequested { now, reason }).await;
                }
                (None, _) => {}
            }
        }
    }

    /// A member still taking part, of that very epoch.
    fn place(&self, slot: &str, epoch: u64) -> Option<Place> {
        let place = self.start.members.iter().position(|member| member.slot == slot && member.epoch == epoch)?;
        self.run.is_here(place).then_some(place)
    }

    /// `is_final`: it will not come back.
    async fn lose(&mut self, place: Place, reason: String, is_final: bool) {
        if self.run.is_awaited(place) {
            let lost = Event::new("agent_lost").with("agent", self.slot(place)).with("reason", reason.as_str());
            self.event(lost).await;
            self.told[place].lost = Some(reason.clone());
        }
        let event = match is_final {
            true => run::Event::Gone { agent: place, reason },
            false => run::Event::Silent { agent: place, reason },
        };
        self.step(event).await;
    }

    async fn take_message(&mut self, place: Place, message: agent_message::Message) {
        match message {
            agent_message::Message::Armed(armed) => {
                let event = Event::new("agent_armed")
                    .with("agent", self.slot(place))
                    .with("clock_offset_ns", armed.clock_offset_ns)
                    .with("clock_bound_ns", armed.clock_bound_ns)
                    .with("worst_rtt_ns", armed.worst_rtt_ns)
                    .with("exchanges", armed.exchanges);
                self.event(event).await;
                let worst_rtt_ns = armed.worst_rtt_ns;
                self.told[place].armed = Some(armed);
                self.step(run::Event::Armed { agent: place, worst_rtt_ns }).await;
            }
            agent_message::Message::NotArmed(refusal) => {
                let reason = refusal.reason;
                let event =
                    Event::new("agent_not_armed").with("agent", self.slot(place)).with("reason", reason.as_str());
                self.event(event).await;
                self.told[place].lost = Some(format!("refused the plan: {reason}"));
                self.step(run::Event::NotArmed { agent: place, reason }).await;
            }
            agent_message::Message::Adopted(adopted) => {
                self.note_adopted(place, adopted.number, adopted.from_ns).await;
            }
            agent_message::Message::Finished(finished) => {
                if self.told[place].finished.is_none() {
                    let event = Event::new("agent_finished")
                        .with("agent", self.slot(place))
                        .with("ended_by", finished.ended_by.as_str())
                        .with("sent", finished.sent);
                    self.event(event).await;
                }
                let (last_sequence, ended_by) = (finished.last_sequence, finished.ended_by.clone());
                self.told[place].finished = Some(finished);
                // It was only out of reach.
                self.told[place].lost = None;
                // The agent forgets the run once it is acknowledged: what follows from its
                // last word is written down with it, before it is said.
                let event = run::Event::Finished { agent: place, last_sequence, ended_by };
                let (run, commands) = self.run.clone().step(now_ns(), event);
                self.run = run;
                if self.save().await {
                    self.acknowledge(place, true);
                    self.perform(commands).await;
                }
            }
            // Sessions answer these by themselves.
            agent_message::Message::Hello(_)
            | agent_message::Message::Heartbeat(_)
            | agent_message::Message::Leaving(_)
            | agent_message::Message::Snapshot(_) => {}
        }
    }

    /// Stores what is new, merges it, then acknowledges. Gaps are left for the agent to send again.
    async fn take_snapshots(&mut self, snapshots: Vec<(Place, Snapshot)>) {
        if snapshots.is_empty() {
            return;
        }
        let mut next: Vec<u64> = self.merge.agents().iter().map(|agent| agent.last_sequence + 1).collect();
        let mut fresh: Vec<(Place, u64, IntervalSnapshot)> = Vec::new();
        let mut rows: Vec<(SnapshotKey, Bytes)> = Vec::new();
        let mut heard: Vec<Place> = Vec::new();
        for (place, wire) in snapshots {
            heard.push(place);
            if wire.sequence != next[place] {
                continue;
            }
            match wire::read_snapshot(&wire).map_err(|error| error.to_string()).and_then(|read| self.check(read)) {
                Ok(snapshot) => {
                    let key = SnapshotKey {
                        first_interval: wire.first_interval,
                        slot: self.slot(place).to_owned(),
                        epoch: self.start.members[place].epoch,
                        sequence: wire.sequence,
                    };
                    rows.push((key, wire.encode_to_vec().into()));
                    fresh.push((place, wire.sequence, snapshot));
                    next[place] += 1;
                }
                Err(error) => {
                    let reason = format!("its snapshot {} cannot be used: {error}", wire.sequence);
                    self.lose(place, reason, true).await;
                }
            }
        }
        if !rows.is_empty() {
            let run_id = self.start.run_id.clone();
            if let Err(error) = self.with_store(move |store| store.add_snapshots(&run_id, &rows)).await {
                // Not acknowledged: the agents keep what we could not.
                return self.fail(format!("snapshots cannot be stored: {error}")).await;
            }
        }
        for (place, sequence, snapshot) in fresh {
            if self.merge.accept(AgentIndex(place), sequence, &snapshot) == Accepted::Merged {
                let last_interval = snapshot.last_interval;
                self.newest_interval = self.newest_interval.max(Some(last_interval));
                self.step(run::Event::Merged { agent: place, sequence, last_interval }).await;
            }
        }
        heard.sort_unstable();
        heard.dedup();
        for place in heard {
            let finished = self.told[place].finished.is_some();
            self.acknowledge(place, finished);
        }
    }

    fn acknowledge(&self, place: Place, finished: bool) {
        let sequence = self.merge.agents()[place].last_sequence;
        let member = &self.start.members[place];
        self.shared.note_stored(&self.start.run_id, &member.slot, member.epoch, sequence);
        if sequence > 0 || finished {
            let ack = Ack { run_id: self.start.run_id.clone(), epoch: member.epoch, sequence, finished };
            self.send(place, controller_message::Message::Ack(ack));
        }
    }

    /// Whether a snapshot speaks of this plan; reports index the plan by it.
    fn check(&self, snapshot: IntervalSnapshot) -> Result<IntervalSnapshot, String> {
        let plan = &self.plan;
        let is_known = |key: &FlowKey| {
            let scenario = plan.scenarios.get(usize::from(key.scenario.0));
            let has_step = scenario.is_some_and(|scenario| usize::from(key.step.0) < scenario.steps.len());
            *key == FlowKey::OTHER || (has_step && usize::from(key.target.0) < plan.targets.len())
        };
        let mut keys = snapshot.flows.keys().chain(snapshot.series.keys().map(|key| &key.flow));
        match keys.find(|key| !is_known(key)) {
            Some(key) => Err(format!("the plan has no {key:?}")),
            None => Ok(snapshot),
        }
    }

    async fn fail(&mut self, reason: String) {
        tracing::error!(run = %self.start.run_id, %reason, "the run fails");
        self.step(run::Event::Failed { reason }).await;
    }

    /// One event: decide, write the decision down, perform it.
    async fn step(&mut self, event: run::Event) {
        let (run, commands) = self.run.clone().step(now_ns(), event);
        self.run = run;
        // What is merged is counted in the store itself: no command, nothing to write.
        if commands.is_empty() || self.save().await {
            self.perform(commands).await;
        }
    }

    async fn perform(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Enter(stage) => self.enter(stage).await,
                Command::Dismiss { agent } => {
                    // It may still be there and at work: it is not part of this run any more.
                    self.tell_over(agent, "no longer part of the run");
                    let member = &self.start.members[agent];
                    self.shared.dismiss(&member.slot, member.epoch);
                }
                Command::TakeOver { lost, not_before_ns } => Box::pin(self.take_over(lost, not_before_ns)).await,
                Command::Conclude(outcome) => self.outcome = Some(outcome),
                Command::Prepare { agent } => self.send(agent, self.prepare(agent)),
                Command::Go { agent, start_at_ns } => {
                    let (run_id, epoch) = (self.start.run_id.clone(), self.start.members[agent].epoch);
                    let go = Go { run_id, epoch, start_at_ns, from_ns: 0 };
                    self.send(agent, controller_message::Message::Go(go));
                }
                Command::Stop { agent, now, reason } => {
                    let stop = Stop { run_id: self.start.run_id.clone(), now, reason, over: false };
                    self.send(agent, controller_message::Message::Stop(stop));
                }
            }
        }
    }

    fn tell_over(&self, place: Place, reason: &str) {
        let stop = Stop { run_id: self.start.run_id.clone(), now: true, reason: reason.to_owned(), over: true };
        self.send(place, controller_message::Message::Stop(stop));
    }

    /// An agent that cannot be reached now is told when it comes back, or stops by its lease.
    fn send(&self, place: Place, message: controller_message::Message) {
        let member = &self.start.members[place];
        if !self.shared.send(&member.slot, member.epoch, message) {
            tracing::debug!(run = %self.start.run_id, agent = %member.slot, "cannot be told now");
        }
    }

    fn prepare(&self, place: Place) -> controller_message::Message {
        controller_message::Message::Prepare(Prepare {
            run_id: self.start.run_id.clone(),
            epoch: self.start.members[place].epoch,
            bundle: Some(self.start.bundle.clone()),
            plan_digest: self.digest.clone(),
            seed: self.plan.seed,
            shares: self.start.shares[place].iter().map(wire::write_share).collect(),
            arm_within_ms: self.shared.options.limits.arm.as_millis() as u64,
            keep_all: self.shared.options.agents_keep_all,
        })
    }

    async fn enter(&mut self, stage: Stage) {
        if stage == Stage::Armed
            && let Some(start_at_ns) = self.run.start_at_ns()
        {
            self.started_at = SystemTime::now() + Duration::from_nanos(start_at_ns.saturating_sub(now_ns()));
        }
        if stage >= Stage::Draining && self.load_ended_ns.is_none() {
            let now = now_ns();
            self.load_ended_ns = Some(self.run.load_end_ns().map_or(now, |end| end.min(now)));
        }
        if stage >= Stage::Done {
            return;
        }
        self.start.status.state = stage.name().to_owned();
        let status = self.start.status.clone();
        if let Err(error) = self.with_store(move |store| store.update_run(&status)).await {
            tracing::error!(run = %self.start.run_id, %error, "the run's status cannot be stored");
        }
        self.event(Event::new("stage_entered").with("stage", stage.name())).await;
    }

    fn slot(&self, place: Place) -> &str {
        &self.start.members[place].slot
    }

    fn elapsed_s(&self) -> Option<f64> {
        let start = self.run.start_at_ns()?;
        Some((i128::from(now_ns()) - i128::from(start)) as f64 / 1e9)
    }

    async fn event(&mut self, event: Event) {
        let line = event.line(self.elapsed_s());
        let update = RunUpdate { update: Some(run_update::Update::EventJson(line.clone())) };
        // No watcher is no error.
        let _ = self.updates.send(update);
        let run_id = self.start.run_id.clone();
        if let Err(error) = self.with_store(move |store| store.add_events(&run_id, &[line])).await {
            tracing::error!(run = %self.start.run_id, %error, "an event cannot be stored");
        }
    }

    fn publish_view(&self) {
        let here = (0..self.start.members.len()).filter(|&place| self.run.is_here(place));
        let view = live_view(&self.run, &self.merge, here.map(AgentIndex), self.newest_interval, now_ns());
        let _ = self.updates.send(RunUpdate { update: Some(run_update::Update::Live(view)) });
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn crate::store::Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.shared.store.clone();
        let done = tokio::task::spawn_blocking(move || work(store.as_ref())).await;
        done.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))
    }

    /// Leaves the run to the controller that leads now.
    fn leave(self) {
        tracing::warn!(run = %self.start.run_id, "left to another controller");
        self.shared.leave_run(&self.start.run_id);
    }

    async fn conclude(mut self) {
        let Some(outcome) = self.outcome.take() else { return self.leave() };
        let concluded_ns = now_ns();
        let material = conclusion::Material {
            run_id: self.start.run_id.clone(),
            started_at: self.started_at,
            concluded_ns,
            load_ended_ns: self.load_ended_ns.unwrap_or(concluded_ns),
            resolved_yaml: self.start.loaded.resolved_yaml.clone(),
            warnings: plan_source::warning_lines(&self.start.loaded),
            members: self.start.members.clone(),
            told: std::mem::take(&mut self.told),
            merge: self.merge.clone(),
            outcome,
            transport: self.shared.options.transport,
        };
        let store = self.shared.store.clone();
        let status = self.start.status.clone();
        let run_id = self.start.run_id.clone();
        let concluded = tokio::task::spawn_blocking(move || {
            let record = conclusion::record(material, store.as_ref());
            conclusion::store_result(store.as_ref(), status, &record)
        });
        let (status, error) = match concluded.await {
            Ok(done) => done,
            Err(panic) => {
                let mut status = self.start.status.clone();
                let reason = format!("the result could not be made: {panic}");
                status.state = STATE_DONE.to_owned();
                status.verdict = squall_common::verdict::Verdict::Invalid.name().to_owned();
                status.reason = reason.clone();
                let kept = status.clone();
                let stored = self.with_store(move |store| store.update_run(&kept)).await;
                (status, Some(StoreError::Failed(stored.err().map_or(reason, |error| error.to_string()))))
            }
        };
        if !self.shared.mandate.holds() {
            return self.leave();
        }
        if let Some(error) = error {
            tracing::error!(run = %run_id, %error, "the result is not stored whole");
        }
        let verdict = status.verdict.as_str();
        self.event(Event::new("run_concluded").with("verdict", verdict).with("at", unix_ms())).await;
        for place in 0..self.start.members.len() {
            self.tell_over(place, "the run is over");
        }
        self.shared.retire(&run_id, &self.start.members);
        let _ = self.updates.send(RunUpdate { update: Some(run_update::Update::Finished(finished_of(&status))) });
    }
}

/// The last update of a run, from what is stored of it.
pub(crate) fn finished_of(status: &StoredRun) -> RunFinished {
    RunFinished {
        verdict: status.verdict.clone(),
        summary_json: status.summary_json.clone(),
        reason: status.reason.clone(),
    }
}
