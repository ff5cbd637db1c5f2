//! One leads, the others know who, and a leader that slept is not believed.

use crate::support::{LONG, SHORT, WITHIN, client, follows, leads, leads_after, stand};
use rustix::process::Signal;
use squall_controller::etcd::{Change, EtcdError, RunStatus};
use squall_tests::etcd::Etcd;
use squall_tests::machine;
use squall_tests::process::Process;
use squall_tests::wait;
use std::path::Path;
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_one_leads_and_the_others_know_its_address() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let first = stand(&etcd, "first:1", LONG).await;
    leads(&first).await;
    let (second, third) = (stand(&etcd, "second:2", LONG).await, stand(&etcd, "third:3", LONG).await);
    follows(&second, "first:1").await;
    follows(&third, "first:1").await;
    // Who resigns is replaced long before its lease would have ended, by the next in line.
    let began = std::time::Instant::now();
    first.resign().await;
    let (last, address) = tokio::select! {
        _ = leads(&second) => (&third, "second:2"),
        _ = leads(&third) => (&second, "third:3"),
    };
    assert!(began.elapsed() < LONG, "a lease was waited for");
    follows(last, address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_gone_ends_the_leadership_though_the_stream_says_ok() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let controller = stand(&etcd, "only:1", SHORT).await;
    let fence = leads(&controller).await;
    let lease = i64::from_str_radix(fence.key.rsplit_once('/').unwrap().1, 16).unwrap();
    client(&etcd, 0).await.lease_revoke(lease).await.unwrap();
    let newer = leads_after(&controller, Some(&fence)).await;
    assert!(newer.create_revision > fence.create_revision);
    let refused = controller.term(fence).put_status("r", &RunStatus::default()).await;
    assert!(matches!(refused, Err(EtcdError::FenceGone)), "{refused:?}");
    controller.term(newer).put_status("r", &RunStatus::default()).await.unwrap();
}

/// A candidate in a process of its own, writing whenever it believes to lead.
fn candidate(etcd: &Etcd, name: &str, dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-candidate"));
    command.args([&etcd.endpoints().join(","), "tests", name, "2", "the-run"]);
    let mut process = Process::start(name, command, dir);
    process.says("stands", WITHIN);
    process
}

/// The create revision in a line like `leads 7`.
fn revision(line: &str) -> i64 {
    line.rsplit_once(' ').and_then(|(_, number)| number.parse().ok()).expect("a revision")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_writes_nothing_after_it_wakes() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let dir = tempfile::TempDir::new().unwrap();
    let mut first = candidate(&etcd, "first", dir.path());
    let old = revision(&first.says("leads ", WITHIN));
    let mut second = candidate(&etcd, "second", dir.path());
    let observer = stand(&etcd, "observer", LONG).await;
    let mut changes = observer.watch(observer.keys().runs());
    // It only looks: standing, it would be next in line.
    observer.resign().await;
    first.signal(Signal::STOP);
    let new = revision(&second.says("leads ", WITHIN));
    assert!(new > old);
    first.signal(Signal::CONT);
    first.says(&format!("refused {old}"), WITHIN);
    // It stands again, behind the other.
    second.kill();
    wait::until("the first to lead again", WITHIN, || {
        first.stderr().lines().filter(|line| line.starts_with("leads ")).nth(1).map(revision)
    });
    let mut terms = Vec::new();
    let reading = async {
        while let Some(change) = changes.next().await {
            if let Change::Put(entry) = change {
                let status: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
                terms.push(status["term"].as_i64().unwrap());
                if *terms.last().unwrap() > new {
                    break;
                }
            }
        }
    };
    tokio::time::timeout(WITHIN, reading).await.expect("the third term's first write");
    assert!(terms.is_sorted(), "an earlier leader wrote after a later one: {terms:?}");
    assert!(terms.contains(&new), "{terms:?}");
}
