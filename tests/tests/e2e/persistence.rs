//! What has run can be looked at later, and while it runs, from elsewhere.

use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::squall::run;
use squall_tests::summary::Summary;
use squall_tests::wait::secs;

const PLAN: &str = "name: kept\nurl: /\nrate: 100/s\nhold_for: 2s\n";

#[test]
fn runs_survive_a_controller_that_was_killed_and_agents_come_back() {
    let _place = machine::shared();
    let (nginx, mut cluster) = (Nginx::start(), Cluster::start(&["local", "local"]));
    let first = cluster.run(run(PLAN).target(&nginx.url())).ends().summary();
    cluster.restart_controller();

    let run_id = first.text("run_id");
    let listed = cluster.command(["runs", "--json"]).ends();
    let runs = Summary::from_json(&format!("{{\"runs\": {}}}", listed.expect_exit(0).stdout));
    assert_eq!(runs.list("runs").len(), 1);
    assert_eq!(runs.list("runs")[0]["run_id"], run_id);
    assert_eq!(runs.list("runs")[0]["verdict"], first.text("verdict"));
    let report = cluster.command(["report", run_id, "--json", "--out", "out"]).ends();
    assert_eq!(report.summary(), first);

    let second = cluster.run(run(PLAN).target(&nginx.url())).ends().summary();
    second.expect_whole().expect_all_ok(200);
    assert_eq!(nginx.stop().len(), 400);
    let latest = cluster.command(["report", "latest", "--json"]).ends();
    assert_eq!(Summary::from_json(&latest.stdout), second);
}

#[test]
fn a_run_can_be_watched_from_another_process() {
    let _place = machine::shared();
    let (nginx, cluster) = (Nginx::start(), Cluster::start(&["local"]));
    let plan = PLAN.replace("2s", "7s");
    let mut running = cluster.run(run(&plan).target(&nginx.url())).start();
    let run_id = running.run_id();
    let watched = cluster.command(["watch", &run_id, "--json"]).ends();
    let ended = running.ends_within(secs(10));
    let summary = ended.summary();
    assert_eq!(Summary::from_json(&watched.stdout), summary);
    watched.expect_exit(ended.exit_code);
    summary.expect_whole().expect_all_ok(700);
    assert!(watched.stderr.lines().count() > 3, "progress and a summary:\n{}", watched.stderr);
}

#[test]
fn a_watcher_that_leaves_does_not_stop_the_run() {
    let _place = machine::shared();
    let (nginx, cluster) = (Nginx::start(), Cluster::start(&["local"]));
    let plan = PLAN.replace("2s", "5s");
    let mut running = cluster.run(run(&plan).target(&nginx.url())).start();
    let run_id = running.run_id();
    let mut watcher = cluster.command(["watch", &run_id]).start();
    watcher.process.says("of 0:05", secs(10));
    watcher.interrupt();
    let left = watcher.ends_within(secs(5));
    left.expect_exit(0);
    assert!(left.stderr.contains("the run goes on"), "{}", left.stderr);
    running.ends().summary().expect_whole().expect_all_ok(500);
    assert_eq!(nginx.stop().len(), 500);
}

#[test]
fn a_results_directory_reports_without_a_controller() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let ended = run(PLAN).target(&nginx.url()).ends();
    let out = ended.out().display().to_string();
    let again = squall_tests::squall::squall(["report", &out, "--json"]).ends();
    again.expect_exit(ended.exit_code);
    assert_eq!(Summary::from_json(&again.stdout), ended.summary());
}
