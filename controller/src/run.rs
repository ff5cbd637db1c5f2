//! The life of one run, as a value: an event and an instant in, commands out.
//!
//! preparing → armed → started → draining → concluding → done
//!
//! Every wait has a deadline with a name. An agent whose connection breaks may
//! come back and is told again what it may have missed; one that stays silent
//! for longer than its load lease is lost, and the plan says what becomes of
//! the run: it fails (the others are stopped, what they measured is kept, and
//! the hole is named), or it goes on. A lost agent that comes back before the
//! end still tells what it measured. Nothing here sends, stores or looks at a
//! clock; `driver.rs` performs the commands in their order, and stores this
//! value before it does, so that another controller can go on from it.

use serde::{Deserialize, Serialize};
use squall_common::plan::OnAgentLoss;
use std::time::Duration;

/// Position of an agent in the run.
pub type Place = usize;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// Agents validate, resolve, connect.
    Preparing,
    /// All are armed and know when to start.
    Armed,
    /// Load is offered.
    Started,
    /// No new requests; those in flight may end.
    Draining,
    /// The result is made.
    Concluding,
    Done,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Armed => "armed",
            Self::Started => "running",
            Self::Draining => "draining",
            Self::Concluding => "concluding",
            Self::Done => "done",
        }
    }
}

/// How long each wait may take.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Limits {
    pub arm: Duration,
    /// From the decision to start to the start, at least; four times the worst round trip if that is more.
    pub start_margin: Duration,
    /// Beyond the end of the drain, for the last snapshots.
    pub finish_grace: Duration,
    /// After a stop that does not wait for requests in flight.
    pub stop_now: Duration,
    /// How long an agent may send load without a word from us, and what clocks drift apart meanwhile.
    pub lease: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arm: Duration::from_secs(30),
            start_margin: Duration::from_secs(2),
            finish_grace: Duration::from_secs(15),
            stop_now: Duration::from_secs(5),
            lease: Duration::from_millis(10_500),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Armed {
        agent: Place,
        worst_rtt_ns: u64,
    },
    NotArmed {
        agent: Place,
        reason: String,
    },
    /// A snapshot was stored and merged.
    Merged {
        agent: Place,
        sequence: u64,
        last_interval: u32,
    },
    /// The agent's load ended and `last_sequence` snapshots tell all of it.
    Finished {
        agent: Place,
        last_sequence: u64,
        ended_by: String,
    },
    /// Not heard of for longer than its lease: it sends no load any more, but may come back.
    Silent {
        agent: Place,
        reason: String,
    },
    /// It has a session again. `carries`: the process still has its share.
    Back {
        agent: Place,
        carries: bool,
    },
    /// The lost agent's share is sent by others from this offset on.
    TakenOver {
        lost: Place,
        from_ns: u64,
    },
    /// Replaced, left, or its messages can't be read: nothing more will come.
    Gone {
        agent: Place,
        reason: String,
    },
    /// The plan cannot go on for a reason of the controller's own.
    Failed {
        reason: String,
    },
    StopRequested {
        now: bool,
        reason: String,
    },
    /// Time passed.
    Tick,
    /// The result is stored.
    Concluded,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Write this down before performing what follows.
    Enter(Stage),
    Prepare {
        agent: Place,
    },
    Go {
        agent: Place,
        start_at_ns: u64,
    },
    Stop {
        agent: Place,
        now: bool,
        reason: String,
    },
    /// No longer part of the run: no lease, no commands.
    Dismiss {
        agent: Place,
    },
    /// The others take the lost agent's share over, not before this instant: until
    /// then it may still be sending.
    TakeOver {
        lost: Place,
        not_before_ns: u64,
    },
    Conclude(Outcome),
}

/// A stretch of an agent's time that will never be in the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub agent: Place,
    pub first_interval: u32,
    /// `None`: to the end of the run.
    pub last_interval: Option<u32>,
    pub reason: String,
    /// When it was noticed, on the controller's clock.
    pub noticed_ns: u64,
}

/// How a run ended, before anything is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The common start on the controller's clock; `None`: it never started.
    pub start_at_ns: Option<u64>,
    /// Why an operator or the start ended it.
    pub aborted: Option<String>,
    pub missing: Vec<Missing>,
    /// Load was ended before the schedule's end.
    pub stopped_early: bool,
    /// The plan accepts what is missing: SLOs are judged with and without it.
    pub losses_accepted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum AgentState {
    Arming,
    Armed {
        worst_rtt_ns: u64,
    },
    /// Told when to start; `last_sequence` once it has said it is finished.
    Going {
        last_sequence: Option<u64>,
    },
    /// Was going, and has been silent for longer than its lease. Not waited for.
    Silent,
    Finished,
    Gone,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AgentTrack {
    state: AgentState,
    merged: u64,
    /// The first second that has not come.
    next_interval: u32,
    /// Whether it was told to stop, and then whether at once.
    told_to_stop: Option<bool>,
    missing: Option<Loss>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Loss {
    reason: String,
    noticed_ns: u64,
    /// Offset from the start at which others took its share over.
    taken_over_ns: Option<u64>,
}

/// What a run is to do, as far as it bears on its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How long the plan offers load, if that is known.
    pub offered: Option<Duration>,
    pub drain: Duration,
    pub on_agent_loss: OnAgentLoss,
    /// With fewer agents left the run fails, whatever `on_agent_loss` says.
    pub min_agents: usize,
}

/// A run between two events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    stage: Stage,
    limits: Limits,
    terms: Terms,
    agents: Vec<AgentTrack>,
    deadline_ns: Option<u64>,
    start_at_ns: Option<u64>,
    aborted: Option<String>,
    stopped_early: bool,
    stopped_now: bool,
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Run {
    /// Begins a run on `agents` agents.
    pub fn begin(now_ns: u64, agents: usize, terms: Terms, limits: Limits) -> (Self, Vec<Command>) {
        let track =
            AgentTrack { state: AgentState::Arming, merged: 0, next_interval: 0, told_to_stop: None, missing: None };
        let run = Self {
            stage: Stage::Preparing,
            limits,
            terms,
            agents: vec![track; agents],
            deadline_ns: Some(now_ns.saturating_add(ns(limits.arm))),
            start_at_ns: None,
            aborted: None,
            stopped_early: false,
            stopped_now: false,
        };
        let mut commands = vec![Command::Enter(Stage::Preparing)];
        commands.extend((0..agents).map(|agent| Command::Prepare { agent }));
        (run, commands)
    }

    /// The same run under another controller. `shift_ns` moves instants of the
    /// old controller's clock to ours; what was waited for gets `grace` to come back.
    pub fn resume(mut self, now_ns: u64, shift_ns: i64, grace: Duration) -> Self {
        let moved = |instant: u64| instant.saturating_add_signed(shift_ns);
        self.start_at_ns = self.start_at_ns.map(moved);
        for loss in self.agents.iter_mut().filter_map(|track| track.missing.as_mut()) {
            loss.noticed_ns = moved(loss.noticed_ns);
        }
        self.deadline_ns = self.deadline_ns.map(|deadline| moved(deadline).max(now_ns.saturating_add(ns(grace))));
        self
    }

    /// What the store says is merged: counted there, not in the stored value.
    pub fn recount(&mut self, agent: Place, sequence: u64, next_interval: u32) {
        (self.agents[agent].merged, self.agents[agent].next_interval) = (sequence, next_interval);
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    pub fn start_at_ns(&self) -> Option<u64> {
        self.start_at_ns
    }

    /// When load ends by the plan.
    pub fn load_end_ns(&self) -> Option<u64> {
        Some(self.start_at_ns?.saturating_add(ns(self.terms.offered?)))
    }

    /// Whether the agent still takes part.
    pub fn is_here(&self, agent: Place) -> bool {
        self.agents.get(agent).is_some_and(|track| track.state != AgentState::Gone)
    }

    /// Whether the agent sends load, as far as we know.
    pub fn is_going(&self, agent: Place) -> bool {
        let going = |track: &AgentTrack| {
            matches!(track.state, AgentState::Going { last_sequence: None }) && track.missing.is_none()
        };
        self.agents.get(agent).is_some_and(going)
    }

    /// Whether something is still to come from the agent.
    pub fn is_awaited(&self, agent: Place) -> bool {
        let waits = |track: &AgentTrack| {
            matches!(track.state, AgentState::Arming | AgentState::Armed { .. } | AgentState::Going { .. })
        };
        self.agents.get(agent).is_some_and(waits)
    }

    /// One step.
    pub fn step(mut self, now_ns: u64, event: Event) -> (Self, Vec<Command>) {
        let mut commands = Vec::new();
        if self.stage < Stage::Concluding {
            self.follow(now_ns, event, &mut commands);
            self.advance(now_ns, &mut commands);
        } else if self.stage == Stage::Concluding && event == Event::Concluded {
            self.enter(Stage::Done, &mut commands);
        }
        (self, commands)
    }

    fn follow(&mut self, now_ns: u64, event: Event, commands: &mut Vec<Command>) {
        match event {
            Event::Armed { agent, worst_rtt_ns } => {
                if self.stage == Stage::Preparing && self.state(agent) == Some(&AgentState::Arming) {
                    self.agents[agent].state = AgentState::Armed { worst_rtt_ns };
                }
            }
            Event::NotArmed { agent, reason } => {
                let reason = match self.stage {
                    Stage::Preparing => format!("refused the plan: {reason}"),
                    _ => format!("gave its share up: {reason}"),
                };
                self.lose(now_ns, agent, AgentState::Gone, reason, commands);
            }
            Event::Merged { agent, sequence, last_interval } => {
                if self.is_here(agent) {
                    let track = &mut self.agents[agent];
                    track.merged = track.merged.max(sequence);
                    track.next_interval = track.next_interval.max(last_interval.saturating_add(1));
                }
            }
            Event::Finished { agent, last_sequence, ended_by } => {
                self.finish(now_ns, agent, last_sequence, &ended_by, commands);
            }
            Event::Silent { agent, reason } => {
                let was_going = matches!(self.state(agent), Some(AgentState::Going { .. }));
                let state = if was_going { AgentState::Silent } else { AgentState::Gone };
                self.lose(now_ns, agent, state, reason, commands);
            }
            Event::Back { agent, carries } => self.take_back(agent, carries, commands),
            Event::Gone { agent, reason } => self.lose(now_ns, agent, AgentState::Gone, reason, commands),
            Event::Failed { reason } => self.stop(now_ns, false, reason, commands),
            Event::StopRequested { now, reason } => {
                // The second request does not wait any longer.
                let now = now || self.aborted.is_some();
                self.stop(now_ns, now, reason, commands);
            }
            Event::TakenOver { lost, from_ns } => {
                if let Some(loss) = self.agents.get_mut(lost).and_then(|track| track.missing.as_mut()) {
                    loss.taken_over_ns = Some(loss.taken_over_ns.map_or(from_ns, |before| before.max(from_ns)));
                }
            }
            Event::Tick | Event::Concluded => {}
        }
    }

    fn state(&self, agent: Place) -> Option<&AgentState> {
        self.agents.get(agent).map(|track| &track.state)
    }

    fn finish(&mut self, now_ns: u64, agent: Place, last_sequence: u64, ended_by: &str, commands: &mut Vec<Command>) {
        let Some(track) = self.agents.get_mut(agent) else { return };
        if !matches!(track.state, AgentState::Going { .. } | AgentState::Silent) {
            return;
        }
        track.state = AgentState::Going { last_sequence: Some(last_sequence) };
        let as_meant = matches!(ended_by, "schedule" | "limit") || track.told_to_stop.is_some();
        if as_meant {
            // It was only out of reach: nothing is missing.
            track.missing = None;
            return;
        }
        let reason = format!("its load ended early ({ended_by})");
        if track.missing.is_none() {
            track.missing = Some(Loss { reason, noticed_ns: now_ns, taken_over_ns: None });
            // It said itself that it sends no more.
            self.go_on_without(now_ns, agent, now_ns, "an agent's load ended early", commands);
        }
    }

    /// The agent is out of reach, or will tell nothing more.
    fn lose(&mut self, now_ns: u64, agent: Place, to: AgentState, reason: String, commands: &mut Vec<Command>) {
        let Some(track) = self.agents.get_mut(agent) else { return };
        let was_silent = track.state == AgentState::Silent && to == AgentState::Gone;
        if was_silent {
            track.state = AgentState::Gone;
            return commands.push(Command::Dismiss { agent });
        }
        if !self.is_awaited(agent) {
            return;
        }
        let is_final = to == AgentState::Gone;
        let track = &mut self.agents[agent];
        track.state = to;
        track.missing = Some(Loss { reason: reason.clone(), noticed_ns: now_ns, taken_over_ns: None });
        if is_final {
            commands.push(Command::Dismiss { agent });
        }
        if self.stage == Stage::Preparing {
            self.aborted.get_or_insert(format!("the run never started: {}", Subject(agent, &reason)));
        } else {
            // Whoever was silent for longer than its lease is quiet; another may not have heard that it is gone.
            let quiet_ns = if is_final { now_ns.saturating_add(ns(self.limits.lease)) } else { now_ns };
            self.go_on_without(now_ns, agent, quiet_ns, &format!("agent lost: {reason}"), commands);
        }
    }

    /// A session stands again: what may have been said into the broken one is said once more.
    fn take_back(&mut self, agent: Place, carries: bool, commands: &mut Vec<Command>) {
        let Some(track) = self.agents.get_mut(agent) else { return };
        match track.state {
            AgentState::Arming if !carries => commands.push(Command::Prepare { agent }),
            AgentState::Arming | AgentState::Finished | AgentState::Gone => {}
            AgentState::Armed { .. } if !carries => {
                track.state = AgentState::Arming;
                commands.push(Command::Prepare { agent });
            }
            AgentState::Armed { .. } => {}
            // A process never loses its share and lives: somebody else speaks in its name, from a
            // recording perhaps. The agent itself comes back, or its silence is noticed in the end.
            AgentState::Going { .. } | AgentState::Silent if !carries => {}
            AgentState::Going { .. } | AgentState::Silent => {
                if track.state == AgentState::Silent {
                    // Its snapshots and its last word say what is missing, if anything is.
                    track.state = AgentState::Going { last_sequence: None };
                }
                if let Some(start_at_ns) = self.start_at_ns {
                    commands.push(Command::Go { agent, start_at_ns });
                }
                if let Some(now) = track.told_to_stop {
                    let reason = "the run is ending".to_owned();
                    commands.push(Command::Stop { agent, now, reason });
                }
            }
        }
    }

    /// Whether the plan lets the run go on with the agents that are left.
    fn may_go_on(&self) -> bool {
        let counts = |track: &&AgentTrack| {
            matches!(track.state, AgentState::Going { .. } | AgentState::Finished) && track.missing.is_none()
        };
        let left = self.agents.iter().filter(counts).count();
        self.terms.on_agent_loss != OnAgentLoss::Fail && left >= self.terms.min_agents.max(1)
    }

    fn go_on_without(&mut self, now_ns: u64, lost: Place, quiet_ns: u64, reason: &str, commands: &mut Vec<Command>) {
        if !self.may_go_on() {
            return self.end_load_early(now_ns, reason, commands);
        }
        let not_before_ns = quiet_ns.max(now_ns.saturating_add(ns(self.limits.start_margin)));
        if self.terms.on_agent_loss == OnAgentLoss::Redistribute
            && self.stage < Stage::Draining
            && self.load_end_ns().is_some_and(|end| end > not_before_ns)
        {
            commands.push(Command::TakeOver { lost, not_before_ns });
        }
    }

    /// Others stop gracefully because one is missing.
    fn end_load_early(&mut self, now_ns: u64, reason: &str, commands: &mut Vec<Command>) {
        if self.stage < Stage::Draining {
            self.stopped_early = true;
            self.drain_until(now_ns.saturating_add(ns(self.terms.drain)).saturating_add(ns(self.limits.finish_grace)));
            self.enter(Stage::Draining, commands);
            self.tell_to_stop(false, reason, commands);
        }
    }

    fn stop(&mut self, now_ns: u64, now: bool, reason: String, commands: &mut Vec<Command>) {
        self.aborted.get_or_insert_with(|| reason.clone());
        if self.stage == Stage::Preparing || (self.stopped_now && now) {
            return;
        }
        self.stopped_early = true;
        self.stopped_now |= now;
        let wait = if now { self.limits.stop_now } else { self.terms.drain.saturating_add(self.limits.finish_grace) };
        self.drain_until(now_ns.saturating_add(ns(wait)));
        if self.stage < Stage::Draining {
            self.enter(Stage::Draining, commands);
        }
        self.tell_to_stop(now, &reason, commands);
    }

    fn drain_until(&mut self, until_ns: u64) {
        self.deadline_ns = Some(self.deadline_ns.map_or(until_ns, |before| before.min(until_ns)));
    }

    fn tell_to_stop(&mut self, now: bool, reason: &str, commands: &mut Vec<Command>) {
        for (agent, track) in self.agents.iter_mut().enumerate() {
            if !matches!(track.state, AgentState::Finished | AgentState::Gone) {
                track.told_to_stop = Some(now);
                // A silent one is told when it comes back.
                if track.state != AgentState::Silent {
                    commands.push(Command::Stop { agent, now, reason: reason.to_owned() });
                }
            }
        }
    }

    fn enter(&mut self, stage: Stage, commands: &mut Vec<Command>) {
        self.stage = stage;
        commands.push(Command::Enter(stage));
    }

    /// What follows from where everything stands now.
    fn advance(&mut self, now_ns: u64, commands: &mut Vec<Command>) {
        self.complete_agents();
        if self.deadline_ns.is_some_and(|deadline| now_ns >= deadline) {
            self.give_up(now_ns, commands);
        }
        if self.stage == Stage::Preparing {
            if self.aborted.is_some() {
                self.tell_to_stop(true, "the run does not start", commands);
                return self.conclude(commands);
            }
            self.go_when_armed(now_ns, commands);
        }
        if self.stage == Stage::Armed && self.start_at_ns.is_some_and(|start| now_ns >= start) {
            self.enter(Stage::Started, commands);
        }
        if self.stage == Stage::Started && self.load_end_ns().is_some_and(|end| now_ns >= end) {
            self.enter(Stage::Draining, commands);
        }
        let all_in = (0..self.agents.len()).all(|agent| !self.is_awaited(agent));
        if self.stage > Stage::Preparing && all_in {
            self.conclude(commands);
        }
    }

    fn complete_agents(&mut self) {
        for track in &mut self.agents {
            if matches!(track.state, AgentState::Going { last_sequence: Some(last) } if track.merged >= last) {
                track.state = AgentState::Finished;
            }
        }
    }

    /// The deadline of this stage has passed.
    fn give_up(&mut self, now_ns: u64, commands: &mut Vec<Command>) {
        let preparing = self.stage == Stage::Preparing;
        for agent in 0..self.agents.len() {
            let track = &self.agents[agent];
            let reason = match &track.state {
                AgentState::Arming => format!("did not arm within {} s", self.limits.arm.as_secs()),
                AgentState::Going { last_sequence: Some(last) } => {
                    format!("{} of its {last} snapshots never came", last.saturating_sub(track.merged))
                }
                AgentState::Going { last_sequence: None } => "did not finish in time".to_owned(),
                AgentState::Armed { .. } | AgentState::Silent | AgentState::Finished | AgentState::Gone => continue,
            };
            self.lose(now_ns, agent, AgentState::Gone, reason, commands);
        }
        if preparing {
            self.aborted.get_or_insert_with(|| "the run never started".to_owned());
        }
    }

    fn go_when_armed(&mut self, now_ns: u64, commands: &mut Vec<Command>) {
        let worst = self.agents.iter().try_fold(0, |worst: u64, track| match track.state {
            AgentState::Armed { worst_rtt_ns } => Some(worst.max(worst_rtt_ns)),
            _ => None,
        });
        let Some(worst_rtt_ns) = worst else { return };
        let margin_ns = ns(self.limits.start_margin).max(worst_rtt_ns.saturating_mul(4)).min(ns(self.limits.arm));
        let start_at_ns = now_ns.saturating_add(margin_ns);
        self.start_at_ns = Some(start_at_ns);
        let last_word = ns(self.terms.drain).saturating_add(ns(self.limits.finish_grace));
        self.deadline_ns = self.load_end_ns().map(|end| end.saturating_add(last_word));
        self.enter(Stage::Armed, commands);
        for (agent, track) in self.agents.iter_mut().enumerate() {
            track.state = AgentState::Going { last_sequence: None };
            commands.push(Command::Go { agent, start_at_ns });
        }
    }

    fn conclude(&mut self, commands: &mut Vec<Command>) {
        self.enter(Stage::Concluding, commands);
        commands.extend(self.outcome().map(Command::Conclude));
    }

    /// How it ended, once it has: said with the end, and again to a controller
    /// that comes before the result is stored.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.stage < Stage::Concluding {
            return None;
        }
        let started = self.start_at_ns.is_some();
        let missing = self.agents.iter().enumerate().filter(|_| started).filter_map(|(agent, track)| {
            let Loss { reason, noticed_ns, taken_over_ns } = track.missing.clone()?;
            let last_interval = taken_over_ns.map(|from_ns| (from_ns / 1_000_000_000) as u32);
            Some(Missing { agent, first_interval: track.next_interval, last_interval, reason, noticed_ns })
        });
        Some(Outcome {
            start_at_ns: self.start_at_ns,
            missing: missing.collect(),
            aborted: self.aborted.clone(),
            stopped_early: self.stopped_early,
            losses_accepted: self.terms.on_agent_loss != OnAgentLoss::Fail && !self.stopped_early,
        })
    }
}

/// `agent #2: reason`; the driver puts the slot's name in its place.
struct Subject<'a>(Place, &'a str);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "agent #{}: {}", self.0, self.1)
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
