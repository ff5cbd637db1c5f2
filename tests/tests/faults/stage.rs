//! Where faults happen: a controller and an operator in the hub, three regions
//! with an agent each, and in every region the target of that region's agent.
//!
//! The target is on its agent's own loopback address, so no fault of a link
//! reaches the requests themselves: what it counts is what was sent, and any
//! difference to the result is the cluster's doing.

use crate::head::Head;
use rustix::process::Signal;
use squall_tests::cluster::Agent;
use squall_tests::netns::{Conditions, Link, World};
use squall_tests::nginx::{Nginx, Served};
use squall_tests::squall::{Ended, Running, run};
use squall_tests::wait::{self, secs};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

pub const REGIONS: [&str; 3] = ["azure/eastus", "azure/westeurope", "aws/us-west-2"];
/// What the controller listens on, in the hub.
pub const CONTROLLER_PORT: u16 = 7_700;
pub const TARGET_PORT: u16 = 8_080;
/// Of all agents together.
pub const RATE: u64 = 150;
/// The longest that any run may take, faults and all.
const BOUND: Duration = Duration::from_secs(90);
const DELAY: Duration = Duration::from_millis(20);

/// The agent that faults befall, by place.
pub const STRUCK: usize = 0;

/// A run under way in a world of its own. Processes end before their namespaces.
pub struct Stage {
    running: Option<Running>,
    pub agents: Vec<Agent>,
    pub head: Head,
    targets: Vec<Nginx>,
    pub world: World,
    pub dir: TempDir,
}

/// What is left when all has ended.
pub struct Aftermath {
    pub ended: Ended,
    /// What each region's target answered.
    pub served: Vec<Vec<Served>>,
}

pub fn slot(place: usize) -> String {
    format!("agent-{}", place + 1)
}

impl Stage {
    /// Waits until a run of this length is two seconds old.
    pub fn with_run_of(length: Duration) -> Self {
        Self::headed_by(Head::alone, length, |_, urls| urls)
    }

    /// Under three members of etcd, on which two controllers stand.
    pub fn on_etcd(length: Duration) -> Self {
        Self::headed_by(Head::on_etcd, length, |_, urls| urls)
    }

    /// Everybody shows a certificate.
    pub fn with_certificates(length: Duration) -> Self {
        Self::headed_by(Head::with_certificates, length, |_, urls| urls)
    }

    /// The struck agent dials what `door` opens in its region.
    pub fn with_run_through(length: Duration, door: fn(&World, String) -> String) -> Self {
        Self::headed_by(Head::alone, length, door)
    }

    fn headed_by(head: fn(&World, &Path) -> Head, length: Duration, door: fn(&World, String) -> String) -> Self {
        let dir = TempDir::with_prefix("squall-faults-").expect("a temporary directory");
        let world = World::new(REGIONS.len() as u8, Conditions { delay: DELAY, ..Conditions::default() });
        let place = |place| world.region(place);
        let targets = (0..REGIONS.len()).map(|at| place(at).run(|| Nginx::on_port(TARGET_PORT))).collect();
        let head = head(&world, dir.path());
        let mut doors = REGIONS.map(|_| head.urls());
        doors[STRUCK] = door(&world, head.urls());
        let join = |at: usize| {
            let shown = head.shown_by_agent(at);
            place(at).run(|| Agent::join_showing(&shown, &doors[at], &slot(at), REGIONS[at], dir.path()))
        };
        let agents = (0..REGIONS.len()).map(join).collect();
        let plan = format!(
            "name: faults\nurl: http://127.0.0.1:{TARGET_PORT}/\nrate: {RATE}/s\nhold_for: {}s\n",
            length.as_secs()
        );
        let command = run(&plan).on(&head.urls()).args(head.shown_by_operator().flags()).agents(REGIONS.len() as u32);
        let running = world.hub.run(|| command.start());
        let mut stage = Self { running: Some(running), agents, head, targets, world, dir };
        stage.wait_for_load();
        stage
    }

    fn wait_for_load(&mut self) {
        let targets = &self.targets;
        let under_load = || targets.iter().all(|target| target.served_so_far() as u64 >= 2 * RATE / 3);
        self.running.as_mut().expect("a run").until("load in all regions", secs(40), under_load);
    }

    /// The struck agent's link.
    pub fn link(&self) -> &Link {
        self.world.link(STRUCK)
    }

    pub fn signal_agent(&self, signal: Signal) {
        self.agents[STRUCK].process.signal(signal);
    }

    /// Waits for the end of the run and of all load, and asks the targets.
    pub fn ends(mut self) -> Aftermath {
        let ended = self.running.take().expect("a run").ends_within(BOUND);
        self.wait_for_silence();
        self.agents.clear();
        let served = self.targets.drain(..).map(Nginx::stop).collect();
        Aftermath { ended, served }
    }

    /// An agent that is cut off, or stands still, may only learn later that the
    /// run is over: it has until its load lease ends, and a little more.
    fn wait_for_silence(&self) {
        let answered = || self.targets.iter().map(Nginx::served_so_far).sum::<usize>();
        wait::until("all load to stop", secs(20), || {
            let before = answered();
            std::thread::sleep(Duration::from_millis(1_500));
            (answered() == before).then_some(())
        });
    }
}
