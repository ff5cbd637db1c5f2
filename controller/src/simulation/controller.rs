//! A controller process: its fleet and its agents' sessions, by the rules of
//! `fleet.rs` and `service/cluster.rs`, around the registry of production.

use super::driver::Driver;
use super::network::{Packet, StreamId, Way};
use super::store::{Ended, Store};
use super::world::{Clock, Duty, Event, MS, RUN_ID, SECOND, World};
use crate::fleet::{Input, Member, Options};
use crate::registry::{Introduction, NotJoined, Registry, SessionId};
use squall_proto::agent_message::Message as Up;
use squall_proto::controller_message::Message as Down;
use squall_proto::{HeartbeatAnswer, Refused, Stop, Welcome, refused};
use std::collections::{BTreeMap, VecDeque};

pub struct Live {
    pub inbox: VecDeque<Input>,
    /// By slot and epoch: the last snapshot that is stored.
    pub stored: BTreeMap<(String, u64), u64>,
}

pub struct Controller {
    pub generation: u64,
    pub clock: Clock,
    pub wall_off_ns: u64,
    pub paused_until: u64,
    pub options: Options,
    pub registry: Registry,
    pub links: BTreeMap<String, (SessionId, StreamId)>,
    sessions: BTreeMap<StreamId, (String, SessionId)>,
    pub live: Option<Live>,
    pub driver: Option<Driver>,
}

impl World {
    pub fn start_controller(&mut self, other_machine: bool) {
        if self.controller.is_some() {
            return;
        }
        self.generation += 1;
        let generation = self.generation;
        let before = self.store.drive.as_ref().map(|drive| drive.clock.clone());
        let clock = match before.and_then(|name| self.truth.controller_clocks.get(&name).cloned()) {
            Some(clock) if !other_machine => clock,
            _ => Clock::draw(format!("controller-{generation}"), &mut self.random),
        };
        self.truth.controller_clocks.insert(clock.name.clone(), clock.clone());
        // Wall clocks are about right, and behind each other at times; epochs begin at theirs.
        let wall_off_ns = self.random.below(2 * SECOND);
        let wall_ms = (1_000_000 * SECOND + self.now + wall_off_ns) / MS;
        self.note(|| format!("controller {generation} starts on {}", clock.name));
        self.store.owner = generation;
        self.controller = Some(Controller {
            generation,
            clock,
            wall_off_ns,
            paused_until: 0,
            options: Options { agents_keep_all: self.settings.keep_all, ..Options::default() },
            registry: Registry::new(wall_ms),
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            live: None,
            driver: None,
        });
        self.take_over();
        self.after(self.settings.silence_look_ns, Event::Controller(generation, Duty::Silence));
        self.after(100 * MS, Event::Controller(generation, Duty::Tick));
    }

    /// `silently`: its machine dies too, no stream says so.
    pub fn kill_controller(&mut self, silently: bool) {
        let Some(controller) = self.controller.take() else { return };
        self.note(|| format!("controller {} dies", controller.generation));
        for stream in controller.sessions.into_keys() {
            self.net.lose(stream, Way::Up);
            if silently || self.random.below(2) == 0 {
                self.net.lose(stream, Way::Down);
                if !silently {
                    let after = self.random.below(300 * MS);
                    self.after(after, Event::Broke(stream, Way::Down));
                }
            } else {
                // What it had sent still arrives.
                self.send(stream, Way::Down, Packet::End);
            }
        }
    }

    pub fn duty(&mut self, duty: Duty) {
        let Some(controller) = &self.controller else { return };
        let generation = controller.generation;
        match duty {
            Duty::Tick => {
                self.submit_when_ready();
                self.driver_ticks();
                self.after(100 * MS, Event::Controller(generation, Duty::Tick));
            }
            Duty::Silence => {
                self.drop_silent();
                self.after(self.settings.silence_look_ns, Event::Controller(generation, Duty::Silence));
            }
            Duty::Written => self.disk_has_written(),
        }
    }

    pub fn controller_local(&self) -> u64 {
        self.controller.as_ref().map_or(0, |controller| controller.clock.at(self.now))
    }

    pub fn controller_stream_ended(&mut self, stream: StreamId) {
        let Some(controller) = &mut self.controller else { return };
        let Some((slot, session)) = controller.sessions.remove(&stream) else { return };
        controller.registry.disconnect(&slot, session);
        if controller.links.get(&slot).is_some_and(|(own, _)| *own == session) {
            controller.links.remove(&slot);
        }
    }

    /// Ends a session from this side.
    fn close(&mut self, stream: StreamId) {
        self.send(stream, Way::Down, Packet::End);
        self.controller_stream_ended(stream);
    }

    pub fn controller_hears(&mut self, stream: StreamId, message: Up) {
        let now = self.controller_local();
        let Some(controller) = &mut self.controller else { return };
        let Some((slot, session)) = controller.sessions.get(&stream).cloned() else {
            if let Up::Hello(hello) = message {
                self.join(stream, &hello);
            }
            return;
        };
        let run_id = match &message {
            Up::Hello(_) => return self.close(stream),
            Up::Heartbeat(heartbeat) => {
                if !controller.registry.hear(&slot, session, now) {
                    return self.close(stream);
                }
                let run = controller.registry.get(&slot).and_then(|agent| agent.run.as_deref());
                let is_of_run = run.is_some_and(|run| heartbeat.run_id.is_empty() || heartbeat.run_id == run);
                let may_run_for_ms = if is_of_run { controller.options.lease.as_millis() as u64 } else { 0 };
                let answer = HeartbeatAnswer { t0_ns: heartbeat.t0_ns, t1_ns: now, t2_ns: now, may_run_for_ms };
                return self.send(stream, Way::Down, Packet::Down(Box::new(Down::HeartbeatAnswer(answer))));
            }
            Up::Adopted(adopted) => adopted.run_id.clone(),
            Up::Leaving(leaving) => {
                let left = controller.registry.leave(&slot, session);
                if let Some(agent) = left {
                    controller.links.remove(&slot);
                    let reason = format!("left the fleet: {}", leaving.reason);
                    if agent.run.is_some() {
                        self.tell_run(Input::AgentGone { slot, epoch: agent.epoch, reason });
                    }
                }
                return self.close(stream);
            }
            Up::Armed(armed) => armed.run_id.clone(),
            Up::NotArmed(refusal) => refusal.run_id.clone(),
            Up::Snapshot(snapshot) => snapshot.run_id.clone(),
            Up::Finished(finished) => finished.run_id.clone(),
        };
        if !controller.registry.hear(&slot, session, now) {
            return self.close(stream);
        }
        let Some((own_epoch, run)) = controller.registry.get(&slot).map(|agent| (agent.epoch, agent.run.clone()))
        else {
            return;
        };
        let epoch = match &message {
            Up::Armed(armed) => armed.epoch,
            Up::NotArmed(refusal) => refusal.epoch,
            Up::Snapshot(snapshot) => snapshot.epoch,
            Up::Finished(finished) => finished.epoch,
            _ => 0,
        };
        let is_live = controller.live.is_some() && run.as_deref() == Some(run_id.as_str());
        if is_live && epoch == own_epoch {
            self.tell_run(Input::FromAgent { slot, epoch, message: Box::new(message) });
        } else if !is_live && matches!(message, Up::Snapshot(_) | Up::Finished(_)) {
            let stop = Stop { run_id, now: true, reason: "the run is over".into(), over: true };
            self.send(stream, Way::Down, Packet::Down(Box::new(Down::Stop(stop))));
        }
    }

    fn join(&mut self, stream: StreamId, hello: &squall_proto::Hello) {
        let now = self.controller_local();
        let Some(controller) = &mut self.controller else { return };
        let introduction = Introduction {
            region: hello.region.clone(),
            slot: hello.slot.clone(),
            incarnation: hello.incarnation.clone(),
            version: hello.version.clone(),
            workers: 1,
        };
        let (joined, session) = match controller.registry.join(&introduction, now) {
            Ok(joined) => joined,
            Err(refusal) => {
                assert!(matches!(refusal, NotJoined::Superseded { .. }), "{refusal}");
                return self.refuse(stream);
            }
        };
        let live = controller.live.as_ref().filter(|_| joined.run.is_some());
        let carries = live.is_some() && joined.carries(&hello.run_id, hello.run_epoch);
        let stored = live.map(|run| run.stored.get(&(joined.slot.clone(), joined.epoch)).copied().unwrap_or(0));
        let (is_live, stored) = (live.is_some(), stored.filter(|_| carries));
        let welcome = Welcome {
            epoch: joined.epoch,
            slot: joined.slot.clone(),
            heartbeat_ms: controller.options.heartbeat.as_millis() as u32,
            controller_version: String::new(),
            run_goes_on: stored.is_some(),
            stored_sequence: stored.unwrap_or(0),
            clock: controller.clock.name.clone(),
        };
        controller.sessions.insert(stream, (joined.slot.clone(), session));
        let old = controller.links.insert(joined.slot.clone(), (session, stream));
        self.send(stream, Way::Down, Packet::Down(Box::new(Down::Welcome(welcome))));
        if let (Some((_, old)), Some(_)) = (old, joined.replaces) {
            match joined.is_back {
                true => self.close(old),
                false => self.refuse(old),
            }
        }
        if let Some((_, epoch)) = joined.bereaved_run {
            let reason = "its process was replaced by a newer one".to_owned();
            self.tell_run(Input::AgentGone { slot: joined.slot.clone(), epoch, reason });
        }
        if is_live {
            self.tell_run(Input::AgentBack { slot: joined.slot, epoch: joined.epoch, carries });
        }
    }

    fn refuse(&mut self, stream: StreamId) {
        let superseded = Refused { code: refused::Code::Superseded.into(), ..Refused::default() };
        self.send(stream, Way::Down, Packet::Down(Box::new(Down::Refused(superseded))));
        self.close(stream);
    }

    fn drop_silent(&mut self) {
        let now = self.controller_local();
        let Some(controller) = &mut self.controller else { return };
        let limit = controller.options.silent_after;
        let silent = controller.registry.drop_silent(now, limit.as_nanos() as u64);
        for agent in silent {
            self.note(|| format!("{} is silent", agent.slot));
            let link = self.controller.as_mut().and_then(|controller| controller.links.remove(&agent.slot));
            if let Some((_, stream)) = link {
                self.send(stream, Way::Down, Packet::End);
            }
            self.may_be_taken_for_lost(agent.epoch);
            if agent.run.is_some() {
                let reason = format!("no heartbeat for {} s", limit.as_secs());
                self.tell_run(Input::AgentSilent { slot: agent.slot, epoch: agent.epoch, reason });
            }
        }
    }

    /// Hands the run's driver something.
    pub fn tell_run(&mut self, input: Input) {
        let Some(live) = self.controller.as_mut().and_then(|controller| controller.live.as_mut()) else { return };
        live.inbox.push_back(input);
        self.drive_on();
    }

    /// To the incarnation with this epoch, if it is there.
    pub fn send_down(&mut self, slot: &str, epoch: u64, message: Down) {
        let Some(controller) = &self.controller else { return };
        let is_there = controller.registry.get(slot).is_some_and(|agent| agent.epoch == epoch);
        if let Some(&(_, stream)) = controller.links.get(slot).filter(|_| is_there) {
            self.send(stream, Way::Down, Packet::Down(Box::new(message)));
        }
    }

    /// An operator submits the run once all agents are there, and again if the
    /// controller went away before it was written down.
    fn submit_when_ready(&mut self) {
        let Some(controller) = &mut self.controller else { return };
        if controller.live.is_some() || self.store.members.is_some() {
            return;
        }
        let there = controller.registry.agents().filter(|agent| agent.session.is_some() && agent.run.is_none());
        let members: Vec<Member> = there.map(Member::of).collect();
        if members.len() < self.settings.agents {
            return;
        }
        for member in &members {
            controller.registry.assign(&member.slot, member.epoch, Some(RUN_ID));
        }
        controller.live = Some(Live { inbox: VecDeque::new(), stored: BTreeMap::new() });
        self.begin_run(members);
    }

    /// As `recovery::take_over`.
    fn take_over(&mut self) {
        let Store { members: Some(members), drive, ended: None, .. } = &self.store else { return };
        if drive.is_none() {
            let generation = self.generation;
            let ended = super::store::Write::Ended(Ended::Interrupted);
            return self.store.write(generation, ended).expect("it has just opened the store");
        }
        let members = members.clone();
        let now = self.controller_local();
        let Some(controller) = &mut self.controller else { return };
        for member in &members {
            controller.registry.expect(member.expected(RUN_ID, now));
        }
        controller.live = Some(Live { inbox: VecDeque::new(), stored: BTreeMap::new() });
        self.resume_run(members);
    }
}
