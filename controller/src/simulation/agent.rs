//! A process of `squall-agent`: its sessions and what outlives them, by the
//! rules of `agent.rs` and `session.rs` there, around its own lease, clock and
//! outgoing snapshots.

use super::agent_load::AgentRun;
use super::network::{Packet, StreamId, Way};
use super::world::{Clock, Event, MS, SECOND, Wake, World};
use proto::agent_message::Message as Up;
use proto::controller_message::Message as Down;
use squall_agent::lease::Lease;
use squall_agent::outgoing::Telling;
use squall_common::clock::{ClockEstimate, Exchange};
use squall_proto as proto;

const CLOCK_EXCHANGES: u32 = 8;
const SILENT_HEARTBEATS: u32 = 5;
const WELCOME_WITHIN: u64 = 10 * SECOND;
const HEARTBEAT: u64 = SECOND;
const FIRST_PAUSE: u64 = 200 * MS;
const LONGEST_PAUSE: u64 = 5 * SECOND;
const LEAVE_GRACE: u64 = 10 * SECOND;

pub struct Session {
    pub stream: StreamId,
    hello_ns: u64,
    is_welcome: bool,
    burst: u32,
    unanswered: u32,
    arm: bool,
    go: Option<proto::Go>,
}

pub struct Agent {
    pub slot: usize,
    pub incarnation: String,
    pub clock: Clock,
    pub is_alive: bool,
    pub paused_until: u64,
    session: Option<Session>,
    pause_ns: u64,
    estimate: Option<ClockEstimate>,
    clock_name: String,
    pub lease: Lease,
    preparing: Option<(proto::Prepare, u64)>,
    pub run: Option<AgentRun>,
    refusal: Option<proto::NotArmed>,
    is_leaving: bool,
    /// Counts attempts to prepare and runs: older timers mean nothing.
    pub attempts: u64,
}

impl Agent {
    pub fn stream(&self) -> Option<StreamId> {
        self.session.as_ref().map(|session| session.stream)
    }

    fn known_clock(&self) -> Option<ClockEstimate> {
        self.estimate.filter(|clock| clock.exchanges >= CLOCK_EXCHANGES)
    }

    fn run_named(&mut self, run_id: &str, epoch: u64) -> Option<&mut AgentRun> {
        self.run.as_mut().filter(|run| run.order.run_id == run_id && run.order.epoch == epoch)
    }
}

pub fn slot_name(slot: usize) -> String {
    format!("slot-{slot}")
}

impl World {
    pub fn start_agent(&mut self, slot: usize) {
        let place = self.agents.len();
        let clock = match self.agents.iter().find(|agent| agent.slot == slot) {
            Some(before) => before.clock.clone(),
            None => Clock::draw(format!("machine-{slot}"), &mut self.random),
        };
        self.agents.push(Agent {
            slot,
            incarnation: format!("{place:05}"),
            clock,
            is_alive: true,
            paused_until: 0,
            session: None,
            pause_ns: FIRST_PAUSE,
            estimate: None,
            clock_name: String::new(),
            lease: Lease::default(),
            preparing: None,
            run: None,
            refusal: None,
            is_leaving: false,
            attempts: 0,
        });
        self.note(|| format!("agent {place} starts in slot {slot}"));
        self.after(0, Event::Agent(place, Wake::Dial));
    }

    /// The newest process of a slot, while it lives.
    pub fn current(&self, slot: usize) -> Option<usize> {
        self.agents.iter().rposition(|agent| agent.slot == slot).filter(|&agent| self.agents[agent].is_alive)
    }

    fn local(&self, agent: usize) -> u64 {
        self.agents[agent].clock.at(self.now)
    }

    pub fn kill_agent(&mut self, agent: usize) {
        self.note(|| format!("agent {agent} dies"));
        self.agents[agent].is_alive = false;
        if let Some(session) = self.agents[agent].session.take() {
            self.break_stream(session.stream, 8 * SECOND);
        }
    }

    pub fn wake(&mut self, agent: usize, wake: Wake) {
        if !self.agents[agent].is_alive {
            return;
        }
        let of = |world: &Self, stream| world.agents[agent].session.as_ref().is_some_and(|one| one.stream == stream);
        match wake {
            Wake::Dial => self.dial(agent),
            Wake::NoWelcome(stream) => {
                if of(self, stream) && !self.agents[agent].session.as_ref().is_some_and(|session| session.is_welcome) {
                    self.agent_lost(agent, "no welcome in time");
                }
            }
            Wake::Beat(stream) => {
                if of(self, stream) {
                    self.beat_or_give_up(agent);
                }
            }
            Wake::Prepared(attempt) => self.prepared(agent, attempt),
            Wake::Load(attempt) => self.load_looks(agent, attempt),
            Wake::LeaveNow => self.say_goodbye(agent),
        }
    }

    fn dial(&mut self, agent: usize) {
        if self.agents[agent].session.is_some() {
            return;
        }
        let slot = self.agents[agent].slot;
        let generation = self.controller.as_ref().map(|controller| controller.generation);
        let stream = self.net.open(agent, slot, generation.unwrap_or(0));
        let hello_ns = self.local(agent);
        self.agents[agent].session =
            Some(Session { stream, hello_ns, is_welcome: false, burst: 0, unanswered: 0, arm: false, go: None });
        if generation.is_none() {
            self.net.lose(stream, Way::Up);
            return self.after(20 * MS, Event::Broke(stream, Way::Down));
        }
        let one = &self.agents[agent];
        let carried = one.run.as_ref().map(|run| (run.order.run_id.clone(), run.order.epoch));
        let preparing = one.preparing.as_ref().map(|(order, _)| (order.run_id.clone(), order.epoch));
        let refused = one.refusal.as_ref().map(|refusal| (refusal.run_id.clone(), refusal.epoch));
        let (run_id, run_epoch) = carried.or(preparing).or(refused).unwrap_or_default();
        let hello = proto::Hello {
            region: "azure/eastus".into(),
            slot: slot_name(slot),
            incarnation: one.incarnation.clone(),
            run_id,
            run_epoch,
            ..proto::Hello::default()
        };
        self.send_up(agent, Up::Hello(hello));
        self.after(WELCOME_WITHIN, Event::Agent(agent, Wake::NoWelcome(stream)));
    }

    fn send_up(&mut self, agent: usize, message: Up) {
        if let Some(stream) = self.agents[agent].stream() {
            self.send(stream, Way::Up, Packet::Up(Box::new(message)));
        }
    }

    pub fn agent_stream_ended(&mut self, agent: usize, stream: StreamId, why: &str) {
        if self.agents[agent].is_alive && self.agents[agent].stream() == Some(stream) {
            self.agent_lost(agent, why);
        }
    }

    /// The session is over; another follows after a pause.
    fn agent_lost(&mut self, agent: usize, why: &str) {
        self.note(|| format!("agent {agent}: session lost: {why}"));
        let Some(session) = self.agents[agent].session.take() else { return };
        // What was under way may still come, or not.
        if self.random.below(2) == 0 {
            self.net.lose(session.stream, Way::Up);
            let after = self.random.below(SECOND);
            self.after(after, Event::Broke(session.stream, Way::Up));
        } else {
            self.send(session.stream, Way::Up, Packet::End);
        }
        let pause = &mut self.agents[agent].pause_ns;
        if session.is_welcome {
            *pause = FIRST_PAUSE;
        }
        let wait = *pause / 2 + self.random.below(*pause);
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        self.after(wait, Event::Agent(agent, Wake::Dial));
    }

    fn end_agent(&mut self, agent: usize) {
        self.note(|| format!("agent {agent} ends"));
        self.agents[agent].run = None;
        self.kill_agent(agent);
    }

    pub fn agent_hears(&mut self, agent: usize, stream: StreamId, message: Down) {
        if !self.agents[agent].is_alive || self.agents[agent].stream() != Some(stream) {
            return;
        }
        if !matches!(message, Down::HeartbeatAnswer(_)) {
            self.note(|| format!("agent {agent} hears {}", words(&format!("{message:?}"))));
        }
        match message {
            Down::Welcome(welcome) => self.be_welcome(agent, welcome),
            Down::Refused(_) => return self.end_agent(agent),
            Down::HeartbeatAnswer(answer) => self.note_answer(agent, &answer),
            Down::Prepare(order) => self.prepare(agent, order),
            Down::Go(go) => self.go(agent, go),
            // Not simulated: no plan here redistributes.
            Down::Adopt(_) => {}
            Down::Ack(ack) => {
                if let Some(run) = self.agents[agent].run_named(&ack.run_id, ack.epoch) {
                    run.outgoing.acknowledge(ack.sequence, ack.finished);
                }
            }
            Down::Stop(stop) => self.agent_stops(agent, &stop),
            Down::Release(_) => {}
        }
        self.settle(agent);
    }

    fn be_welcome(&mut self, agent: usize, welcome: proto::Welcome) {
        let one = &mut self.agents[agent];
        if welcome.clock != one.clock_name {
            (one.estimate, one.clock_name) = (None, welcome.clock);
        }
        if !welcome.run_goes_on {
            (one.refusal, one.preparing, one.run) = (None, None, None);
        }
        let Some(session) = one.session.as_mut() else { return };
        (session.is_welcome, session.burst) = (true, CLOCK_EXCHANGES);
        if let Some(run) = &mut one.run {
            one.lease.welcomed(session.hello_ns);
            run.truth_lease.welcomed(session.hello_ns);
            run.outgoing.rewind(welcome.stored_sequence);
            session.arm = run.start_ns.is_none();
        }
        let stream = session.stream;
        self.after(0, Event::Agent(agent, Wake::Beat(stream)));
    }

    fn beat_or_give_up(&mut self, agent: usize) {
        let Some(session) = self.agents[agent].session.as_mut() else { return };
        if session.unanswered >= SILENT_HEARTBEATS {
            return self.agent_lost(agent, "heartbeats are not answered");
        }
        session.unanswered += 1;
        let stream = session.stream;
        self.beat(agent);
        self.after(HEARTBEAT, Event::Agent(agent, Wake::Beat(stream)));
    }

    fn beat(&mut self, agent: usize) {
        let run_id = self.agents[agent].run.as_ref().map(|run| run.order.run_id.clone()).unwrap_or_default();
        let t0_ns = self.local(agent);
        self.send_up(agent, Up::Heartbeat(proto::Heartbeat { t0_ns, run_id }));
    }

    fn note_answer(&mut self, agent: usize, answer: &proto::HeartbeatAnswer) {
        let t3_ns = self.local(agent);
        let one = &mut self.agents[agent];
        let exchange = Exchange { t0_ns: answer.t0_ns, t1_ns: answer.t1_ns, t2_ns: answer.t2_ns, t3_ns };
        match &mut one.estimate {
            None => one.estimate = Some(ClockEstimate::first(exchange)),
            Some(clock) => clock.observe(exchange),
        }
        one.lease.answered(answer.t0_ns, answer.may_run_for_ms);
        if let Some(run) = &mut one.run {
            run.truth_lease.answered(answer.t0_ns, answer.may_run_for_ms);
        }
        let Some(session) = one.session.as_mut() else { return };
        session.unanswered = 0;
        let (go, arm) = (session.go.take(), session.arm);
        let beats = session.burst > 0;
        session.burst = session.burst.saturating_sub(1);
        if let Some(go) = go {
            self.go(agent, go);
        }
        if arm {
            self.tell_armed(agent);
        }
        if beats {
            self.beat(agent);
        }
    }

    fn prepare(&mut self, agent: usize, order: proto::Prepare) {
        let one = &mut self.agents[agent];
        (one.refusal, one.run, one.estimate) = (None, None, None);
        one.attempts += 1;
        let attempt = one.attempts;
        one.preparing = Some((order, attempt));
        if let Some(session) = one.session.as_mut() {
            (session.arm, session.go, session.burst) = (false, None, CLOCK_EXCHANGES);
        }
        let takes = self.random.below(3 * SECOND);
        self.after(takes, Event::Agent(agent, Wake::Prepared(attempt)));
        self.beat(agent);
    }

    fn prepared(&mut self, agent: usize, attempt: u64) {
        let refuses = self.settings.refuses == Some(self.agents[agent].slot);
        let one = &mut self.agents[agent];
        let Some((order, _)) = one.preparing.take_if(|(_, of)| *of == attempt) else { return };
        if refuses {
            let (run_id, epoch, reason) = (order.run_id, order.epoch, "a secret is missing".to_owned());
            one.refusal = Some(proto::NotArmed { run_id, epoch, reason });
        } else {
            one.run = Some(AgentRun::begin(order, &slot_name(one.slot), attempt, one.lease));
            if let Some(session) = one.session.as_mut() {
                session.arm = true;
            }
            self.tell_armed(agent);
        }
        self.settle(agent);
    }

    fn tell_armed(&mut self, agent: usize) {
        let one = &mut self.agents[agent];
        let (Some(run), Some(clock)) = (&one.run, one.known_clock()) else { return };
        let Some(session) = one.session.as_mut().filter(|session| session.is_welcome) else { return };
        session.arm = false;
        let armed = proto::Armed {
            run_id: run.order.run_id.clone(),
            epoch: run.order.epoch,
            clock_offset_ns: clock.offset_ns,
            clock_bound_ns: clock.bound_ns,
            worst_rtt_ns: clock.worst_round_trip_ns,
            exchanges: clock.exchanges,
            warnings: Vec::new(),
        };
        self.send_up(agent, Up::Armed(armed));
    }

    fn go(&mut self, agent: usize, go: proto::Go) {
        let one = &mut self.agents[agent];
        let Some(clock) = one.known_clock() else {
            if let Some(session) = one.session.as_mut() {
                session.go = Some(go);
            }
            return;
        };
        let start_ns = clock.to_ours(go.start_at_ns);
        if let Some(run) = one.run_named(&go.run_id, go.epoch).filter(|run| run.start_ns.is_none()) {
            run.start_ns = Some(start_ns);
            if let Some(session) = one.session.as_mut() {
                session.arm = false;
            }
            self.begin_load(agent);
        }
    }

    fn agent_stops(&mut self, agent: usize, stop: &proto::Stop) {
        let one = &mut self.agents[agent];
        if one.preparing.take_if(|(order, _)| order.run_id == stop.run_id).is_some() {
            return;
        }
        let waits_for_clock = one.session.as_mut().is_some_and(|session| session.go.take().is_some());
        let Some(run) = one.run.as_mut().filter(|run| run.order.run_id == stop.run_id) else { return };
        if (run.start_ns.is_some() || waits_for_clock) && !stop.over {
            self.stop_load(agent, stop.now);
        } else {
            one.run = None;
        }
    }

    /// What the session's loop does after each of its steps: tell, forget, leave.
    pub fn settle(&mut self, agent: usize) {
        let one = &mut self.agents[agent];
        if one.session.as_ref().is_some_and(|session| session.is_welcome) {
            let mut said = Vec::new();
            if let Some(refusal) = one.refusal.take() {
                said.push(Up::NotArmed(refusal));
            }
            while let Some(telling) = one.run.as_mut().and_then(|run| run.outgoing.tell()) {
                said.push(match telling.expect("nothing is spooled here") {
                    Telling::Snapshot(snapshot) => Up::Snapshot(snapshot),
                    Telling::Finished(finished) => Up::Finished(finished),
                });
            }
            for message in said {
                self.send_up(agent, message);
            }
            let one = &mut self.agents[agent];
            if one.run.as_ref().is_some_and(|run| run.outgoing.is_over()) {
                one.run = None;
            }
            if one.is_leaving && one.run.as_ref().is_none_or(|run| run.outgoing.is_told()) {
                self.say_goodbye(agent);
            }
        }
    }

    pub fn begin_leaving(&mut self, agent: usize) {
        let drain = self.plan.drain.as_nanos() as u64;
        let one = &mut self.agents[agent];
        if std::mem::replace(&mut one.is_leaving, true) {
            return;
        }
        match &one.run {
            Some(run) if run.start_ns.is_some() => self.stop_load(agent, false),
            _ => one.run = None,
        }
        self.after(drain + LEAVE_GRACE, Event::Agent(agent, Wake::LeaveNow));
        self.settle(agent);
    }

    fn say_goodbye(&mut self, agent: usize) {
        self.send_up(agent, Up::Leaving(proto::Leaving { reason: "asked to leave".into() }));
        let one = &mut self.agents[agent];
        let slot = one.slot;
        (one.is_alive, one.run) = (false, None);
        if let Some(session) = one.session.take() {
            self.send(session.stream, Way::Up, Packet::End);
        }
        // Whoever told it to leave starts another.
        let after = self.random.below(5 * SECOND);
        self.after(after, Event::StartAgent(slot));
    }
}

/// The beginning of a long text.
pub fn words(text: &str) -> String {
    text.chars().take(150).collect()
}
