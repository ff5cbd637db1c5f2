//! The controller's disk takes nothing any more while a run goes on.

use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::secured::told;
use squall_tests::squall::run;
use squall_tests::summary::Summary;
use squall_tests::wait::{self, secs};

const REGIONS: [&str; 2] = ["azure/eastus", "aws/us-west-2"];
const PLAN: &str = "name: full\nurl: /\nrate: 100/s\nhold_for: 60s\ndrain: 2s\n";

/// Not even the controller's log takes a line.
#[test]
fn a_full_disk_stops_the_run_and_its_load_and_the_operator_is_told_why() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&REGIONS));
    let mut running = cluster.run(run(PLAN).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 300);
    cluster.fill_the_controllers_disk();
    let ended = running.ends_within(secs(60));
    ended.expect_exit(12);
    let words = told(&ended);
    for why in
        ["snapshots cannot be stored", "no space left", "the result is not stored whole", "start the controller again"]
    {
        assert!(words.contains(why), "{words}");
    }
    // What was stored before is told, and what is missing is named, for every agent.
    let summary = Summary::from_json(&ended.stdout);
    assert_eq!(summary.text("verdict"), "aborted");
    let holes = summary.list("coverage.holes");
    assert_eq!(holes.len(), REGIONS.len(), "{holes:#?}");
    assert!(holes.iter().all(|hole| hole["last_interval"].is_null()), "to the end: {holes:#?}");
    let (sent, served) = (summary.count("coverage.sent"), nginx.served_so_far() as u64);
    let first = holes.iter().filter_map(|hole| hole["first_interval"].as_u64()).min().expect("a beginning");
    assert!(sent >= first * 90 && sent <= served, "{sent} in the result, {served} answered, holes from {first} on");
    assert!(served < 3_000, "load goes on: {served}");
    // With room again the controller goes on where its store ends, and concludes.
    cluster.restart_controller();
    wait::until("the run to be concluded", secs(90), || {
        let listed = cluster.command(["runs", "--json"]).ends();
        let runs: serde_json::Value = serde_json::from_str(&listed.expect_exit(0).stdout).expect("runs");
        runs[0]["verdict"].as_str().filter(|verdict| !verdict.is_empty()).map(str::to_owned)
    });
    let stored = cluster.command(["report", "latest", "--json"]).ends();
    let stored = Summary::from_json(&stored.stdout);
    assert_eq!(stored.count("coverage.sent"), sent, "what was stored before is still there");
    assert_eq!(stored.list("coverage.holes").len(), REGIONS.len());
}
