//! Every request counted is one that nginx saw, and the other way round.

use squall_tests::binaries::data;
use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::squall::{Squall, quick, run, run_of};

/// The short plan as its authors wrote it, but for how long it takes.
fn source_plan(nginx: &Nginx) -> Squall {
    run_of(&data("source-plan.yaml")).target(&nginx.url()).set("ramp_up_time", "2s").set("hold_for", "3s")
}

fn expect_the_source_plan_to_count_what_nginx_counts(command: Squall, nginx: Nginx) {
    let ended = command.ends();
    let summary = ended.summary();
    let served = nginx.stop();
    assert!(served.len() > 1_000, "100 users for 5 s made only {} requests", served.len());
    summary.expect_whole().expect_all_ok(served.len() as u64);
    assert!(served.iter().all(|request| request.method == "POST" && request.uri == "/api/v1/order"));
    assert_eq!(summary.count("latency.response_time.count"), served.len() as u64);
}

#[test]
fn the_source_plan_on_an_embedded_agent_counts_what_nginx_counts() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    expect_the_source_plan_to_count_what_nginx_counts(source_plan(&nginx), nginx);
}

#[test]
fn the_source_plan_on_three_agents_counts_what_nginx_counts() {
    let _place = machine::shared();
    let (nginx, cluster) = (Nginx::start(), Cluster::start(&["azure/eastus", "azure/westeurope", "aws/us-west-2"]));
    expect_the_source_plan_to_count_what_nginx_counts(cluster.run(source_plan(&nginx)), nginx);
    let carried = cluster.command(["agents", "--json"]).ends();
    assert_eq!(carried.stdout.matches("\"slot\"").count(), 3, "{}", carried.stdout);
}

#[test]
fn three_embedded_agents_send_what_the_plan_means() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let plan =
        "name: embedded\nurl: /\nload: {phases: [{ramp: {from: 0/s, to: 200/s, over: 2s}}, {hold: 200/s, for: 2s}]}\n";
    let ended = run(plan).target(&nginx.url()).agents(3).ends();
    let summary = ended.summary();
    // Half of 200/s for 2 s, then all of it.
    summary.expect_whole().expect_all_ok(600);
    assert_eq!(summary.count("coverage.planned_by_plan"), 600);
    assert_eq!(nginx.stop().len(), 600);
    let shares: Vec<u64> = summary.agents().values().map(|agent| agent.count("ledger.sent")).collect();
    assert_eq!(shares, [200, 200, 200]);
}

#[test]
fn a_url_with_flags_counts_what_nginx_counts() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let url = format!("{}/kept/quick", nginx.url());
    let flags = ["--rate", "100/s", "--for", "3s", "-X", "PUT", "-H", "content-type: text/plain", "-d", "hello"];
    let ended = quick(&url, flags).args(["--slo", "error_rate < 1%"]).ends();
    ended.summary().expect_whole().expect_all_ok(300);
    let served = nginx.stop();
    assert_eq!(served.len(), 300);
    assert!(served.iter().all(|request| request.method == "PUT" && request.body == "hello"), "{:?}", served[0]);
}

#[test]
fn a_fixed_number_of_requests_is_sent_exactly() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let ended = quick(&nginx.url(), ["--users", "7", "--requests", "1001"]).agents(2).ends();
    ended.summary().expect_whole().expect_all_ok(1_001);
    assert_eq!(nginx.stop().len(), 1_001);
}
