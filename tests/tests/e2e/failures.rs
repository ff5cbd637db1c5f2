//! Processes die and people lose patience: what was measured is kept, what is
//! missing is named, and load stops.

use rustix::process::Signal;
use squall_tests::cluster::{Cluster, lone_agent};
use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::squall::{Running, quick, run, squall};
use squall_tests::wait::secs;
use std::time::{Duration, Instant};

const REGIONS: [&str; 3] = ["azure/eastus", "azure/westeurope", "aws/us-west-2"];
/// What a controller promises agents without a word from it.
const LEASE: Duration = Duration::from_secs(10);
/// Longer than any of these tests.
const LONG: &str = "name: long\nurl: /\nrate: 300/s\nhold_for: 60s\nsample_log: true\n";
const LONG_WITHOUT_LOG: &str = "name: long\nurl: /\nrate: 300/s\nhold_for: 60s\n";

fn under_load(running: &mut Running, nginx: &Nginx) {
    running.until("load", secs(30), || nginx.served_so_far() >= 600);
}

/// Waits for a second and a half in which nginx is asked nothing.
fn load_stopped(nginx: &Nginx) -> Instant {
    const QUIET: Duration = Duration::from_millis(1_500);
    let (mut served, mut since) = (nginx.served_so_far(), Instant::now());
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(50));
        let now_served = nginx.served_so_far();
        if now_served != served {
            (served, since) = (now_served, Instant::now());
        }
    }
    since
}

#[test]
fn an_agent_killed_mid_run_leaves_a_named_hole_and_the_others_counts() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS));
    let mut running = cluster.run(run(LONG).target(&nginx.url())).start();
    under_load(&mut running, &nginx);
    cluster.agent("agent-2").process.kill();
    let ended = running.ends_within(secs(20));

    let summary = ended.expect_exit(11).summary();
    assert_eq!(summary.text("verdict"), "invalid");
    let holes = summary.list("coverage.holes");
    assert_eq!(holes.len(), 1, "{holes:#?}");
    assert_eq!((holes[0]["agent"].as_str(), holes[0]["region"].as_str()), (Some("agent-2"), Some(REGIONS[1])));
    assert!(summary.number("coverage.ratio") < 1.0);
    assert!(ended.stderr.contains("agent-2"), "{}", ended.stderr);
    let reasons = summary.texts("reasons").join("\n");
    assert!(reasons.contains("agent `agent-2`") && !reasons.contains("does not balance"), "{reasons}");

    summary.expect_balanced();
    let agents = summary.agents();
    for slot in ["agent-1", "agent-3"] {
        let written = cluster.samples_of(&[slot]).len() as u64;
        assert_eq!(agents[slot].count("ledger.completed"), written, "samples of {slot}");
        assert_eq!(agents[slot].count("ledger.sent"), written, "samples of {slot}");
    }
    // The dead agent told of all but its last moments, and nothing is told that was not so.
    assert!(agents["agent-2"].count("ledger.sent") > 0);
    assert!(nginx.stop().len() as u64 >= summary.count("coverage.completed"));
}

#[test]
fn ctrl_c_ends_a_run_gracefully_and_still_reports() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let mut running = run(LONG_WITHOUT_LOG).target(&nginx.url()).start();
    under_load(&mut running, &nginx);
    running.interrupt();
    let ended = running.ends_within(secs(15));
    let summary = ended.expect_exit(12).summary();
    assert_eq!(summary.text("verdict"), "aborted");
    assert_eq!(summary.count("coverage.cut_off"), 0);
    summary.expect_balanced().expect_all_ok(nginx.stop().len() as u64);
    assert!(summary.texts("reasons").join("\n").contains("Ctrl-C"));
}

#[test]
fn a_second_ctrl_c_stops_at_once_and_counts_what_it_cut_off() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let mut running = run(LONG_WITHOUT_LOG).target(&nginx.url()).start();
    under_load(&mut running, &nginx);
    // Nothing ends any more: a graceful end would wait for the drain, 30 s.
    nginx.freeze();
    std::thread::sleep(Duration::from_millis(300));
    running.interrupt();
    running.process.says("Ctrl-C again", secs(5));
    running.interrupt();
    let ended = running.ends_within(secs(15));
    let summary = ended.expect_exit(12).summary();
    summary.expect_balanced();
    assert!(summary.count("coverage.cut_off") > 0);
}

#[test]
fn squall_stop_ends_a_run_from_another_process() {
    let _place = machine::shared();
    let (nginx, cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(LONG).target(&nginx.url())).start();
    let run_id = running.run_id();
    under_load(&mut running, &nginx);
    cluster.command(["stop", &run_id, "--reason", "enough is enough"]).ends().expect_exit(0);
    let ended = running.ends_within(secs(15));
    let summary = ended.expect_exit(12).summary();
    assert_eq!(summary.text("run_id"), run_id);
    assert!(summary.texts("reasons").join("\n").contains("enough is enough"), "{:?}", summary.texts("reasons"));
    summary.expect_balanced().expect_all_ok(nginx.stop().len() as u64);
}

#[test]
fn an_agent_told_to_end_drains_and_leaves_with_75() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(LONG).target(&nginx.url())).start();
    under_load(&mut running, &nginx);
    let leaving = &mut cluster.agent("agent-1").process;
    leaving.signal(Signal::TERM);
    assert_eq!(leaving.exit_code_within(secs(20)), 75);
    let ended = running.ends_within(secs(20));
    let summary = ended.expect_exit(11).summary();
    // It told all it did before it left: nothing that was sent is missing.
    summary.expect_balanced().expect_all_ok(nginx.stop().len() as u64);
    assert_eq!(summary.list("coverage.holes")[0]["agent"], "agent-1");
}

#[test]
fn an_idle_agent_told_to_end_leaves_with_75() {
    let _place = machine::shared();
    let mut cluster = Cluster::start(&REGIONS[..1]);
    let agent = &mut cluster.agent("agent-1").process;
    agent.signal(Signal::TERM);
    assert_eq!(agent.exit_code_within(secs(10)), 75);
}

#[test]
fn load_stops_when_the_controller_is_killed() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS));
    let mut running = cluster.run(run(LONG).target(&nginx.url())).start();
    under_load(&mut running, &nginx);
    cluster.kill_controller();
    let killed = Instant::now();
    let stopped_after = load_stopped(&nginx).duration_since(killed);
    assert!(stopped_after <= LEASE + secs(2), "load went on for {stopped_after:?}");
    // The operator looks for the controller until told not to.
    running.process.says("looking for it", secs(20));
    running.interrupt();
    running.ends_within(secs(5)).expect_exit(12);
}

#[test]
fn load_stops_when_the_controller_stands_still() {
    let _place = machine::shared();
    let (nginx, cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(LONG).target(&nginx.url())).start();
    under_load(&mut running, &nginx);
    // Connections stay open and nothing is said. What ends the load is the lease,
    // or before it a keep-alive that nobody answers.
    cluster.freeze_controller();
    let frozen = Instant::now();
    let stopped_after = load_stopped(&nginx).duration_since(frozen);
    assert!(stopped_after <= LEASE + secs(2), "load went on for {stopped_after:?}");
}

#[test]
fn an_agent_that_stood_still_sends_nothing_when_it_wakes_up() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(LONG).target(&nginx.url())).start();
    under_load(&mut running, &nginx);
    cluster.agent("agent-1").process.signal(Signal::STOP);
    let frozen = Instant::now();
    let ended = running.ends_within(secs(20));
    let summary = ended.expect_exit(11).summary();
    assert_eq!(summary.list("coverage.holes")[0]["agent"], "agent-1");

    // It wakes up with thousands of arrivals overdue and a lease that is over.
    std::thread::sleep((LEASE + secs(1)).saturating_sub(frozen.elapsed()));
    let served = nginx.served_so_far();
    cluster.agent("agent-1").process.signal(Signal::CONT);
    std::thread::sleep(secs(2));
    assert_eq!(nginx.served_so_far(), served, "requests after the lease had ended");
}

#[test]
fn a_newer_process_takes_its_slot_over_and_the_older_one_leaves_with_77() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&["local"]));
    let mut older = cluster.replace_agent("agent-1");
    assert_eq!(older.exit_code_within(secs(10)), 77);
    let summary = cluster.run(quick(&nginx.url(), ["--rate", "50/s", "--for", "1s"])).ends().summary();
    summary.expect_whole().expect_all_ok(50);
    assert_eq!(nginx.stop().len(), 50);
}

#[test]
fn agents_end_with_their_documented_exit_codes() {
    let _place = machine::shared();
    assert_eq!(lone_agent(["--controller", "localhost:7700"]), 64);
    assert_eq!(lone_agent(["--controller", "http://127.0.0.1:1", "--region", "No Region"]), 64);
    let nobody = format!("http://127.0.0.1:{}", squall_tests::ports::free());
    assert_eq!(lone_agent(["--controller", &nobody, "--give-up-after", "1"]), 69);
}

#[test]
fn a_plan_that_cannot_run_is_refused_with_its_place_and_exit_2() {
    let _place = machine::shared();
    let ended = run("name: wrong\nurl: /\nrate: 10/s\nhold_for: 30\n").target("http://127.0.0.1:1").ends();
    ended.expect_exit(2);
    assert!(ended.stderr.contains("plan.yaml:4"), "{}", ended.stderr);
    assert!(ended.stderr.contains("30s"), "what to write instead:\n{}", ended.stderr);
}

#[test]
fn a_controller_that_is_not_there_is_said_and_ends_with_12() {
    let _place = machine::shared();
    let nobody = format!("http://127.0.0.1:{}", squall_tests::ports::free());
    let ended = squall(["runs"]).on(&nobody).ends();
    ended.expect_exit(12);
    assert!(ended.stderr.contains("squall serve"), "{}", ended.stderr);
}
