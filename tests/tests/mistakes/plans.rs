//! Plans with one mistake each, as files, and two with many.

use crate::told::Told;
use squall_tests::binaries;
use std::path::PathBuf;

/// Distinct mistakes that the plans below make, at least.
const LEAST: usize = 30;

fn plans_about(subject: &str) -> Vec<PathBuf> {
    let dir = binaries::data("mistakes").join(subject);
    let mut plans: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    plans.sort();
    plans
}

/// Checks every plan about a subject; the other files there are what they refer to.
fn told_about(subject: &str) {
    let mut told = Told::new();
    let files = plans_about(subject);
    for file in &files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        told.file(&name, std::fs::read(file).expect("a readable plan"));
    }
    for plan in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "yaml")) {
        told.squall(&["check", &plan.file_name().expect("a name").to_string_lossy()]);
    }
    let text = told.text();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
    }
    told.is_as_in(&format!("plans_{subject}"));
}

#[test]
fn yaml_that_is_none_and_keys_that_are_unknown() {
    told_about("yaml");
}

#[test]
fn loads_that_mean_nothing() {
    told_about("load");
}

#[test]
fn targets_that_cannot_be() {
    told_about("targets");
}

#[test]
fn requests_that_cannot_be_sent() {
    told_about("requests");
}

#[test]
fn rows_that_are_not_there() {
    told_about("feeders");
}

#[test]
fn objectives_that_cannot_be_judged() {
    told_about("slo");
}

#[test]
fn many_mistakes_are_told_together() {
    told_about("many");
}

#[test]
fn what_may_be_meant_is_warned_of() {
    told_about("warnings");
}

#[test]
fn there_are_many_distinct_mistakes() {
    let subjects = ["yaml", "load", "targets", "requests", "feeders", "slo"];
    let plans = subjects.iter().flat_map(|subject| plans_about(subject));
    let count = plans.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")).count();
    assert!(count >= LEAST, "{count}");
}

/// `run` says the same as `check`, and sends nothing.
#[test]
fn a_run_tells_the_same_as_a_check() {
    let mut told = Told::new();
    told.file("plan.yaml", "target: shop.example\nconcurrency: 10\nhold_for: 30\n");
    told.squall(&["run", "plan.yaml", "--out", "out"]);
    assert!(!told.path("out").exists(), "nothing is written for a plan that cannot run");
    told.is_as_in("run_of_a_wrong_plan");
}
