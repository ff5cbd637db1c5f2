//! Flags, and files that are not plans.

use crate::told::Told;

const PLAN: &str = "target: http://127.0.0.1:8080\nurl: /orders\nrate: 10/s\nhold_for: 10s\n";

fn with_a_plan() -> Told {
    let told = Told::new();
    told.file("plan.yaml", PLAN);
    told
}

#[test]
fn files_that_are_no_plans() {
    let mut told = Told::new();
    told.file("latin1.yaml", b"name: caf\xe9\n");
    std::fs::create_dir(told.path("plans")).expect("a directory");
    for plan in ["missing.yaml", "plans", "latin1.yaml"] {
        told.squall(&["check", plan]);
        told.squall(&["run", plan]);
    }
    told.squall(&["simulate", "missing.yaml"]);
    told.file("cloud.yaml", "regions:\n  - {name: azure/eastus, prot: 8080}\n");
    told.squall(&["simulate", "cloud.yaml"]);
    told.file("plan.yaml", PLAN);
    told.squall(&["init", "plan.yaml"]);
    told.squall(&["init", "missing/plan.yaml"]);
    told.is_as_in("files_that_are_no_plans");
}

#[test]
fn commands_and_flags_that_are_unknown() {
    let mut told = with_a_plan();
    told.squall(&["chekc", "plan.yaml"]);
    told.squall(&["check"]);
    told.squall(&["check", "plan.yaml", "--targte", "http://127.0.0.1:8080"]);
    told.squall(&["run", "plan.yaml", "--agents", "0"]);
    told.squall(&["run", "plan.yaml", "--agents", "1000"]);
    told.squall(&["run", "plan.yaml", "--seed", "lucky"]);
    told.squall(&["run", "plan.yaml", "--region", "East US"]);
    told.squall(&["run", "plan.yaml", "--out", "a", "--no-out"]);
    told.squall(&["run", "plan.yaml", "--simulate", "--target", "http://127.0.0.1:8080"]);
    told.squall(&["run", "plan.yaml", "--controller", "http://127.0.0.1:7700", "--region", "local"]);
    told.squall(&["runs", "--limit", "0"]);
    told.squall(&["serve", "--listen", "everywhere"]);
    told.squall(&["serve", "--listen", "0.0.0.0:0"]);
    told.is_as_in("commands_and_flags_that_are_unknown");
}

#[test]
fn values_that_a_plan_does_not_take() {
    let mut told = with_a_plan();
    for set in ["rate", "=5/s", "rate=5", "raet=5/s", "colour=red", "load.rate=5/s", "headers.accept.q=1"] {
        told.squall(&["check", "plan.yaml", "--set", set]);
    }
    told.squall(&["check", "plan.yaml", "--target", "shop.example"]);
    told.squall(&["check", "plan.yaml", "--drain", "5"]);
    told.file(
        "two.yaml",
        "targets: {a: http://a.example, b: http://b.example}\nload: {rate: 1/s, for: 1s}\nscenarios: {s: {get: /}}\n",
    );
    told.squall(&["check", "two.yaml", "--target", "http://127.0.0.1:8080"]);
    told.is_as_in("values_that_a_plan_does_not_take");
}

#[test]
fn a_url_and_a_plan_mixed_up() {
    let mut told = with_a_plan();
    told.squall(&["run", "plan.yaml", "--rate", "5/s"]);
    told.squall(&["run", "127.0.0.1:8080", "--rate", "5/s", "--for", "1s"]);
    told.squall(&["run", "127.0.0.1:8080"]);
    told.squall(&["run", "ftp://127.0.0.1/", "--rate", "5/s", "--for", "1s"]);
    told.is_as_in("a_url_and_a_plan_mixed_up");
}

#[test]
fn flags_in_place_of_a_plan() {
    let mut told = Told::new();
    let url = "http://127.0.0.1:8080/";
    told.squall(&["run", url]);
    told.squall(&["run", url, "--rate", "5/s"]);
    told.squall(&["run", url, "--rate", "5", "--for", "30"]);
    told.squall(&["run", url, "--users", "many", "--for", "10s"]);
    told.squall(&["run", url, "--users", "5", "--rate", "5/s", "--max-in-flight", "5", "--for", "10s"]);
    told.squall(&["run", url, "--max-in-flight", "5", "--for", "10s"]);
    let load = ["--rate", "5/s", "--for", "1s"];
    for more in [
        &["-H", "accept"][..],
        &["-H", ": json"],
        &["-H", "content-length: 5"],
        &["-X", "GE T"],
        &["-d", "@missing.json"],
        &["--timeout", "5"],
        &["--slo", "p99 < 5ms"],
        &["--slo", "p99(response_time) < 5"],
    ] {
        told.squall(&[&["run", url], &load[..], more].concat());
    }
    told.squall(&["run", "http://", "--rate", "5/s", "--for", "1s"]);
    told.is_as_in("flags_in_place_of_a_plan");
}

/// All but the messages of the argument parser, which a shell shows as they are, fit.
#[test]
fn words_are_broken_at_the_width_of_a_terminal() {
    let mut told = with_a_plan();
    told.squall(&["run", "plan.yaml", "--rate", "5/s"]);
    told.squall(&["serve", "--listen", "0.0.0.0:0"]);
    told.squall(&["runs", "--controller", "http://127.0.0.1:1"]);
    for line in told.text().lines() {
        assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
    }
}
