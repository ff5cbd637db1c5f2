//! Results that cannot be saved or read.

use crate::servers;
use crate::told::Told;
use std::os::unix::fs::symlink;
use std::process::Command;

const OTHERS: &str = r#"{"verdict": "passed"}"#;

fn told_with_a_plan() -> Told {
    let told = Told::new();
    let url = format!("http://127.0.0.1:{}", servers::plain());
    told.file("plan.yaml", format!("target: {url}\nrate: 10/s\nhold_for: 1s\n"));
    told
}

#[test]
fn a_place_that_takes_no_results() {
    let mut told = told_with_a_plan();
    told.file("results.txt", "");
    told.squall(&["run", "plan.yaml", "--out", "results.txt"]);
    told.squall(&["run", "plan.yaml", "--out", "results.txt/today"]);
    // Not even root may make a directory there.
    told.squall(&["run", "plan.yaml", "--out", "/proc/results"]);
    told.is_as_in("results_no_place");
}

/// What a run left there must not be mixed up with another's.
#[test]
fn a_place_that_holds_other_results() {
    let mut told = told_with_a_plan();
    std::fs::create_dir(told.path("out")).expect("a directory");
    told.file("out/summary.json", OTHERS);
    told.squall(&["run", "plan.yaml", "--out", "out"]);
    told.squall(&["report", "out", "--out", "out"]);
    assert_eq!(std::fs::read_to_string(told.path("out/summary.json")).expect("still there"), OTHERS);
    told.is_as_in("results_already_there");
}

/// The device that is always full stands in for a file that results pass through.
#[test]
fn a_disk_that_is_full_when_results_are_saved() {
    let mut told = told_with_a_plan();
    std::fs::create_dir(told.path("out")).expect("a directory");
    symlink("/dev/full", told.path("out/summary.part")).expect("a link to the full device");
    told.squall(&["run", "plan.yaml", "--out", "out", "--quiet"]);
    assert!(!told.path("out/summary.json").exists(), "no file is half there");
    told.is_as_in("results_disk_full");
}

/// Found out before load is sent.
#[test]
fn a_disk_that_is_full_before_the_run() {
    let mut told = told_with_a_plan();
    std::fs::create_dir(told.path("out")).expect("a directory");
    symlink("/dev/full", told.path("out/.squall-probe")).expect("a link to the full device");
    told.squall(&["run", "plan.yaml", "--out", "out"]);
    told.is_as_in("results_disk_full_before");
}

#[test]
fn a_standard_output_that_is_full() {
    let mut told = told_with_a_plan();
    told.squall_after("exec >/dev/full", &["check", "plan.yaml"]);
    told.squall_after("exec >/dev/full", &["run", "plan.yaml", "--no-out", "--quiet", "--json"]);
    told.is_as_in("results_stdout_full");
}

#[test]
fn results_that_are_none() {
    let mut told = Told::new();
    std::fs::create_dir(told.path("empty")).expect("a directory");
    std::fs::create_dir(told.path("damaged")).expect("a directory");
    told.file("damaged/summary.json", "{\"verdict\": ");
    std::fs::create_dir(told.path("foreign")).expect("a directory");
    told.file("foreign/summary.json", "{\"verdict\": \"splendid\"}");
    told.squall(&["report", "empty"]);
    told.squall(&["report", "damaged"]);
    told.squall(&["report", "foreign"]);
    told.squall(&["report", "./nowhere"]);
    told.is_as_in("results_that_are_none");
}

#[test]
fn a_store_that_cannot_be_used() {
    let mut told = Told::new();
    told.file("file", "");
    std::fs::create_dir(told.path("corrupt")).expect("a directory");
    told.file("corrupt/squall.redb", "this is not a store\n".repeat(400));
    std::fs::create_dir(told.path("cut")).expect("a directory");
    told.file("cut/squall.redb", "this");
    let listen = ["serve", "--listen", "127.0.0.1:0", "--data"];
    for data in ["file", "corrupt", "cut", "/proc/squall"] {
        told.squall(&[&listen[..], &[data]].concat());
    }
    told.squall_after("trap '' XFSZ; ulimit -f 8", &[&listen[..], &["full"]].concat());
    let mut command = Command::new(squall_tests::binaries::built("squall"));
    command.args(listen).arg("held");
    let mut first = told.start("first", command);
    first.says("controller on http://", squall_tests::wait::secs(10));
    told.squall(&[&listen[..], &["held"]].concat());
    told.is_as_in("store_unusable");
}
