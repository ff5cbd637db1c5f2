//! The simulator knows what it served, and how long it took.

use squall_tests::binaries;
use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::simulator::Simulator;
use squall_tests::squall::{run, run_of};

const REGION: &str = "azure/eastus";

#[test]
fn latency_percentiles_agree_with_what_the_simulator_measured() {
    let _place = machine::alone();
    let simulator = Simulator::start(&[REGION]);
    let plan = "name: truth\nurl: /lognormal?p50_ms=10&p99_ms=60\nrate: 200/s\nhold_for: 10s\n";
    let summary = run(plan).target(&simulator.url(REGION)).ends().summary();
    let truth = simulator.truth_of(REGION);
    summary.expect_whole().expect_all_ok(2_000);
    assert_eq!(truth.count("completed"), 2_000);
    for figure in ["p50_us", "p90_us", "p99_us"] {
        let measured = summary.number(&format!("latency.service_time.{figure}"));
        let served = truth.number(&format!("latency.{figure}"));
        println!("{figure}: {measured} µs, served in {served} µs");
        assert!((measured - served).abs() <= f64::max(1_000.0, served * 0.02), "{figure}: {measured}, served {served}");
    }
}

#[test]
fn outcomes_of_a_failing_service_are_counted_one_by_one() {
    let _place = machine::shared();
    let simulator = Simulator::start(&[REGION]);
    let plan = "
name: mixed
scenarios:
  good: {weight: 6, get: /fixed}
  missing: {weight: 2, get: /status/404}
  broken: {weight: 1, get: /status/503}
  throttled: {weight: 1, get: /status/429}
load: {rate: 200/s, for: 3s}
";
    let summary = run(plan).target(&simulator.url(REGION)).agents(2).ends().summary();
    let truth = simulator.truth_of(REGION);
    summary.expect_whole();
    assert_eq!(summary.at("status"), truth.at("status"));
    assert_eq!(summary.count("coverage.completed"), 600);
    let outcomes = [("ok", "200", 360), ("http_4xx", "404", 120), ("http_5xx", "503", 60), ("throttled", "429", 60)];
    for (outcome, status, by_weight) in outcomes {
        let counted = summary.count(&format!("outcomes.{outcome}"));
        assert_eq!(counted, truth.count(&format!("status.{status}")), "{outcome}");
        assert!(counted.abs_diff(by_weight) <= 600 / 100, "{counted} {outcome}, {by_weight} by weight");
    }
}

#[test]
fn a_checkout_of_several_steps_goes_through_whole() {
    let _place = machine::shared();
    let simulator = Simulator::start(&[REGION]);
    let checkout = run_of(&binaries::repository("examples/checkout.yaml")).target(&simulator.url(REGION));
    let ended = checkout.set("load.ramp_up", "2s").set("load.for", "3s").set("warm_up", "1s").ends();
    let summary = ended.summary();
    summary.expect_whole().expect_all_ok(summary.count("coverage.planned"));
    assert!(summary.list("slo").iter().all(|slo| slo["passed"] == true), "{:#}", summary.at("slo"));
    assert_eq!(simulator.truth_of(REGION).count("completed"), summary.count("coverage.completed"));
    let buy = summary.part("scenarios", "buy");
    let (baskets, payments) = (buy.part("requests", "put into the basket"), buy.part("requests", "pay"));
    assert!(baskets.count("coverage.completed") > 0);
    assert_eq!(baskets.at("coverage"), payments.at("coverage"));
}

#[test]
fn http_2_without_tls_counts_what_the_simulator_counts() {
    let _place = machine::shared();
    let simulator = Simulator::start(&[REGION]);
    let plan = format!(
        "name: h2\ntargets: {{cloud: {{url: '{}', http: 2}}}}\nscenarios: {{fetch: {{get: '/fixed?ms=20'}}}}\n\
         load: {{users: 20, for: 3s}}\n",
        simulator.url(REGION)
    );
    let summary = run(&plan).ends().summary();
    let truth = simulator.truth();
    let region = truth.part("regions", REGION);
    summary.expect_whole().expect_all_ok(region.count("total.completed"));
    // 20 users of HTTP/1.1 would need 20; each of two workers needs one, and proves the target with one.
    let connections = region.count("connections_accepted");
    assert!(connections < 20, "{connections} connections for 20 users");
}

#[test]
fn regions_that_are_down_are_refused_connections_and_named() {
    let _place = machine::shared();
    let (simulator, cluster) = (Simulator::start(&[REGION]), Cluster::start(&["local"]));
    let nobody = squall_tests::ports::free();
    let plan = format!(
        "name: down\ntargets: {{up: '{}', down: 'http://127.0.0.1:{nobody}'}}\nscenarios: {{fetch: {{get: /fixed}}}}\n\
         load: {{rate: 10/s, for: 1s}}\n",
        simulator.url(REGION)
    );
    let ended = cluster.run(run(&plan)).ends();
    // A target that cannot be reached is told before any load is sent.
    ended.expect_exit(12);
    assert!(ended.stderr.contains(&format!("target `down` (127.0.0.1:{nobody})")), "{}", ended.stderr);
    assert_eq!(simulator.truth_of(REGION).count("started"), 0);
}
