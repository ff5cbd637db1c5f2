//! Several controllers on one etcd, and agents that know them all.

use crate::cluster::Agent;
use crate::etcd::Etcd;
use crate::process::Process;
use crate::squall::Squall;
use crate::wait::{self, secs};
use crate::{binaries, ports};
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// A fleet whose first controller led first.
pub struct Controllers {
    members: Vec<Member>,
    agents: Vec<Agent>,
    dir: TempDir,
}

struct Member {
    address: String,
    process: Process,
}

impl Member {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Controllers {
    /// So many controllers, and an agent in each of the regions, named `agent-1`, `agent-2`, …
    pub fn start(etcd: &Etcd, controllers: usize, regions: &[&str]) -> Self {
        let address = |_| format!("127.0.0.1:{}", ports::free());
        let addresses: Vec<String> = (0..controllers).map(address).collect();
        let mut fleet = Self::listening_on(&addresses, &etcd.endpoints());
        for (number, region) in (1..).zip(regions) {
            let slot = format!("agent-{number}");
            let agent = Agent::join(&fleet.urls(), &slot, region, fleet.dir.path());
            fleet.agents.push(agent);
        }
        fleet
    }

    /// A controller on each of these addresses, and no agent yet.
    pub fn listening_on(addresses: &[String], etcd: &[String]) -> Self {
        let dir = TempDir::with_prefix("squall-controllers-").expect("a temporary directory");
        let mut fleet = Self { members: Vec::new(), agents: Vec::new(), dir };
        for (number, address) in addresses.iter().enumerate() {
            let member = fleet.launch(address, etcd, number);
            fleet.members.push(member);
            if number == 0 {
                // The one that stands first leads.
                fleet.leads(0);
            } else {
                fleet.members[number].process.says("leadership=Standby", secs(15));
            }
        }
        fleet
    }

    fn launch(&self, address: &str, etcd: &[String], number: usize) -> Member {
        let name = format!("controller-{number}");
        let mut command = Command::new(binaries::built("squall"));
        command.args(["serve", "--listen", address, "--etcd", &etcd.join(",")]);
        if !address.starts_with("127.") {
            command.arg("--insecure");
        }
        command.arg("--data").arg(self.dir.path().join(&name)).current_dir(self.dir.path());
        command.env("SQUALL_LOG", "info").env("NO_COLOR", "1");
        let mut process = Process::start(&name, command, self.dir.path());
        process.says("controller on http://", secs(15));
        Member { address: address.to_owned(), process }
    }

    pub fn url(&self, number: usize) -> String {
        self.members[number].url()
    }

    /// All of them, as agents and operators are told.
    pub fn urls(&self) -> String {
        self.members.iter().map(Member::url).collect::<Vec<_>>().join(",")
    }

    /// Runs on all agents, through whichever controller leads.
    pub fn run(&self, command: Squall) -> Squall {
        command.on(&self.urls()).agents(self.agents.len() as u32)
    }

    pub fn controller(&mut self, number: usize) -> &mut Process {
        &mut self.members[number].process
    }

    /// Waits until a controller says that it leads.
    pub fn leads(&mut self, number: usize) {
        self.members[number].process.says(" leads runs=", secs(30));
    }

    /// Kills a controller, and its disk with it.
    pub fn destroy(&mut self, number: usize) {
        self.members[number].process.kill();
        fs::remove_dir_all(self.dir.path().join(format!("controller-{number}"))).expect("its data");
    }

    pub fn freeze(&self, number: usize) {
        self.members[number].process.signal(Signal::STOP);
    }

    pub fn thaw(&self, number: usize) {
        self.members[number].process.signal(Signal::CONT);
    }

    /// Waits until every agent has been let in so often.
    pub fn agents_registered(&self, times: usize) {
        for agent in &self.agents {
            let what = format!("{} to register {times} times", agent.slot);
            wait::until(&what, secs(30), || {
                (agent.process.stderr().matches("registered").count() >= times).then_some(())
            });
        }
    }
}
