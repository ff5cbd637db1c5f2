//! A controller and its agents, each a process of its own.

use crate::process::Process;
use crate::secured::Shown;
use crate::squall::{Squall, squall};
use crate::wait::{self, secs};
use crate::{binaries, samples};
use rustix::process::Signal;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// `squall serve`.
pub struct Controller {
    process: Process,
    url: String,
}

impl Controller {
    /// On any free port.
    pub fn start(dir: &Path) -> Self {
        Self::listening_on("127.0.0.1:0", dir)
    }

    /// On an address, which may be one that other machines reach; with port 0, on any free port.
    pub fn listening_on(address: &str, dir: &Path) -> Self {
        // A file that may not grow is an error that the controller meets, not a signal that ends it.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binaries::built("squall"));
        command.args(["serve", "--listen", address, "--data"]).arg(dir.join("data")).current_dir(dir);
        if !address.starts_with("127.") {
            command.arg("--insecure");
        }
        command.env_remove("SQUALL_LOG");
        let mut process = Process::start("controller", command, dir);
        let line = process.says("controller on http://", secs(10));
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address");
        let url = url.trim_end_matches(',').to_owned();
        Self { process, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// From now on no file of the controller's takes a byte beyond this many: as on a full disk.
    #[cfg(target_os = "linux")]
    pub fn limit_files_to(&self, bytes: u64) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let id = Pid::from_raw(self.process.id() as i32);
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(id, Resource::Fsize, limit).expect("the controller's limit");
    }

    /// Begins again on the same address with the same data.
    pub fn restart(&mut self, dir: &Path) {
        self.kill();
        let address = self.url.trim_start_matches("http://").to_owned();
        wait::until("the controller's port to close", secs(10), || TcpStream::connect(&address).err());
        *self = Self::listening_on(&address, dir);
    }
}

/// A controller and the agents that dialled it.
pub struct Cluster {
    controller: Controller,
    agents: Vec<Agent>,
    dir: TempDir,
}

/// An agent that no cluster knows of, to its exit code.
pub fn lone_agent<'a>(arguments: impl IntoIterator<Item = &'a str>) -> i32 {
    let dir = TempDir::with_prefix("squall-agent-").expect("a temporary directory");
    Process::start("agent", agent_command(arguments), dir.path()).exit_code_within(secs(20))
}

fn agent_command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(binaries::built("squall-agent"));
    command.args(arguments).env("NO_COLOR", "1");
    for variable in ["RUST_LOG", "SQUALL_CONTROLLER", "SQUALL_REGION", "SQUALL_SLOT"] {
        command.env_remove(variable);
    }
    command
}

/// `squall-agent`.
pub struct Agent {
    pub slot: String,
    pub process: Process,
}

impl Agent {
    /// Dials a controller and waits until it is let in.
    pub fn join(controller: &str, slot: &str, region: &str, dir: &Path) -> Self {
        Self::join_showing(&Shown::default(), controller, slot, region, dir)
    }

    /// The same, with a certificate.
    pub fn join_showing(shown: &Shown, controller: &str, slot: &str, region: &str, dir: &Path) -> Self {
        let command = member_command(controller, slot, region, 1, dir, shown);
        Self { slot: slot.to_owned(), process: joined(slot, command, dir) }
    }

    /// Dials as somebody who may or may not be let in; `name` tells its log apart.
    pub fn dial(name: &str, shown: &Shown, controller: &str, slot: &str, region: &str, dir: &Path) -> Process {
        Process::start(name, member_command(controller, slot, region, 1, dir, shown), dir)
    }

    /// Another process in the same slot; `name` tells their logs apart.
    pub fn join_again(&self, name: &str, controller: &str, region: &str, dir: &Path) -> Self {
        let command = member_command(controller, &self.slot, region, 1, dir, &Shown::default());
        Self { slot: self.slot.clone(), process: joined(name, command, dir) }
    }
}

/// `squall-agent` as one of a cluster.
fn member_command(controller: &str, slot: &str, region: &str, workers: u32, dir: &Path, shown: &Shown) -> Command {
    let workers = workers.to_string();
    let mut command = agent_command(["--controller", controller, "--region", region, "--slot", slot]);
    command.args(["--workers", &workers, "--sample-log"]).arg(dir).args(shown.flags()).current_dir(dir);
    command
}

/// An agent's process, called `name`, once the controller has let it in.
fn joined(name: &str, command: Command, dir: &Path) -> Process {
    let mut process = Process::start(name, command, dir);
    process.says("registered", secs(10));
    process
}

impl Cluster {
    /// Agents in these regions, named `agent-1`, `agent-2`, …
    pub fn start(regions: &[&str]) -> Self {
        Self::with_workers(regions, 1)
    }

    pub fn with_workers(regions: &[&str], workers: u32) -> Self {
        let dir = TempDir::with_prefix("squall-cluster-").expect("a temporary directory");
        let controller = Controller::start(dir.path());
        let mut cluster = Self { controller, agents: Vec::new(), dir };
        for (number, region) in (1..).zip(regions) {
            cluster.add_agent(&format!("agent-{number}"), region, workers);
        }
        cluster
    }

    fn add_agent(&mut self, slot: &str, region: &str, workers: u32) {
        let process = self.agent_process(slot, slot, region, workers);
        self.agents.push(Agent { slot: slot.to_owned(), process });
    }

    /// Starts another process in an agent's slot, which becomes the slot's one.
    pub fn replace_agent(&mut self, slot: &str) -> Process {
        let newer = self.agent_process(&format!("{slot}-again"), slot, "local", 1);
        std::mem::replace(&mut self.agent(slot).process, newer)
    }

    fn agent_process(&self, name: &str, slot: &str, region: &str, workers: u32) -> Process {
        let dir = self.dir.path();
        joined(name, member_command(self.url(), slot, region, workers, dir, &Shown::default()), dir)
    }

    pub fn url(&self) -> &str {
        self.controller.url()
    }

    pub fn agent(&mut self, slot: &str) -> &mut Agent {
        self.agents.iter_mut().find(|agent| agent.slot == slot).unwrap_or_else(|| panic!("no agent {slot}"))
    }

    /// The disk that holds the controller's data takes nothing any more.
    #[cfg(target_os = "linux")]
    pub fn fill_the_controllers_disk(&self) {
        self.controller.limit_files_to(0);
    }

    pub fn controller_log(&self) -> String {
        self.controller.process.stderr()
    }

    pub fn kill_controller(&mut self) {
        self.controller.kill();
    }

    /// The controller neither hears nor speaks, and its connections stay open.
    pub fn freeze_controller(&self) {
        self.controller.process.signal(Signal::STOP);
    }

    /// Kills the controller and starts it again where it was.
    pub fn restart_controller(&mut self) {
        self.controller.restart(self.dir.path());
    }

    /// Runs on all agents of the cluster.
    pub fn run(&self, command: Squall) -> Squall {
        command.on(self.url()).agents(self.agents.len() as u32)
    }

    /// Another command to this controller, e.g. `runs`.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Squall {
        squall(arguments).on(self.url())
    }

    /// What the sample logs of these agents hold.
    pub fn samples_of(&self, slots: &[&str]) -> Vec<samples::Sample> {
        slots.iter().flat_map(|slot| samples::of_agent(self.dir.path(), slot)).collect()
    }

    /// What the sample logs of all agents hold.
    pub fn samples(&self) -> Vec<samples::Sample> {
        self.agents.iter().flat_map(|agent| samples::of_agent(self.dir.path(), &agent.slot)).collect()
    }
}
