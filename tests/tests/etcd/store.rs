//! What one leader writes, the next one finds.

use crate::support::{LONG, client, leads, stand};
use serde_json::json;
use squall_controller::etcd::{
    AgentRecord, Checkpoint, Desired, EtcdError, Removed, ResultRecord, RunSpec, RunStatus, ShareRecord,
};
use squall_tests::etcd::Etcd;
use squall_tests::machine;
use std::time::Duration;

/// Ids of runs created in 1970, and after all that these tests call now.
const OLD: &str = "00000000010000000000000001";
const NEW: &str = "01XXXXXXXX0000000000000001";
const MANY: u32 = 150;

fn phase(phase: &str, ended: bool) -> RunStatus {
    RunStatus { phase: phase.into(), ended, ..RunStatus::default() }
}

fn checkpoint(sequence: u64) -> Checkpoint {
    Checkpoint { epoch: 3, sequence, counts: json!({"sent": sequence * 100}), digest: "d".into() }
}

fn agent(incarnation: &str) -> AgentRecord {
    AgentRecord {
        incarnation: incarnation.into(),
        address: "10.0.0.1".into(),
        capabilities: vec!["http2".into()],
        version: "0.1.0".into(),
        state: "idle".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_takes_over_everything_the_old_one_wrote() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let first = stand(&etcd, "first:1", LONG).await;
    let term = first.term(leads(&first).await);
    let targets = ["https://shop:443".to_owned(), "https://pay:443".to_owned()];
    // Incompressible and as large as a plan may be.
    let spec = RunSpec::new(
        "checkout",
        (0..256 << 10).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        "ann",
        5,
    );
    term.create_run(NEW, &spec, &phase("arming", false), &targets).await.unwrap();
    let busy = term.create_run(OLD, &spec, &phase("arming", false), &targets[1..]).await;
    assert!(
        matches!(&busy, Err(EtcdError::TargetBusy { target, run }) if target == &targets[1] && run == NEW),
        "{busy:?}"
    );
    let again = term.create_run(NEW, &spec, &phase("arming", false), &[]).await;
    assert!(matches!(again, Err(EtcdError::RunExists { .. })), "{again:?}");

    let share = ShareRecord {
        slot: "agent-1".into(),
        epoch: 3,
        share: json!({"weights": [1, 1], "index": 0}),
        state: "armed".into(),
    };
    let shares: Vec<(u32, ShareRecord)> = (0..MANY).map(|n| (n, share.clone())).collect();
    term.put_shares(NEW, &shares).await.unwrap();
    for sequence in 1..=2 {
        let checkpoints: Vec<(u32, Checkpoint)> = (0..MANY).map(|n| (n, checkpoint(sequence))).collect();
        term.checkpoint(NEW, &checkpoints).await.unwrap();
    }
    let desired = Desired { action: "stop".into(), by: "ann".into(), at_unix_ms: 7 };
    term.put_desired(NEW, &desired).await.unwrap();
    let epoch = term.put_agent("azure/eastus", "agent-1", &agent("one")).await.unwrap();
    let newer = term.put_agent("azure/eastus", "agent-1", &agent("two")).await.unwrap();
    assert!(newer > epoch, "an epoch only grows");
    // The older incarnation's leaving does not take the newer one with it.
    term.remove_agent("azure/eastus", "agent-1", epoch).await.unwrap();
    let known = first.agents().await.unwrap();
    assert_eq!(known, [("azure/eastus".to_owned(), "agent-1".to_owned(), newer, agent("two"))]);

    let second = stand(&etcd, "second:2", LONG).await;
    first.resign().await;
    let next = second.term(leads(&second).await);
    let runs = next.take_over().await.unwrap();
    assert_eq!(runs.len(), 1);
    let run = &runs[0];
    assert_eq!((run.run.as_str(), &run.spec, &run.desired), (NEW, &Some(spec), &Some(desired)));
    assert_eq!(run.shares.len(), MANY as usize);
    assert!(run.checkpoints.len() == MANY as usize && run.checkpoints.values().all(|kept| *kept == checkpoint(2)));
    assert!(run.unreadable.is_empty(), "{:?}", run.unreadable);
    assert_eq!(second.agents().await.unwrap(), [], "the old leader vouches for nobody any more");

    let result =
        ResultRecord { location: "file:///r".into(), sha256: "s".into(), verdict: "passed".into(), summary: json!({}) };
    next.conclude(NEW, "2033-01-02", &phase("done", true), &result, &targets).await.unwrap();
    assert_eq!(second.results().await.unwrap(), [(NEW.to_owned(), result)]);
    next.create_run(OLD, &RunSpec::new("b", vec![], "ann", 1), &phase("running", false), &targets).await.unwrap();
    let late = term.put_status(NEW, &phase("running", false)).await;
    assert!(matches!(late, Err(EtcdError::FenceGone)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_runs_are_removed_and_live_ones_and_results_stay() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let controller = stand(&etcd, "only:1", LONG).await;
    let term = controller.term(leads(&controller).await);
    let (keep, now_ms) = (Duration::from_secs(3_600), 2_000_000_000_000);
    let target = ["https://shop:443".to_owned()];
    term.create_run(OLD, &RunSpec::new("old", vec![1], "ann", 5), &phase("running", false), &target).await.unwrap();
    assert_eq!(term.retain(keep, now_ms).await.unwrap(), Removed::default(), "it has not ended");
    let result =
        ResultRecord { location: "l".into(), sha256: "s".into(), verdict: "passed".into(), summary: json!({}) };
    // Its target is left behind, as by a controller that died before it freed it.
    term.conclude(OLD, "1970-01-01", &phase("done", true), &result, &[]).await.unwrap();
    let removed = term.retain(keep, now_ms).await.unwrap();
    assert_eq!(removed, Removed { runs: vec![OLD.to_owned()], freed: target.to_vec() });
    assert_eq!(controller.runs().await.unwrap(), []);
    assert_eq!(controller.results().await.unwrap().len(), 1);
    term.create_run(OLD, &RunSpec::new("old", vec![1], "ann", 5), &phase("running", false), &target).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_a_newer_version_is_left_alone() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    client(&etcd, 0).await.put("/squall/v1/tests/schema", "{\"version\":99}", None).await.unwrap();
    let options = squall_controller::etcd::Options::new(etcd.endpoints(), "tests", "only:1");
    let refused = squall_controller::etcd::Coordinator::start(options).await.err().expect("refused").to_string();
    assert!(refused.contains("schema 99") && refused.contains("update this controller"), "{refused}");
}
