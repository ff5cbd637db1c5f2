//! What requests hold: rows used once, random values that a seed names.

use squall_tests::cluster::Cluster;
use squall_tests::machine;
use squall_tests::nginx::{self, Nginx};
use squall_tests::squall::{Squall, run};
use std::collections::BTreeMap;

const ROWS: usize = 300;

#[test]
fn a_unique_feeder_gives_every_row_to_one_request_of_the_fleet() {
    let _place = machine::shared();
    let (nginx, cluster) = (Nginx::start(), Cluster::start(&["local", "local", "local"]));
    let rows: String = (0..ROWS).map(|row| format!("row-{row:03}\n")).collect();
    let plan = "
name: unique
feeders: {orders: {file: orders.csv, order: unique}}
scenarios:
  take:
    get: '/kept/{{orders.id}}'
    load: {iterations: 400, users: 9, at_most: 30s}
";
    let command = run(plan).with_file("orders.csv", &format!("id\n{rows}")).target(&nginx.url());
    let summary = cluster.run(command).ends().summary();
    summary.expect_whole().expect_all_ok(ROWS as u64);
    assert_eq!(summary.count("coverage.skipped_by.feeder_exhausted"), 100);
    let served = nginx.stop();
    let expected: BTreeMap<String, u64> = (0..ROWS).map(|row| (format!("/kept/row-{row:03}"), 1)).collect();
    assert_eq!(nginx::uris(&served), expected);
}

fn orders(seed: &str, nginx: &Nginx) -> Squall {
    let plan = "
name: orders
url: /kept/orders
method: POST
payload: '{\"user\": \"{{$randomInt}}\", \"id\": \"{{$guid}}\", \"name\": \"{{$randomFirstName}}\"}'
rate: 200/s
arrivals: poisson
hold_for: 2s
";
    run(plan).target(&nginx.url()).args(["--seed", seed])
}

/// How often each body was received when this command ran.
fn bodies_of(command: impl FnOnce(&Nginx) -> Squall) -> BTreeMap<String, u64> {
    let nginx = Nginx::start();
    let summary = command(&nginx).ends().summary();
    let served = nginx.stop();
    summary.expect_whole().expect_all_ok(served.len() as u64);
    nginx::bodies(&served)
}

#[test]
fn equal_seeds_send_equal_bodies_on_one_agent_and_on_three() {
    let _place = machine::shared();
    let cluster = Cluster::start(&["local", "local", "local"]);
    let on_one = bodies_of(|nginx| orders("11", nginx));
    let on_three = bodies_of(|nginx| cluster.run(orders("11", nginx)));
    assert!(on_one.len() > 300, "bodies differ from one another: {}", on_one.len());
    assert_eq!(on_one, on_three);
    let with_another_seed = bodies_of(|nginx| orders("12", nginx));
    assert!(with_another_seed.keys().all(|body| !on_one.contains_key(body)));
}

#[test]
fn a_secret_reaches_the_target_and_nothing_that_is_kept() {
    const SECRET: &str = "open-sesame-4711";
    let _place = machine::shared();
    let nginx = Nginx::start();
    let plan = "
name: secret
url: /kept/vault
method: POST
payload: 'key=${env:SQUALL_TEST_SECRET}'
rate: 50/s
hold_for: 1s
";
    let ended = run(plan).target(&nginx.url()).env("SQUALL_TEST_SECRET", SECRET).ends();
    ended.summary().expect_whole().expect_all_ok(50);
    assert_eq!(nginx::bodies(&nginx.stop()), BTreeMap::from([(format!("key={SECRET}"), 50)]));
    for file in std::fs::read_dir(ended.out()).expect("the results directory") {
        let path = file.expect("an entry").path();
        let content = std::fs::read(&path).expect("a result file");
        let is_in = content.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
        assert!(!is_in, "{} holds the secret", path.display());
    }
    assert!(!ended.stderr.contains(SECRET) && !ended.stdout.contains(SECRET));
}

#[test]
fn a_secret_that_the_agent_lacks_stops_the_run_before_load() {
    let _place = machine::shared();
    let nginx = Nginx::start();
    let plan = "name: secret\nurl: /\nheaders: {x-key: '${env:SQUALL_TEST_NO_SECRET}'}\nrate: 50/s\nhold_for: 1s\n";
    let ended = run(plan).target(&nginx.url()).ends();
    ended.expect_exit(12);
    assert!(ended.stderr.contains("SQUALL_TEST_NO_SECRET"), "{}", ended.stderr);
    assert_eq!(nginx.stop().len(), 0);
}
