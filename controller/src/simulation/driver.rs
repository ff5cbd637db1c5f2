//! The task that owns the run, by the rules of `driver.rs` and `recovery.rs`,
//! around the run, the merge and the verdict of production. Everything it does
//! to the world is an effect in a queue; one that writes holds the rest up for
//! as long as the disk takes, and a process that dies takes the rest with it.

use super::faults::When;
use super::store::{Ended, StoredDrive, Write};
use super::world::{Duty, Event, MS, RUN_ID, World};
use crate::conclusion::{self, Material, Told};
use crate::fleet::{Input, Member};
use crate::identity::transport::Transport;
use crate::run::{self, Command, Limits, Outcome, Place, Run, Stage, Terms};
use crate::store::{EmbeddedStore, SnapshotKey};
use squall_common::interval::IntervalSnapshot;
use squall_common::merge::{Accepted, AgentIndex, RunMerge};
use squall_common::split::Share;
use squall_common::wire;
use squall_proto::agent_message::Message as Up;
use squall_proto::controller_message::Message as Down;
use squall_proto::{Ack, Go, Prepare, Snapshot, Stop};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

const COME_BACK_WITHIN: Duration = Duration::from_secs(15);
const BATCH: usize = 256;

pub enum Effect {
    Write(Write),
    /// What was decided in one step ends here: nothing of it is done once its state cannot be written.
    StepEnds,
    /// What the snapshots before it say, once they are stored.
    Merge(Merging),
    Send(Place, Down),
    NoteStored(Place, u64),
    Dismiss(Place),
    Conclude(Outcome),
    /// The result is stored.
    Retire,
}

/// Stored snapshots, and whom they came from.
pub struct Merging {
    fresh: Vec<(Place, u64, IntervalSnapshot)>,
    heard: Vec<Place>,
}

/// Of what was taken from the inbox at once, one part after the other.
enum Work {
    Snapshots(Vec<(Place, Snapshot)>),
    Other(Place, Input),
}

pub struct Driver {
    members: Vec<Member>,
    shares: Vec<Share>,
    keep_all: bool,
    run: Run,
    pub merge: RunMerge,
    told: Vec<Told>,
    pub outcome: Option<Outcome>,
    is_concluded: bool,
    work: VecDeque<Work>,
    effects: VecDeque<Effect>,
    is_writing: bool,
}

impl World {
    fn new_driver(&self, members: Vec<Member>, run: Run) -> Driver {
        let agents: Vec<_> = members.iter().map(|member| (member.slot.clone(), member.region.clone())).collect();
        let weights = vec![1u32; members.len()];
        let share = |place| Share::new(weights.clone(), place).expect("equal weights can be split");
        Driver {
            merge: RunMerge::new(self.plan.clone(), &agents),
            shares: (0..members.len()).map(share).collect(),
            told: vec![Told::default(); members.len()],
            keep_all: self.settings.keep_all,
            members,
            run,
            outcome: None,
            is_concluded: false,
            work: VecDeque::new(),
            effects: VecDeque::new(),
            is_writing: false,
        }
    }

    pub fn begin_run(&mut self, members: Vec<Member>) {
        let plan = &self.plan;
        let terms = Terms {
            offered: plan.offered_for(),
            drain: plan.drain,
            on_agent_loss: plan.on_agent_loss,
            min_agents: plan.min_agents,
        };
        let (run, commands) = Run::begin(self.controller_local(), members.len(), terms, Limits::default());
        let mut driver = self.new_driver(members.clone(), run);
        driver.effects.push_back(Effect::Write(Write::Create(members)));
        driver.save(self);
        driver.perform(commands);
        driver.effects.push_back(Effect::StepEnds);
        self.put_driver(driver);
    }

    pub fn resume_run(&mut self, members: Vec<Member>) {
        let Some(drive) = self.store.drive.clone() else { return };
        let now = self.controller_local();
        let Some(controller) = &self.controller else { return };
        let shift_ns = if drive.clock == controller.clock.name {
            0
        } else {
            let wall_ns = self.now + controller.wall_off_ns;
            let ahead = |monotonic: u64, wall: u64| i128::from(monotonic) - i128::from(wall);
            (ahead(now, wall_ns) - ahead(drive.monotonic_ns, drive.wall_ns)) as i64
        };
        let stored = serde_json::to_vec(&drive.run).expect("a run can be written");
        let run: Run = serde_json::from_slice(&stored).expect("and read");
        let mut driver = self.new_driver(members, run.resume(now, shift_ns, COME_BACK_WITHIN));
        driver.told = drive.told;
        for (key, snapshot) in &self.store.snapshots {
            let place = driver.members.iter().position(|member| member.slot == key.slot && member.epoch == key.epoch);
            let place = place.expect("snapshots of members only");
            let snapshot = wire::read_snapshot(snapshot).expect("what is stored can be read");
            let accepted = driver.merge.accept(AgentIndex(place), key.sequence, &snapshot);
            assert_eq!(accepted, Accepted::Merged, "stored snapshot {key:?} does not follow the one before");
        }
        for (place, agent) in driver.merge.agents().iter().enumerate() {
            driver.run.recount(place, agent.last_sequence, agent.last_interval.map_or(0, |last| last + 1));
            driver.effects.push_back(Effect::NoteStored(place, agent.last_sequence));
        }
        self.note(|| format!("goes on with the run, {}", driver.run.stage().name()));
        driver.go_on(self);
        self.put_driver(driver);
    }

    fn put_driver(&mut self, driver: Driver) {
        if let Some(controller) = &mut self.controller {
            controller.driver = Some(driver);
        }
        self.drive_on();
    }

    fn take_driver(&mut self) -> Option<Driver> {
        self.controller.as_mut()?.driver.take()
    }

    pub fn driver_ticks(&mut self) {
        let Some(mut driver) = self.take_driver() else { return };
        // A driver that waits for the disk sees no tick.
        if driver.effects.is_empty() && driver.work.is_empty() && driver.outcome.is_none() {
            driver.step(self, run::Event::Tick);
        }
        self.put_driver(driver);
    }

    pub fn disk_has_written(&mut self) {
        let Some(mut driver) = self.take_driver() else { return };
        driver.is_writing = false;
        if let Some(Effect::Write(write)) = driver.effects.pop_front() {
            if let Write::Ended(_) = write {
                self.note(|| format!("the result is stored: {:?}", driver.outcome));
            }
            let generation = self.generation;
            if self.full_disk_until > self.now {
                self.store.fails_for = Some(generation);
            }
            if self.store.fails_for == Some(generation) {
                self.note(|| format!("the disk does not take the {}", write.name()));
                return self.could_not_write(driver, &write);
            }
            if let Err(broken) = self.store.write(generation, write) {
                panic!("{broken}");
            }
        }
        self.put_driver(driver);
    }

    /// What `driver.rs` does where the store gives an error.
    fn could_not_write(&mut self, mut driver: Driver, write: &Write) {
        match write {
            // The operator is told that there is no run, and tries again.
            Write::Create(_) => {
                let Some(controller) = &mut self.controller else { return };
                for member in &driver.members {
                    controller.registry.assign(&member.slot, member.epoch, None);
                }
                controller.live = None;
                return;
            }
            Write::Drive(_) => {
                while !matches!(driver.effects.pop_front(), None | Some(Effect::StepEnds)) {}
                driver.fail_unwritten(self);
            }
            Write::Snapshots(_) => {
                assert!(matches!(driver.effects.pop_front(), Some(Effect::Merge(_))), "nothing else waits for them");
                driver.step(self, run::Event::Failed { reason: "snapshots cannot be stored".to_owned() });
            }
            // Said to the operator all the same: what follows goes on.
            Write::Status | Write::Ended(_) => {}
        }
        self.put_driver(driver);
    }

    /// Performs effects until one has to wait; then takes what came meanwhile.
    pub fn drive_on(&mut self) {
        let Some(mut driver) = self.take_driver() else { return };
        while !driver.is_writing {
            match driver.effects.pop_front() {
                Some(Effect::Write(write)) => {
                    let strikes = |when: When| when == When::InWrite || self.store.hears_last_word(&write);
                    let kill = self.kill_in_write.take_if(|(when, _)| strikes(*when));
                    driver.effects.push_front(Effect::Write(write));
                    driver.is_writing = true;
                    let slow = if self.slow_disk_until > self.now { 400 * MS } else { self.settings.disk_ns };
                    let takes = self.random.below(slow + 1);
                    if let Some((_, kill)) = kill {
                        self.after(takes, Event::Fault(kill));
                    }
                    self.after(takes, Event::Controller(self.generation, Duty::Written));
                }
                Some(Effect::StepEnds) => {}
                Some(Effect::Conclude(outcome)) => driver.outcome = Some(outcome),
                Some(Effect::Merge(merging)) => driver.merge(self, merging),
                Some(effect) => self.perform_effect(&driver, effect),
                None if !driver.work.is_empty() => driver.work_on(self),
                None if driver.outcome.is_some() => {
                    if driver.is_concluded {
                        break;
                    }
                    driver.conclude(self);
                }
                None => {
                    let Some(live) = self.controller.as_mut().and_then(|controller| controller.live.as_mut()) else {
                        break;
                    };
                    let some = live.inbox.len().min(BATCH);
                    if some == 0 {
                        break;
                    }
                    let batch = live.inbox.drain(..some).collect();
                    driver.take(batch);
                }
            }
        }
        if let Some(controller) = &mut self.controller {
            controller.driver = Some(driver);
        }
    }

    fn perform_effect(&mut self, driver: &Driver, effect: Effect) {
        let member = |place: Place| driver.members[place].clone();
        match effect {
            Effect::Write(_) | Effect::StepEnds | Effect::Merge(_) | Effect::Conclude(_) => {}
            Effect::Send(place, message) => {
                let member = member(place);
                self.send_down(&member.slot, member.epoch, message);
            }
            Effect::NoteStored(place, sequence) => {
                let member = member(place);
                if let Some(live) = self.controller.as_mut().and_then(|controller| controller.live.as_mut()) {
                    live.stored.insert((member.slot, member.epoch), sequence);
                }
            }
            Effect::Dismiss(place) => {
                let member = member(place);
                if let Some(controller) = &mut self.controller {
                    controller.registry.assign(&member.slot, member.epoch, None);
                }
            }
            Effect::Retire => {
                if let Some(controller) = &mut self.controller {
                    for member in &driver.members {
                        controller.registry.assign(&member.slot, member.epoch, None);
                    }
                    controller.live = None;
                }
                self.truth.is_told = true;
            }
        }
    }
}

impl Driver {
    fn save(&mut self, world: &World) {
        let Some(controller) = &world.controller else { return };
        self.effects.push_back(Effect::Write(Write::Drive(Box::new(StoredDrive {
            run: self.run.clone(),
            told: self.told.clone(),
            clock: controller.clock.name.clone(),
            monotonic_ns: controller.clock.at(world.now),
            wall_ns: world.now + controller.wall_off_ns,
        }))));
    }

    /// What `driver::resume` does once the stored run is read.
    fn go_on(&mut self, world: &World) {
        self.outcome = self.run.outcome();
        self.step(world, run::Event::Tick);
    }

    fn step(&mut self, world: &World, event: run::Event) {
        if event != run::Event::Tick {
            world.note(|| format!("run: {}", super::agent::words(&format!("{event:?}"))));
        }
        let (run, commands) = self.run.clone().step(world.controller_local(), event);
        self.run = run;
        if !commands.is_empty() {
            self.save(world);
        }
        self.perform(commands);
        self.effects.push_back(Effect::StepEnds);
    }

    /// The run's state cannot be written: all that is still said is the end of it.
    fn fail_unwritten(&mut self, world: &World) {
        let failed = run::Event::Failed { reason: "its state cannot be stored".to_owned() };
        let (run, commands) = self.run.clone().step(world.controller_local(), failed);
        self.run = run;
        let later = std::mem::take(&mut self.effects);
        self.perform(commands);
        self.effects.extend(later);
        if self.outcome.is_none() {
            self.outcome = self.run.outcome();
        }
    }

    fn perform(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Enter(stage) => {
                    if stage < Stage::Done {
                        self.effects.push_back(Effect::Write(Write::Status));
                    }
                }
                Command::Dismiss { agent } => {
                    self.tell_over(agent);
                    self.effects.push_back(Effect::Dismiss(agent));
                }
                // Not simulated: no plan here redistributes.
                Command::TakeOver { .. } => {}
                Command::Conclude(outcome) => self.effects.push_back(Effect::Conclude(outcome)),
                Command::Prepare { agent } => {
                    let prepare = Prepare {
                        run_id: RUN_ID.to_owned(),
                        epoch: self.members[agent].epoch,
                        shares: vec![wire::write_share(&self.shares[agent])],
                        keep_all: self.keep_all,
                        ..Prepare::default()
                    };
                    self.effects.push_back(Effect::Send(agent, Down::Prepare(prepare)));
                }
                Command::Go { agent, start_at_ns } => {
                    let epoch = self.members[agent].epoch;
                    let go = Go { run_id: RUN_ID.to_owned(), epoch, start_at_ns, from_ns: 0 };
                    self.effects.push_back(Effect::Send(agent, Down::Go(go)));
                }
                Command::Stop { agent, now, reason } => {
                    let stop = Stop { run_id: RUN_ID.to_owned(), now, reason, over: false };
                    self.effects.push_back(Effect::Send(agent, Down::Stop(stop)));
                }
            }
        }
    }

    fn tell_over(&mut self, place: Place) {
        let stop = Stop { run_id: RUN_ID.to_owned(), now: true, reason: "over".to_owned(), over: true };
        self.effects.push_back(Effect::Send(place, Down::Stop(stop)));
    }

    fn place(&self, slot: &str, epoch: u64) -> Option<Place> {
        let place = self.members.iter().position(|member| member.slot == slot && member.epoch == epoch)?;
        self.run.is_here(place).then_some(place)
    }

    fn take(&mut self, batch: Vec<Input>) {
        let mut snapshots = Vec::new();
        let mut others = Vec::new();
        for input in batch {
            let place = match &input {
                Input::FromAgent { slot, epoch, .. }
                | Input::AgentGone { slot, epoch, .. }
                | Input::AgentSilent { slot, epoch, .. }
                | Input::AgentBack { slot, epoch, .. } => {
                    let Some(place) = self.place(slot, *epoch) else { continue };
                    place
                }
                Input::StopRequested { .. } => 0,
            };
            match input {
                Input::FromAgent { message, .. } if matches!(*message, Up::Snapshot(_)) => {
                    if let Up::Snapshot(snapshot) = *message {
                        snapshots.push((place, snapshot));
                    }
                }
                other => others.push((place, other)),
            }
        }
        self.work.push_back(Work::Snapshots(snapshots));
        self.work.extend(others.into_iter().map(|(place, input)| Work::Other(place, input)));
    }

    /// The next part, once all that the one before asked for is done.
    fn work_on(&mut self, world: &World) {
        match self.work.pop_front() {
            None => {}
            Some(Work::Snapshots(snapshots)) => self.take_snapshots(snapshots),
            Some(Work::Other(place, input)) => match input {
                Input::FromAgent { message, .. } => self.take_message(world, place, *message),
                Input::AgentGone { reason, .. } => self.lose(world, place, reason, true),
                Input::AgentSilent { reason, .. } => self.lose(world, place, reason, false),
                Input::AgentBack { carries, .. } => self.step(world, run::Event::Back { agent: place, carries }),
                Input::StopRequested { now, reason } => {
                    self.step(world, run::Event::StopRequested { now, reason });
                }
            },
        }
    }

    fn lose(&mut self, world: &World, place: Place, reason: String, is_final: bool) {
        if self.run.is_awaited(place) {
            self.told[place].lost = Some(reason.clone());
        }
        self.step(
            world,
            match is_final {
                true => run::Event::Gone { agent: place, reason },
                false => run::Event::Silent { agent: place, reason },
            },
        );
    }

    fn take_message(&mut self, world: &World, place: Place, message: Up) {
        match message {
            Up::Armed(armed) => {
                let worst_rtt_ns = armed.worst_rtt_ns;
                self.told[place].armed = Some(armed);
                self.step(world, run::Event::Armed { agent: place, worst_rtt_ns });
            }
            Up::NotArmed(refusal) => {
                let reason = refusal.reason;
                self.told[place].lost = Some(format!("refused the plan: {reason}"));
                self.step(world, run::Event::NotArmed { agent: place, reason });
            }
            Up::Finished(finished) => {
                let (last_sequence, ended_by) = (finished.last_sequence, finished.ended_by.clone());
                self.told[place].finished = Some(finished);
                self.told[place].lost = None;
                let event = run::Event::Finished { agent: place, last_sequence, ended_by };
                world.note(|| format!("run: {event:?}"));
                let (run, commands) = self.run.clone().step(world.controller_local(), event);
                self.run = run;
                self.save(world);
                self.acknowledge(place);
                self.perform(commands);
                self.effects.push_back(Effect::StepEnds);
            }
            Up::Hello(_) | Up::Heartbeat(_) | Up::Leaving(_) | Up::Snapshot(_) | Up::Adopted(_) => {}
        }
    }

    fn take_snapshots(&mut self, snapshots: Vec<(Place, Snapshot)>) {
        let mut next: Vec<u64> = self.merge.agents().iter().map(|agent| agent.last_sequence + 1).collect();
        let (mut fresh, mut rows, mut heard) = (Vec::new(), Vec::new(), Vec::new());
        for (place, snapshot) in snapshots {
            heard.push(place);
            if snapshot.sequence != next[place] {
                continue;
            }
            next[place] += 1;
            let key = SnapshotKey {
                first_interval: snapshot.first_interval,
                slot: self.members[place].slot.clone(),
                epoch: self.members[place].epoch,
                sequence: snapshot.sequence,
            };
            fresh.push((place, snapshot.sequence, wire::read_snapshot(&snapshot).expect("an agent's own snapshot")));
            rows.push((key, snapshot));
        }
        if !rows.is_empty() {
            self.effects.push_back(Effect::Write(Write::Snapshots(rows)));
        }
        self.effects.push_back(Effect::Merge(Merging { fresh, heard }));
    }

    fn merge(&mut self, world: &World, Merging { fresh, mut heard }: Merging) {
        for (place, sequence, snapshot) in fresh {
            if self.merge.accept(AgentIndex(place), sequence, &snapshot) == Accepted::Merged {
                let last_interval = snapshot.last_interval;
                self.step(world, run::Event::Merged { agent: place, sequence, last_interval });
            }
        }
        heard.sort_unstable();
        heard.dedup();
        for place in heard {
            self.acknowledge(place);
        }
    }

    fn acknowledge(&mut self, place: Place) {
        let sequence = self.merge.agents()[place].last_sequence;
        let finished = self.told[place].finished.is_some();
        self.effects.push_back(Effect::NoteStored(place, sequence));
        if sequence > 0 || finished {
            let epoch = self.members[place].epoch;
            let ack = Ack { run_id: RUN_ID.to_owned(), epoch, sequence, finished };
            self.effects.push_back(Effect::Send(place, Down::Ack(ack)));
        }
    }

    fn conclude(&mut self, world: &mut World) {
        self.is_concluded = true;
        let concluded_ns = world.controller_local();
        let outcome = self.outcome.clone().unwrap_or_default();
        let material = Material {
            run_id: RUN_ID.to_owned(),
            started_at: SystemTime::UNIX_EPOCH,
            concluded_ns,
            load_ended_ns: concluded_ns,
            resolved_yaml: String::new(),
            warnings: Vec::new(),
            members: self.members.clone(),
            told: self.told.clone(),
            merge: self.merge.clone(),
            outcome: outcome.clone(),
            transport: Transport::Loopback,
        };
        thread_local! {
            // Asked only for plans with SLOs.
            static EMPTY: EmbeddedStore = EmbeddedStore::in_memory().expect("memory takes a store");
        }
        let record = EMPTY.with(|store| conclusion::record(material, store));
        world.note(|| format!("verdict {:?}: {:?}", record.verdict, record.reasons));
        world.check_result(&self.members, &self.merge, &outcome, &record);
        self.effects.push_back(Effect::Write(Write::Ended(Ended::Concluded)));
        (0..self.members.len()).for_each(|place| self.tell_over(place));
        self.effects.push_back(Effect::Retire);
    }
}
