//! The examples run as they are.

use squall_tests::squall::{Squall, run_of, squall};
use squall_tests::{binaries, machine};

fn simulated(example: &str) -> Squall {
    run_of(&binaries::repository(example)).arg("--simulate")
}

#[test]
fn every_example_passes_its_check() {
    let _place = machine::shared();
    let directory = std::fs::read_dir(binaries::repository("examples")).expect("examples");
    let plans: Vec<String> = directory
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .filter(|path| path.ends_with(".yaml"))
        .collect();
    assert!(plans.len() >= 7, "{plans:?}");
    for plan in plans {
        squall(["check", &plan]).ends().expect_exit(0);
    }
}

#[test]
fn an_embedded_simulator_needs_nothing_else() {
    let _place = machine::shared();
    let quickstart = simulated("examples/quickstart.yaml");
    let summary = quickstart.set("hold_for", "2s").set("warm_up", "1s").ends().summary();
    // Half of 100/s for 2 s, then all of it.
    summary.expect_whole().expect_all_ok(300);
}

#[test]
fn a_fixed_amount_of_work_is_shared_by_its_users() {
    let _place = machine::shared();
    let summary = simulated("examples/shared-iterations.yaml").agents(2).ends().summary();
    summary.expect_whole().expect_all_ok(500);
    assert_eq!(summary.count("iterations.completed"), 500);
}

#[test]
fn a_staircase_with_a_spike_and_a_pause_sends_what_is_drawn() {
    let _place = machine::shared();
    let summary = simulated("examples/staircase-and-spike.yaml").ends().summary();
    summary.expect_whole();
    // 20, 40, 60, 80 and 100/s for 3 s each; 300/s for 2 s; 50 to 20/s in 3 s; nothing; 20/s for 3 s.
    let drawn = 3 * (20 + 40 + 60 + 80 + 100) + 600 + 105 + 60;
    assert_eq!(summary.count("coverage.planned"), drawn);
}
