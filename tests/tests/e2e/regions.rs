//! One plan over three regions: who carries what, and what holds where.

use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::simulator::Simulator;
use squall_tests::squall::{Squall, run_of};
use squall_tests::{binaries, summary::Summary};

/// Regions, their targets' names, and their part of both the load and the traffic.
const REGIONS: [(&str, &str, u64); 3] =
    [("azure/eastus", "eastus", 50), ("azure/westeurope", "westeu", 30), ("aws/us-west-2", "uswest", 20)];

fn names() -> [&'static str; 3] {
    REGIONS.map(|(region, _, _)| region)
}

fn three_regions(simulator: &Simulator) -> Squall {
    let plan = run_of(&binaries::repository("examples/three-regions.yaml"));
    REGIONS
        .iter()
        .fold(plan, |plan, (region, target, _)| plan.set(&format!("targets.{target}.url"), &simulator.url(region)))
}

/// Within so many requests of `percent` of all that was sent.
fn expect_part(sent: u64, percent: u64, all: u64, within: u64, of: &str) {
    assert!(sent.abs_diff(all * percent / 100) <= within, "{of}: {sent} of {all}, {percent} % were meant");
}

#[test]
fn three_regions_carry_their_parts_and_pass_their_slos() {
    let _place = machine::alone();
    let (simulator, cluster) = (Simulator::start(&names()), Cluster::start(&names()));
    let ended = cluster.run(three_regions(&simulator)).ends();
    let summary = ended.expect_exit(0).summary();
    // Half of 60/s for 2 s, then all of it for 10 s.
    summary.expect_whole().expect_all_ok(660);
    let truth = simulator.truth();
    for (region, target, percent) in REGIONS {
        let of_region = summary.part("regions", region);
        expect_part(of_region.count("coverage.sent"), percent, 660, 1, region);
        assert!(of_region.count("latency.response_time.p99_us") >= of_region.count("latency.response_time.p50_us"));
        let of_target = summary.part("targets", target);
        // Targets are mixed by a low-discrepancy sequence: close to their weights over any stretch.
        expect_part(of_target.count("coverage.sent"), percent, 660, 660 / 100, target);
        let served = truth.part("regions", region);
        assert_eq!(of_target.count("coverage.completed"), served.count("total.completed"), "{target}");
        assert_eq!(of_target.at("status"), served.at("total.status"), "{target}");
    }
    // The slowest of all is the slowest of some region; the fleet's percentile is not the parts' mean.
    let max = |part: &Summary| part.count("latency.response_time.max_us");
    let slowest = names().iter().map(|region| max(&summary.part("regions", region))).max();
    assert_eq!(slowest, Some(max(&summary)));
    let slos = summary.list("slo");
    assert_eq!(slos.len(), 5);
    assert!(slos.iter().all(|slo| slo["passed"] == true), "{slos:#?}");
}

#[test]
fn an_slo_that_does_not_hold_fails_the_run_with_10_globally_and_by_region() {
    let _place = machine::alone();
    let (simulator, cluster) = (Simulator::start(&names()), Cluster::start(&names()));
    let plan = three_regions(&simulator).set("p99_limit", "1us").set("scenarios.lookup.load.for", "3s");
    let ended = cluster.run(plan.set("warm_up", "1s")).ends();
    let summary = ended.expect_exit(10).summary();
    assert_eq!(summary.text("verdict"), "failed");
    summary.expect_balanced();
    let failed: Vec<_> = summary.list("slo").iter().filter(|slo| slo["passed"] == false).collect();
    assert_eq!(failed.len(), 4, "the global one and one for each region: {failed:#?}");
    assert!(failed.iter().all(|slo| slo["limit"] == 1.0 || slo["limit"] == 1), "{failed:#?}");
}
