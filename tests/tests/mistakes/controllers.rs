//! Controllers that are not there, runs that are unknown, agents that are busy or refused.

use crate::servers;
use crate::told::Told;
use squall_tests::cluster::{Cluster, Controller};
use squall_tests::squall::squall;
use squall_tests::wait::{self, secs};
use std::process::Command;

const PLAN: &str = "rate: 10/s\nhold_for: 1s\n";

fn told_with_a_plan() -> Told {
    let told = Told::new();
    told.file("plan.yaml", format!("target: http://127.0.0.1:{}\n{PLAN}", servers::plain()));
    told
}

#[test]
fn a_controller_that_is_not_there() {
    let mut told = told_with_a_plan();
    let nobody = "http://127.0.0.1:1";
    told.squall(&["run", "plan.yaml", "--no-out", "--controller", nobody]);
    for command in ["agents", "runs"] {
        told.squall(&[command, "--controller", nobody]);
    }
    for command in ["watch", "stop", "report"] {
        told.squall(&[command, "latest", "--controller", nobody]);
    }
    told.environment("SQUALL_CONTROLLER", nobody);
    told.squall(&["runs"]);
    told.is_as_in("controller_not_there");
}

#[test]
fn a_controller_that_is_no_url() {
    let mut told = Told::new();
    let host = "no-such-host-".repeat(6);
    told.redact(&host, "no-such-host");
    told.squall(&["runs", "--controller", "https://127.0.0.1:1", "--tls-ca", "missing.pem"]);
    for url in ["127.0.0.1:1", "ftp://127.0.0.1:1", "controller in eastus", "http://"] {
        told.squall(&["runs", "--controller", url]);
    }
    told.squall(&["runs", "--controller", &format!("http://{host}.invalid:7700")]);
    told.is_as_in("controller_no_url");
}

#[test]
fn a_server_that_is_no_controller() {
    let mut told = Told::new();
    let url = format!("http://127.0.0.1:{}", servers::plain());
    told.squall(&["runs", "--controller", &url]);
    told.is_as_in("controller_is_a_web_server");
}

#[test]
fn a_port_that_is_in_use() {
    let mut told = Told::new();
    let port = servers::plain();
    told.squall(&["serve", "--listen", &format!("127.0.0.1:{port}"), "--data", "data"]);
    assert!(!told.path("data").exists(), "nothing is made for a controller that does not start");
    told.file("cloud.yaml", format!("regions:\n  - {{name: azure/eastus, port: {port}}}\n"));
    told.squall(&["simulate", "cloud.yaml"]);
    told.is_as_in("port_in_use");
}

#[test]
fn a_run_that_is_unknown() {
    let mut told = told_with_a_plan();
    let controller = Controller::start(told.dir());
    for run in ["latest", "01JQ"] {
        for command in ["watch", "stop", "report"] {
            told.squall(&[command, run, "--controller", controller.url()]);
        }
    }
    told.is_as_in("run_unknown");
}

#[test]
fn a_fleet_without_agents() {
    let mut told = told_with_a_plan();
    let controller = Controller::start(told.dir());
    told.squall(&["run", "plan.yaml", "--no-out", "--controller", controller.url()]);
    told.is_as_in("fleet_without_agents");
}

#[test]
fn a_fleet_with_too_few_agents_or_none_in_a_region() {
    let mut told = told_with_a_plan();
    let cluster = Cluster::start(&["azure/eastus"]);
    let run = ["run", "plan.yaml", "--no-out", "--controller", cluster.url()];
    told.squall(&[&run[..], &["--agents", "2"]].concat());
    told.file("plan.yaml", format!("target: http://127.0.0.1:9\nfrom: {{aws/us-east-1: 100%}}\n{PLAN}"));
    told.squall(&run);
    told.is_as_in("fleet_too_small");
}

#[test]
fn a_second_run_while_one_is_live() {
    let mut told = told_with_a_plan();
    let cluster = Cluster::start(&["local"]);
    let target = format!("http://127.0.0.1:{}", servers::plain());
    let flags = ["--rate", "10/s", "--for", "60s", "--no-out", "--controller", cluster.url()];
    let mut first = squall(["run", &target]).args(flags).start();
    first.run_id();
    told.squall(&["run", "plan.yaml", "--no-out", "--controller", cluster.url()]);
    told.squall(&["report", "latest", "--controller", cluster.url()]);
    told.squall(&["stop", "latest", "--now", "--controller", cluster.url()]);
    assert_eq!(first.ends_within(secs(20)).exit_code, 12);
    told.squall(&["stop", "latest", "--controller", cluster.url()]);
    told.is_as_in("run_while_one_is_live");
}

/// What an agent refuses is told with the agent's name, here as in a plan for this machine.
#[test]
fn an_agent_without_the_secret() {
    let mut told = told_with_a_plan();
    let cluster = Cluster::start(&["azure/eastus"]);
    told.file(
        "plan.yaml",
        format!("target: http://127.0.0.1:9\nheaders: {{authorization: \"Bearer ${{env:SHOP_TOKEN}}\"}}\n{PLAN}"),
    );
    told.squall(&["run", "plan.yaml", "--no-out", "--controller", cluster.url()]);
    told.is_as_in("agent_without_secret");
}

#[test]
fn agents_that_are_started_wrongly() {
    let mut told = Told::new();
    told.agent(&[]);
    told.agent(&["--controller", "127.0.0.1:7700"]);
    told.agent(&["--controller", "https://127.0.0.1:7700", "--tls-ca", "missing.pem"]);
    told.agent(&["--controller", "https://127.0.0.1:7700", "--tls-cert", "agent.pem"]);
    told.agent(&["--controller", "http://127.0.0.1:7700", "--region", "East US"]);
    told.agent(&["--controller", "http://127.0.0.1:7700", "--slot", "../eastus-1"]);
    told.agent(&["--controller", "http://127.0.0.1:7700", "--workers", "0"]);
    told.agent(&["--controller", "http://127.0.0.1:7700", "--regoin", "azure/eastus"]);
    told.is_as_in("agent_started_wrongly");
}

#[test]
fn an_agent_that_finds_no_controller_gives_up() {
    let mut told = Told::new();
    told.agent(&["--controller", "http://127.0.0.1:1", "--give-up-after", "0"]);
    told.is_as_in("agent_gives_up");
}

#[test]
fn an_agent_whose_slot_another_takes() {
    let mut told = Told::new();
    let controller = Controller::start(told.dir());
    let arguments = ["--controller", controller.url(), "--slot", "eastus-1", "--region", "azure/eastus"];
    let agent = || {
        let mut command = Command::new(squall_tests::binaries::built("squall-agent"));
        command.args(arguments);
        command
    };
    let mut first = told.start("first", agent());
    first.says("registered", secs(10));
    let mut second = told.start("second", agent());
    second.says("registered", secs(10));
    wait::until("the first to be told", secs(10), || first.ended());
    told.ended("squall-agent", &arguments, first);
    told.is_as_in("agent_superseded");
}
