//! What breaks and comes back costs nothing: every request the target counted is in the result.

use rustix::process::Signal;
use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::squall::run;
use squall_tests::wait::secs;

const REGIONS: [&str; 3] = ["azure/eastus", "azure/westeurope", "aws/us-west-2"];
const PLAN: &str = "name: kept\nurl: /\nrate: 200/s\nhold_for: 12s\n";
const CONTINUES: &str = "name: continues\nurl: /\nrate: 300/s\nhold_for: 20s\non_agent_loss: continue\nmin_agents: 2\n\
                         slo: ['error_rate < 1%', 'throughput > 100/s']\n";

#[test]
fn a_controller_killed_mid_run_and_started_again_misses_nothing() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS));
    let mut running = cluster.run(run(PLAN).target(&nginx.url())).start();
    let run_id = running.run_id();
    running.until("load", secs(30), || nginx.served_so_far() >= 400);
    cluster.restart_controller();
    let ended = running.ends_within(secs(60));
    let summary = ended.expect_exit(0).summary();
    assert_eq!(summary.text("run_id"), run_id);
    summary.expect_whole().expect_all_ok(2_400);
    assert_eq!(nginx.stop().len(), 2_400);
    assert!(ended.file("events.jsonl").contains("controller_resumed"), "{}", ended.file("events.jsonl"));
    assert!(ended.stderr.contains("the controller is back"), "{}", ended.stderr);
}

#[test]
fn a_controller_that_dies_again_and_again_misses_nothing() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(PLAN).target(&nginx.url())).start();
    for served in [200, 900, 1_600] {
        running.until("load", secs(30), || nginx.served_so_far() >= served);
        cluster.restart_controller();
    }
    running.ends_within(secs(60)).expect_exit(0).summary().expect_whole().expect_all_ok(2_400);
    assert_eq!(nginx.stop().len(), 2_400);
}

#[test]
fn an_agent_that_stood_still_for_less_than_its_lease_misses_nothing() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(PLAN).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 400);
    cluster.agent("agent-1").process.signal(Signal::STOP);
    std::thread::sleep(secs(6));
    cluster.agent("agent-1").process.signal(Signal::CONT);
    // It was late, and says so: its own pause must not be blamed on the target.
    let summary = running.ends_within(secs(60)).expect_exit(11).summary();
    let reasons = summary.texts("reasons").join("\n");
    assert!(reasons.contains("generator limited: agent `agent-1`"), "{reasons}");
    assert!(!reasons.contains("incomplete") && !reasons.contains("balance"), "{reasons}");
    summary.expect_balanced().expect_all_ok(2_400);
    assert_eq!(nginx.stop().len(), 2_400);
}

#[test]
fn a_plan_that_continues_goes_on_without_a_killed_agent_and_names_the_hole() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS));
    let mut running = cluster.run(run(CONTINUES).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 600);
    cluster.agent("agent-2").process.kill();
    let ended = running.ends_within(secs(60));
    let summary = ended.expect_exit(0).summary();
    let holes = summary.list("coverage.holes");
    assert_eq!((holes.len(), holes[0]["agent"].as_str()), (1, Some("agent-2")), "{holes:#?}");
    assert!(holes[0]["noticed_s"].as_f64() > Some(2.0), "{holes:#?}");
    for slo in summary.list("slo") {
        assert_eq!(slo["without_affected_seconds"]["passed"], true, "{slo:#?}");
    }
    assert!(summary.texts("reasons").join("\n").contains("goes on without: agent `agent-2`"));
    // The others did all of theirs; the dead one's last moments are the hole.
    let agents = summary.agents();
    for slot in ["agent-1", "agent-3"] {
        assert_eq!(agents[slot].count("ledger.completed"), 2_000, "{slot}");
    }
    let (told, served) = (summary.count("coverage.completed"), nginx.stop().len() as u64);
    assert!(told <= served && served - told <= 200, "told {told} of {served}");
}

#[test]
fn a_plan_that_continues_still_fails_when_too_few_agents_are_left() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS[..2]));
    let mut running = cluster.run(run(CONTINUES).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 600);
    cluster.agent("agent-2").process.kill();
    running.ends_within(secs(40)).expect_exit(11).summary().expect_balanced();
}

#[test]
fn a_lost_agents_share_is_taken_over_and_the_hole_has_an_end() {
    let _place = machine::shared();
    let regions = ["azure/eastus", "azure/eastus", "aws/us-west-2"];
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&regions));
    let plan = "name: taken\nurl: /\nrate: 90/s\nhold_for: 30s\non_agent_loss: redistribute\n";
    let mut running = cluster.run(run(plan).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 180);
    cluster.agent("agent-2").process.kill();
    let ended = running.ends_within(secs(70));
    let summary = ended.expect_exit(0).summary();
    let events = ended.file("events.jsonl");
    assert!(events.contains("share_taken_over"), "{events}");
    let hole = &summary.list("coverage.holes")[0];
    let (first, last) = (hole["first_interval"].as_u64().unwrap(), hole["last_interval"].as_u64().unwrap());
    assert!((1..=6).contains(&first) && (10..=22).contains(&last), "{hole:#?}");
    // Its region took it over: from the hole's end on agent-1 sends twice its own.
    let agents = summary.agents();
    assert_eq!(agents["agent-3"].count("ledger.completed"), 900);
    let taken = agents["agent-1"].count("ledger.completed") - 900;
    assert!(taken.abs_diff((30 - last) * 30) <= 30, "{taken} taken over from second {last} on");
    let (told, served) = (summary.count("coverage.completed"), nginx.stop().len() as u64);
    assert!(told <= served && served - told <= 60, "told {told} of {served}");
}

/// What it sent of its own and what it had taken over are one hole, open to the end.
#[test]
fn a_taker_that_is_lost_as_well_leaves_a_hole_that_stays_open() {
    let _place = machine::shared();
    let regions = ["azure/eastus", "azure/eastus", "aws/us-west-2"];
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&regions));
    let plan = "name: twice\nurl: /\nrate: 90/s\nhold_for: 34s\non_agent_loss: redistribute\n";
    let mut running = cluster.run(run(plan).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 180);
    cluster.agent("agent-2").process.kill();
    cluster.agent("agent-1").process.says("takes a lost agent's share over", secs(40));
    cluster.agent("agent-1").process.kill();
    let ended = running.ends_within(secs(90));
    let summary = ended.summary();
    let events = ended.file("events.jsonl");
    assert!(events.contains("share_taken_over") && events.contains("share_not_taken_over"), "{events}");
    let holes = summary.list("coverage.holes");
    let of = |slot: &str| holes.iter().find(|hole| hole["agent"] == slot).unwrap_or_else(|| panic!("{holes:#?}"));
    assert!(of("agent-1")["last_interval"].is_null(), "{holes:#?}");
    assert!(of("agent-1")["first_interval"].as_u64() >= of("agent-2")["first_interval"].as_u64(), "{holes:#?}");
    // The one that is left did its own and no more.
    assert_eq!(summary.agents()["agent-3"].count("ledger.completed"), 1_020);
    let (told, served) = (summary.count("coverage.completed"), nginx.stop().len() as u64);
    assert!(told <= served && served - told <= 150, "told {told} of {served}");
}
