//! A leader that is gone, stands still or leaves costs a run nothing.

use crate::support::{WITHIN, client};
use rustix::process::Signal;
use squall_proto::ListRunsRequest;
use squall_proto::operator_client::OperatorClient;
use squall_tests::controllers::Controllers;
use squall_tests::etcd::Etcd;
use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::squall::{run, squall};
use squall_tests::wait::secs;

const REGIONS: [&str; 2] = ["azure/eastus", "aws/us-west-2"];
const PLAN: &str = "name: kept\nurl: /\nrate: 200/s\nhold_for: 18s\n";
const SHORT_PLAN: &str = "name: short\nurl: /\nrate: 100/s\nhold_for: 2s\n";

#[test]
fn a_leader_killed_mid_run_with_its_disk_is_replaced_and_nothing_is_missing() {
    let _place = machine::shared();
    let (etcd, nginx) = (Etcd::single(), Nginx::start());
    let mut fleet = Controllers::start(&etcd, 2, &REGIONS);
    let mut running = fleet.run(run(PLAN).target(&nginx.url())).start();
    let run_id = running.run_id();
    running.until("load", secs(30), || nginx.served_so_far() >= 600);
    fleet.destroy(0);
    let ended = running.ends_within(secs(60));
    let summary = ended.expect_exit(0).summary();
    assert_eq!(summary.text("run_id"), run_id);
    summary.expect_whole().expect_all_ok(3_600);
    assert_eq!(nginx.stop().len(), 3_600);
    assert!(ended.file("events.jsonl").contains("controller_resumed"), "{}", ended.file("events.jsonl"));
    squall(["report", &run_id]).on(&fleet.urls()).ends().expect_exit(0);
}

#[test]
fn a_leader_that_stood_still_for_longer_than_its_lease_does_nothing_after_it_wakes() {
    let _place = machine::shared();
    let (etcd, nginx) = (Etcd::single(), Nginx::start());
    let mut fleet = Controllers::start(&etcd, 3, &REGIONS);
    let mut running = fleet.run(run(PLAN).target(&nginx.url())).start();
    let run_id = running.run_id();
    running.until("load", secs(30), || nginx.served_so_far() >= 600);
    fleet.freeze(0);
    // Both hear of a leader that is not the first, and the agents with them.
    fleet.agents_registered(2);
    fleet.thaw(0);
    fleet.controller(0).says("leads no longer", secs(20));
    let summary = running.ends_within(secs(60));
    summary.expect_exit(0).summary().expect_whole().expect_all_ok(3_600);
    assert_eq!(nginx.stop().len(), 3_600);
    let history = terms_of(&etcd, &run_id);
    assert!(history.is_sorted(), "an earlier leader wrote after a later one: {history:?}");
    assert!(history.first() < history.last(), "{history:?}");
    let woken = fleet.controller(0).stderr();
    let after = woken.split_once("leads no longer").map(|(_, after)| after).unwrap_or_default();
    assert!(!after.contains(" leads runs="), "{after}");
}

fn runtime() -> tokio::runtime::Runtime {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.expect("a runtime")
}

/// Waits for a key of etcd.
async fn until_there(etcd: &Etcd, key: &str) {
    let mut client = client(etcd, 0).await;
    let found = async {
        while client.get(key, None).await.expect("etcd answers").kvs().is_empty() {
            tokio::time::sleep(WITHIN / 300).await;
        }
    };
    tokio::time::timeout(WITHIN, found).await.unwrap_or_else(|_| panic!("there is no {key}"));
}

/// The terms of all writes of a run's status, in the order of their revisions.
fn terms_of(etcd: &Etcd, run_id: &str) -> Vec<i64> {
    runtime().block_on(async {
        let mut client = client(etcd, 0).await;
        let key = format!("/squall/v1/default/runs/{run_id}/status");
        let mut revision = 0;
        let mut terms = Vec::new();
        // From the newest write back to the first.
        loop {
            let at = etcd_client::GetOptions::new().with_revision(revision);
            let found = client.get(key.as_str(), Some(at)).await.expect("etcd answers");
            let Some(kv) = found.kvs().first() else { break };
            let status: serde_json::Value = serde_json::from_slice(kv.value()).expect("a status");
            terms.push(status["term"].as_i64().expect("a term"));
            revision = kv.mod_revision() - 1;
        }
        terms.reverse();
        terms
    })
}

#[test]
fn a_leader_that_is_told_to_stop_leaves_its_run_to_the_next() {
    let _place = machine::shared();
    let (etcd, nginx) = (Etcd::single(), Nginx::start());
    let mut fleet = Controllers::start(&etcd, 2, &REGIONS);
    let mut running = fleet.run(run(PLAN).target(&nginx.url())).start();
    running.until("load", secs(30), || nginx.served_so_far() >= 400);
    fleet.controller(0).signal(Signal::TERM);
    fleet.leads(1);
    assert_eq!(fleet.controller(0).exit_code_within(secs(20)), 0);
    running.ends_within(secs(60)).expect_exit(0).summary().expect_whole().expect_all_ok(3_600);
    assert_eq!(nginx.stop().len(), 3_600);
}

#[test]
fn a_standby_names_the_leader_and_the_cli_follows() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let fleet = Controllers::start(&etcd, 2, &[]);
    let refused = runtime().block_on(async {
        let mut operator = OperatorClient::connect(fleet.url(1)).await.unwrap();
        operator.list_runs(ListRunsRequest { limit: 1 }).await.unwrap_err()
    });
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().starts_with("NOT_LEADER"), "{}", refused.message());
    assert_eq!(refused.metadata().get("squall-leader").unwrap().to_str().unwrap(), fleet.url(0));
    let listed = squall(["runs"]).on(&fleet.url(1)).ends();
    assert!(listed.expect_exit(0).stdout.contains("no runs yet"), "{}", listed.stdout);
}

#[test]
fn a_run_that_ended_under_another_controller_is_listed_and_reported() {
    let _place = machine::shared();
    let (etcd, nginx) = (Etcd::single(), Nginx::start());
    let mut fleet = Controllers::start(&etcd, 2, &REGIONS[..1]);
    runtime().block_on(until_there(&etcd, "/squall/v1/default/agents/azure/eastus/agent-1"));
    let mut running = fleet.run(run(SHORT_PLAN).target(&nginx.url())).start();
    let run_id = running.run_id();
    running.ends_within(secs(40)).expect_exit(0);
    fleet.freeze(0);
    fleet.leads(1);
    fleet.thaw(0);
    fleet.controller(0).says("leads no longer", secs(20));
    let listed = squall(["runs", "--json"]).on(&fleet.urls()).ends();
    let runs: serde_json::Value = serde_json::from_str(&listed.expect_exit(0).stdout).unwrap();
    assert_eq!((runs[0]["run_id"].as_str(), runs[0]["verdict"].as_str()), (Some(run_id.as_str()), Some("passed")));
    squall(["report", &run_id]).on(&fleet.url(1)).ends().expect_exit(0);
    // With its files gone, where they were is told.
    fleet.destroy(0);
    let told = squall(["report", &run_id]).on(&fleet.url(1)).ends();
    assert!(told.expect_exit(12).stderr.contains(&fleet.url(0)), "{}", told.stderr);
}
