//! The open model: what is sent, and when it was meant to be, is the plan's
//! alone, whoever carries it.

use squall_tests::cluster::Cluster;
use squall_tests::nginx::Nginx;
use squall_tests::squall::run;
use squall_tests::{machine, schedule};

const SECONDS: u64 = 5;

fn plan(arrivals: &str) -> String {
    format!(
        "name: {arrivals}\nseed: 7\ntarget: http://127.0.0.1:1\nurl: /\nrate: 1000/s\narrivals: {arrivals}\n\
         hold_for: {SECONDS}s\nsample_log: true\n"
    )
}

/// Runs the plan on so many agents and gives the instants they meant, in µs.
fn intended_instants(plan: &str, agents: usize) -> Vec<u64> {
    let nginx = Nginx::start();
    let cluster = Cluster::start(&vec!["local"; agents]);
    let summary = cluster.run(run(plan).target(&nginx.url())).ends().summary();
    let mut instants: Vec<u64> = cluster.samples().iter().map(|sample| sample.intended_us).collect();
    instants.sort_unstable();
    summary.expect_whole().expect_all_ok(instants.len() as u64);
    assert_eq!(summary.count("coverage.planned_by_plan"), summary.count("coverage.sent"));
    assert_eq!(nginx.stop().len(), instants.len());
    instants
}

#[test]
fn uniform_arrivals_of_three_agents_are_the_single_machine_schedule() {
    let _place = machine::shared();
    let plan = plan("uniform");
    let instants = intended_instants(&plan, 3);
    assert_eq!(instants.len() as u64, 1_000 * SECONDS);
    assert_eq!(instants, schedule::of_plan(&plan));
}

#[test]
fn poisson_arrivals_of_three_agents_are_the_single_machine_schedule() {
    let _place = machine::shared();
    let plan = plan("poisson");
    let instants = intended_instants(&plan, 3);
    assert_eq!(instants, schedule::of_plan(&plan));
    // Not one of them is spaced evenly, or this would be the other test.
    assert_ne!(instants.len() as u64, 0);
    let gaps: Vec<u64> = instants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().any(|&gap| gap > 3_000) && gaps.iter().any(|&gap| gap < 100));
}

#[test]
fn one_agent_means_the_same_instants_as_three() {
    let _place = machine::shared();
    let plan = plan("poisson").replace(&format!("{SECONDS}s"), "2s");
    assert_eq!(intended_instants(&plan, 1), intended_instants(&plan, 3));
}
