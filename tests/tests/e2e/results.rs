//! What a run leaves behind tells one story, file by file.

use squall_tests::nginx::Nginx;
use squall_tests::simulator::Simulator;
use squall_tests::squall::{run, squall};
use squall_tests::table::Table;
use squall_tests::{hlog, machine, summary::Summary};

const REGION: &str = "azure/eastus";
const PLAN: &str = "
name: story
tags: {team: shop}
scenarios:
  good: {weight: 3, get: '/fixed?ms=2'}
  bad: {weight: 1, get: /status/500}
load: {phases: [{ramp: {from: 0/s, to: 200/s, over: 2s}}, {hold: 200/s, for: 2s}, {pause: 1s}, {spike: 300/s, for: 1s}]}
warm_up: 1s
slo: ['p99(response_time) < 30s']
";

#[test]
fn every_file_tells_the_same_counts() {
    let _place = machine::shared();
    let simulator = Simulator::start(&[REGION]);
    let regions = ["--region", "azure/eastus", "--region", "aws/us-west-2", "--agents", "2"];
    let ended = run(PLAN).target(&simulator.url(REGION)).args(regions).ends();
    let summary = ended.summary();
    summary.expect_whole();
    assert_eq!(summary.count("coverage.sent"), 900);

    let rows = ended.file("timeseries.csv");
    let table = Table::read(&rows);
    for what in ["planned", "sent", "skipped", "completed", "failed"] {
        let sum = |scope: &dyn Fn(&str) -> bool| -> u64 {
            table.rows().filter(|row| scope(row.text("scope"))).map(|row| row.count(what)).sum()
        };
        assert_eq!(sum(&|scope| scope == "all"), summary.count(&format!("coverage.{what}")), "{what} of all");
        assert_eq!(sum(&|scope| scope != "all"), summary.count(&format!("coverage.{what}")), "{what} of regions");
        for region in ["azure/eastus", "aws/us-west-2"] {
            let of_region = summary.part("regions", region).count(&format!("coverage.{what}"));
            assert_eq!(sum(&|scope| scope == region), of_region, "{what} of {region}");
        }
    }

    let log = ended.file("intervals.hlog");
    for metric in ["response_time", "service_time", "dispatch_lag"] {
        let histogram = hlog::sum_of(&log, metric);
        assert_eq!(histogram.len(), summary.count(&format!("latency.{metric}.count")), "{metric}");
        let p99 = summary.count(&format!("latency.{metric}.p99_us"));
        assert_eq!(histogram.value_at_quantile(0.99), p99, "{metric}");
    }

    let events = ended.file("events.jsonl");
    let named: Vec<String> = events.lines().map(|line| Summary::from_json(line).text("event").to_owned()).collect();
    assert!(named.len() >= 3, "{named:?}");
}

#[test]
fn the_resolved_plan_runs_again_and_means_the_same() {
    let _place = machine::shared();
    let simulator = Simulator::start(&[REGION]);
    let ended = run(PLAN).target(&simulator.url(REGION)).set("tags.team", "ours").ends();
    let first = ended.summary();
    let again = run(&ended.file("plan.yaml")).ends().summary();
    assert_eq!(again.text("tags.team"), "ours");
    for what in ["coverage.planned", "coverage.sent", "coverage.completed", "status", "outcomes"] {
        assert_eq!(first.at(what), again.at(what), "{what}");
    }
    assert_eq!(simulator.truth_of(REGION).count("completed"), 1_800);
}

#[test]
fn the_results_directory_holds_the_documented_files() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let ended = run("name: files\nurl: /\nrate: 50/s\nhold_for: 1s\n").target(&nginx.url()).ends();
    let mut names: Vec<String> = std::fs::read_dir(ended.out())
        .expect("the results directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for file in ["events.jsonl", "intervals.hlog", "plan.yaml", "summary.json", "timeseries.csv"] {
        assert!(names.iter().any(|name| name == file), "{file} is not among {names:?}");
    }
    assert!(names.iter().all(|name| !name.ends_with(".part")), "{names:?}");
}

#[test]
fn progress_that_is_not_for_a_terminal_is_plain_lines() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let ended = run("name: plain\nurl: /\nrate: 50/s\nhold_for: 6s\n").target(&nginx.url()).ends();
    ended.summary().expect_whole().expect_all_ok(300);
    assert!(!ended.stderr.contains('\u{1b}') && !ended.stderr.contains('\r'), "{:?}", ended.stderr);
    assert!(!ended.stdout.contains('\u{1b}'));
    let progress = ended.stderr.lines().filter(|line| line.contains("/s") && line.contains("p99")).count();
    assert!(progress >= 1, "no line of progress:\n{}", ended.stderr);
}

#[test]
fn a_quiet_run_says_nothing_but_its_summary() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let url = nginx.url();
    let ended = squall(["run", &url, "--rate", "50/s", "--for", "1s", "--json", "--quiet", "--no-out"]).ends();
    assert_eq!(ended.stderr, "");
    Summary::from_json(&ended.stdout).expect_balanced().expect_all_ok(50);
}
