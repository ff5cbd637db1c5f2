//! Virtual time, and everything that stands in it.

use super::agent::Agent;
use super::checks::Truth;
use super::controller::Controller;
use super::faults::{self, Fault, When};
use super::network::{Link, Network, Packet, StreamId, Way};
use super::store::Store;
use squall_common::plan::{Arrivals, LoadModel, OnAgentLoss, Phase, Plan};
use squall_common::random::Random;
use squall_proto::PlanBundle;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
pub const RUN_ID: &str = "01SIMULATED0000000000000000";

/// One machine's monotonic clock: its own zero, its own pace.
#[derive(Clone, Debug)]
pub struct Clock {
    pub name: String,
    pub base_ns: u64,
    /// Parts per billion that it is too fast.
    pub ppb: i64,
}

impl Clock {
    pub fn draw(name: String, random: &mut Random) -> Self {
        // Some are as quartz is; one that is being set to rights by its time service is off by far more.
        let most = if random.below(2) == 0 { 10_000_000 } else { 100_000 };
        Self { name, base_ns: random.below(1_000_000) * SECOND, ppb: random.between(-most, most) }
    }

    pub fn at(&self, now: u64) -> u64 {
        let drift = i128::from(now) * i128::from(self.ppb) / 1_000_000_000;
        self.base_ns + (i128::from(now) + drift) as u64
    }
}

#[derive(Debug)]
pub enum Event {
    /// The next packet of a stream is due.
    Arrive(StreamId, Way),
    /// One end of a stream notices that it broke.
    Broke(StreamId, Way),
    Agent(usize, Wake),
    /// Of the controller process of this generation.
    Controller(u64, Duty),
    StartController {
        other_machine: bool,
    },
    StartAgent(usize),
    Fault(Fault),
}

/// What an agent process wakes up for.
#[derive(Clone, Copy, Debug)]
pub enum Wake {
    Dial,
    NoWelcome(StreamId),
    Beat(StreamId),
    /// The plan of this attempt is ready.
    Prepared(u64),
    /// Its load looks at the time.
    Load(u64),
    LeaveNow,
}

#[derive(Clone, Copy, Debug)]
pub enum Duty {
    Tick,
    Silence,
    /// The disk has taken what was written.
    Written,
}

/// What the seed says of this world.
pub struct Settings {
    /// Nothing happens that a run must not outlive whole.
    pub gentle: bool,
    pub agents: usize,
    pub keep_all: bool,
    pub disk_ns: u64,
    /// How often the controller looks for silent agents; seldom hides those that it takes for lost too soon.
    pub silence_look_ns: u64,
    /// When the last fault is over.
    pub faults_end: u64,
    /// Preparing fails on this slot.
    pub refuses: Option<usize>,
}

pub struct World {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub random: Random,
    pub settings: Settings,
    pub plan: Arc<Plan>,
    pub net: Network,
    /// Every process there ever was.
    pub agents: Vec<Agent>,
    pub controller: Option<Controller>,
    pub generation: u64,
    pub store: Store,
    pub slow_disk_until: u64,
    pub full_disk_until: u64,
    /// What befalls the controller while it next writes.
    pub kill_in_write: Option<(When, Fault)>,
    pub truth: Truth,
    pub is_told: bool,
}

fn plan(random: &mut Random, gentle: bool) -> Plan {
    let hold = if gentle { 14 + random.below(12) } else { 2 + random.below(14) };
    let text = format!(
        "url: http://127.0.0.1:1/\nrate: {}/s\nhold_for: {hold}s\ndrain: {}s\n",
        1 + random.below(12),
        1 + random.below(5)
    );
    let bundle = PlanBundle { plan_name: "plan.yaml".into(), plan_text: text, ..PlanBundle::default() };
    let mut plan = crate::plan_source::load(&bundle).expect("the simulated plan is one").plan;
    plan.seed = random.next_u64();
    plan.on_agent_loss = [OnAgentLoss::Fail, OnAgentLoss::Continue][random.below(2) as usize];
    if let LoadModel::Open { arrivals, .. } = &mut plan.loads[0].model
        && random.below(3) == 0
    {
        *arrivals = Arrivals::Poisson;
    }
    plan
}

impl World {
    pub fn new(seed: u64, is_told: bool) -> Self {
        let mut random = Random::at(seed, &[0x51]);
        let gentle = random.below(3) == 0;
        let plan = plan(&mut random, gentle);
        let agents = 1 + random.below(4) as usize;
        let delays = [MS / 10, 5 * MS, 80 * MS, 300 * MS, if gentle { 30 * MS } else { 1_200 * MS }];
        let delay = |random: &mut Random| delays[random.below(5) as usize];
        let links = (0..agents).map(|_| {
            let delay_ns = delay(&mut random);
            Link::new(delay_ns, [0, delay_ns, 3 * delay_ns][random.below(3) as usize].min(900 * MS))
        });
        let links = links.collect();
        let settings = Settings {
            gentle,
            agents,
            keep_all: random.below(3) == 0,
            disk_ns: [MS / 20, 2 * MS, 30 * MS][random.below(3) as usize],
            silence_look_ns: [10 * MS, 250 * MS][random.below(2) as usize],
            faults_end: 0,
            refuses: (!gentle && random.below(40) == 0).then(|| random.below(agents as u64) as usize),
        };
        let duplicates = [0, 0, 10, 100][random.below(4) as usize];
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            plan: Arc::new(plan),
            settings,
            net: Network { streams: Vec::new(), links, duplicates },
            agents: Vec::new(),
            controller: None,
            generation: 0,
            store: Store::default(),
            slow_disk_until: 0,
            full_disk_until: 0,
            kill_in_write: None,
            truth: Truth::default(),
            is_told,
            random,
        };
        world.at(0, Event::StartController { other_machine: false });
        for slot in 0..agents {
            let at = world.random.below(800 * MS);
            world.at(at, Event::StartAgent(slot));
        }
        faults::draw(&mut world);
        world
    }

    /// Runs until `end`, or until nothing is left to happen before it.
    pub fn run_until(&mut self, end: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        while !done(self) {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else { return false };
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(stream, way) => self.arrive(stream, way),
            Event::Broke(stream, Way::Down) => {
                let agent = self.net.streams[stream].agent;
                self.agent_stream_ended(agent, stream, "the connection broke");
            }
            Event::Broke(stream, Way::Up) => self.controller_stream_ended(stream),
            Event::Agent(agent, wake) => {
                let paused = self.agents[agent].paused_until;
                if paused > self.now {
                    return self.at(paused, Event::Agent(agent, wake));
                }
                self.wake(agent, wake);
            }
            Event::Controller(generation, duty) => {
                let Some(controller) = self.controller.as_ref().filter(|one| one.generation == generation) else {
                    return;
                };
                let paused = controller.paused_until;
                if paused > self.now {
                    return self.at(paused, Event::Controller(generation, duty));
                }
                self.duty(duty);
            }
            Event::StartController { other_machine } => self.start_controller(other_machine),
            Event::StartAgent(slot) => self.start_agent(slot),
            Event::Fault(fault) => faults::strike(self, fault),
        }
    }

    fn arrive(&mut self, stream: StreamId, way: Way) {
        let &super::network::Stream { agent, generation, slot, .. } = &self.net.streams[stream];
        let mut held_until = self.net.links[slot].cut_until(way);
        held_until = held_until.max(match way {
            Way::Down => self.agents[agent].paused_until,
            Way::Up => self.controller.as_ref().map_or(0, |controller| controller.paused_until),
        });
        if held_until > self.now {
            // Sent again by the transport some time after the way is free.
            let again = held_until + self.random.below(200 * MS);
            return self.at(again, Event::Arrive(stream, way));
        }
        let Some(packet) = self.net.take(stream, way) else { return };
        match (way, packet) {
            (Way::Down, Packet::Down(message)) => self.agent_hears(agent, stream, *message),
            (Way::Down, _) => self.agent_stream_ended(agent, stream, "the controller closed the session"),
            (Way::Up, packet) => {
                if self.controller.as_ref().is_some_and(|controller| controller.generation == generation) {
                    match packet {
                        Packet::Up(message) => self.controller_hears(stream, *message),
                        _ => self.controller_stream_ended(stream),
                    }
                }
            }
        }
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((at.max(self.now), self.next_event), event);
    }

    pub fn after(&mut self, ns: u64, event: Event) {
        self.at(self.now + ns, event);
    }

    pub fn send(&mut self, stream: StreamId, way: Way, packet: Packet) {
        for at in self.net.send(self.now, stream, way, packet, &mut self.random) {
            self.at(at, Event::Arrive(stream, way));
        }
    }

    /// Breaks a stream: what is under way is lost, and each end notices in its own time, if at all.
    pub fn break_stream(&mut self, stream: StreamId, notice_within: u64) {
        for way in [Way::Up, Way::Down] {
            self.net.lose(stream, way);
            let after = self.random.below(notice_within);
            self.after(after, Event::Broke(stream, way));
        }
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>10.4} {}", self.now as f64 / 1e9, text());
        }
    }

    /// The arrivals' phases and process.
    pub fn load(&self) -> (&[Phase], Arrivals) {
        match &self.plan.loads[0].model {
            LoadModel::Open { arrivals, phases, .. } => (phases, *arrivals),
            _ => (&[], Arrivals::Uniform),
        }
    }
}
