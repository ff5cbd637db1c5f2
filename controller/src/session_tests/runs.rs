use super::fake::{Cluster, FakeAgent, cluster, cluster_on, quick};
use crate::store::*;
use bytes::Bytes;
use squall_proto::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One agent, told to go.
async fn going() -> (Cluster, FakeAgent, String) {
    let cluster = cluster();
    let mut agent = cluster.agent("s", "01").await;
    let run_id = cluster.submit().await.unwrap();
    let prepare = agent.arm().await;
    assert_eq!(prepare.plan_digest, squall_common::wire::bundle_digest(&prepare.bundle.unwrap()));
    assert_eq!(prepare.shares.len(), 1);
    agent.go().await;
    (cluster, agent, run_id)
}

#[tokio::test]
async fn a_whole_run_passes_and_its_files_can_be_fetched() {
    let (cluster, mut agent, run_id) = going().await;
    assert_eq!(agent.heartbeat(&run_id).await, 10_000, "a lease while the run is live");
    agent.snapshot(&run_id, 1, 10).await;
    assert_eq!(agent.ack().await, 1);
    agent.finish(&run_id, 1, 10, "schedule").await;
    let end = cluster.end_of(&run_id).await;
    assert_eq!((end.verdict.as_str(), end.reason.as_str()), ("passed", ""));
    assert!(end.summary_json.contains("squall.summary/1"));
    assert!(agent.over().await, "the agent may forget it");
    assert_eq!(agent.heartbeat(&run_id).await, 0, "no lease after it");

    let mut pieces =
        cluster.operator().get_result(GetResultRequest { run_id: "latest".into() }).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        assert!(!piece.sha256.is_empty(), "small files come in one piece");
        names.push(piece.name);
    }
    assert!(names.contains(&"summary.json".to_owned()) && names.contains(&"events.jsonl".to_owned()), "{names:?}");
    let runs = cluster.operator().list_runs(ListRunsRequest { limit: 0 }).await.unwrap().into_inner().runs;
    assert_eq!((runs[0].state.as_str(), runs[0].sent), ("done", 10));
    let again = cluster.end_of(&run_id[..20]).await;
    assert_eq!(again.verdict, "passed", "an ended run can be watched by a prefix of its id");
}

#[tokio::test]
async fn duplicates_count_once_and_a_gap_is_not_acknowledged() {
    let (cluster, mut agent, run_id) = going().await;
    agent.snapshot(&run_id, 2, 5).await;
    assert!(agent.hears_nothing().await, "nothing before the gap is closed");
    agent.snapshot(&run_id, 1, 5).await;
    assert_eq!(agent.ack().await, 1);
    agent.snapshot(&run_id, 1, 5).await;
    assert_eq!(agent.ack().await, 1, "a duplicate is acknowledged again");
    agent.snapshot(&run_id, 2, 5).await;
    assert_eq!(agent.ack().await, 2);
    agent.finish(&run_id, 2, 10, "schedule").await;
    let end = cluster.end_of(&run_id).await;
    assert_eq!((end.verdict.as_str(), end.reason.as_str()), ("passed", ""));
    assert_eq!(cluster.store.snapshots(&run_id).unwrap().count(), 2);
}

#[tokio::test]
async fn an_older_epoch_is_fenced_out() {
    let (cluster, mut agent, run_id) = going().await;
    let epoch = agent.epoch;
    agent.epoch -= 1;
    agent.snapshot(&run_id, 1, 10).await;
    assert!(agent.hears_nothing().await);
    assert_eq!(cluster.store.snapshots(&run_id).unwrap().count(), 0);
    agent.epoch = epoch;
    agent.snapshot(&run_id, 1, 10).await;
    assert_eq!(agent.ack().await, 1);
}

#[tokio::test]
async fn totals_that_differ_from_what_was_merged_name_the_agent_and_the_seconds() {
    let (cluster, mut agent, run_id) = going().await;
    agent.snapshot(&run_id, 1, 10).await;
    agent.ack().await;
    agent.finish(&run_id, 1, 11, "schedule").await;
    let end = cluster.end_of(&run_id).await;
    assert_eq!(end.verdict, "invalid");
    assert!(end.reason.contains("agent `s`, seconds 0 to 0: planned: agent counted 11, merged 10"), "{}", end.reason);
}

#[tokio::test]
async fn fewer_requests_than_the_plan_means_are_noticed() {
    let (cluster, mut agent, run_id) = going().await;
    agent.snapshot(&run_id, 1, 9).await;
    agent.ack().await;
    agent.finish(&run_id, 1, 9, "schedule").await;
    let end = cluster.end_of(&run_id).await;
    assert!(end.reason.contains("the plan means 10 requests, the agents planned 9"), "{}", end.reason);
}

#[tokio::test]
async fn a_refused_plan_aborts_the_run_with_the_agents_reason() {
    let cluster = cluster();
    let mut agent = cluster.agent("s", "01").await;
    let run_id = cluster.submit().await.unwrap();
    let prepare = agent.prepared().await;
    let reason = "secret AOAI_KEY is not set".to_owned();
    let refusal = NotArmed { run_id: run_id.clone(), epoch: prepare.epoch, reason };
    agent.say(agent_message::Message::NotArmed(refusal)).await;
    let end = cluster.end_of(&run_id).await;
    assert_eq!(end.verdict, "aborted");
    assert!(end.reason.contains("agent `s` (azure/eastus)") && end.reason.contains("AOAI_KEY"), "{}", end.reason);
}

#[tokio::test]
async fn an_agent_that_never_arms_is_waited_for_only_so_long() {
    let cluster = cluster();
    let mut agent = cluster.agent("s", "01").await;
    let run_id = cluster.submit().await.unwrap();
    agent.prepared().await;
    let (end, ()) = tokio::join!(cluster.end_of(&run_id), async {
        for _ in 0..25 {
            agent.say(agent_message::Message::Heartbeat(Heartbeat::default())).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    assert!(end.verdict == "aborted" && end.reason.contains("did not arm within 2 s"), "{}", end.reason);
}

#[tokio::test]
async fn a_silent_agent_leaves_a_named_hole() {
    let (cluster, mut agent, run_id) = going().await;
    agent.snapshot(&run_id, 1, 10).await;
    agent.ack().await;
    drop(agent);
    let end = cluster.end_of(&run_id).await;
    assert_eq!(end.verdict, "invalid");
    assert!(end.reason.contains("agent `s` (azure/eastus), from second 1 to the end: no heartbeat"), "{}", end.reason);
}

#[tokio::test]
async fn an_agent_that_reconnects_goes_on_with_its_run() {
    let (cluster, mut agent, run_id) = going().await;
    agent.snapshot(&run_id, 1, 6).await;
    agent.ack().await;
    let epoch = agent.epoch;
    drop(agent);
    let (mut again, welcome) = cluster.agent_back("s", "01", &run_id, epoch).await;
    assert_eq!((again.epoch, welcome.run_goes_on, welcome.stored_sequence), (epoch, true, 1));
    again.go().await;
    again.snapshot(&run_id, 1, 6).await;
    assert_eq!(again.ack().await, 1);
    again.snapshot(&run_id, 2, 4).await;
    assert_eq!(again.ack().await, 2);
    again.finish(&run_id, 2, 10, "schedule").await;
    let end = cluster.end_of(&run_id).await;
    assert_eq!((end.verdict.as_str(), end.reason.as_str()), ("passed", ""));
}

#[tokio::test]
async fn a_stop_is_passed_on_and_still_gives_a_result() {
    let (cluster, mut agent, run_id) = going().await;
    let stop = StopRunRequest { run_id: run_id.clone(), now: false, reason: "enough".into() };
    cluster.operator().stop_run(stop).await.unwrap();
    match agent.next().await {
        controller_message::Message::Stop(stop) => assert!(!stop.now && stop.reason == "enough"),
        other => panic!("not stopped but {other:?}"),
    }
    agent.snapshot(&run_id, 1, 3).await;
    agent.finish(&run_id, 1, 3, "stopped").await;
    let end = cluster.end_of(&run_id).await;
    assert_eq!((end.verdict.as_str(), end.reason.as_str()), ("aborted", "enough"));
    assert!(end.summary_json.contains("\"sent\": 3"), "{}", end.summary_json);
}

#[tokio::test]
async fn a_watcher_sees_the_run_live() {
    let (cluster, mut agent, run_id) = going().await;
    let mut updates = cluster.watch(&run_id).await;
    agent.snapshot(&run_id, 1, 10).await;
    agent.ack().await;
    let view = loop {
        if let Some(run_update::Update::Live(view)) = updates.message().await.unwrap().unwrap().update {
            break view;
        }
    };
    assert_eq!((view.sent, view.agents, view.agents_reporting), (10, 1, 1));
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_costs_the_agent_its_place_not_the_controller() {
    let (cluster, agent, run_id) = going().await;
    let bad =
        Snapshot { run_id: run_id.clone(), epoch: agent.epoch, sequence: 1, first_interval: 9, ..Snapshot::default() };
    agent.say(agent_message::Message::Snapshot(bad)).await;
    let end = cluster.end_of(&run_id).await;
    assert!(end.reason.contains("snapshot 1 cannot be used"), "{}", end.reason);
}

/// Fails to store snapshots, as a full disk does.
struct Full(EmbeddedStore, AtomicBool);

impl Store for Full {
    fn create_run(&self, run: &StoredRun, bundle: &[u8]) -> Result<(), StoreError> {
        self.0.create_run(run, bundle)
    }
    fn put_drive(&self, run_id: &str, drive: &[u8]) -> Result<(), StoreError> {
        self.0.put_drive(run_id, drive)
    }
    fn drive(&self, run_id: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.drive(run_id)
    }
    fn update_run(&self, run: &StoredRun) -> Result<(), StoreError> {
        self.0.update_run(run)
    }
    fn run(&self, run_id: &str) -> Result<Option<StoredRun>, StoreError> {
        self.0.run(run_id)
    }
    fn runs(&self, limit: usize) -> Result<Vec<StoredRun>, StoreError> {
        self.0.runs(limit)
    }
    fn bundle(&self, run_id: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.bundle(run_id)
    }
    fn add_snapshots(&self, _: &str, _: &[(SnapshotKey, Bytes)]) -> Result<(), StoreError> {
        self.1.store(true, Ordering::SeqCst);
        Err(StoreError::Full(std::io::ErrorKind::StorageFull.into()))
    }
    fn snapshots(&self, run_id: &str) -> Result<SnapshotStream, StoreError> {
        self.0.snapshots(run_id)
    }
    fn add_events(&self, run_id: &str, lines: &[String]) -> Result<(), StoreError> {
        self.0.add_events(run_id, lines)
    }
    fn events(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        self.0.events(run_id)
    }
    fn conclude(&self, run: &StoredRun, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        self.0.conclude(run, files)
    }
    fn result_names(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        self.0.result_names(run_id)
    }
    fn result(&self, run_id: &str, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.0.result(run_id, name)
    }
}

#[tokio::test]
async fn what_is_not_stored_is_not_acknowledged_and_ends_the_run() {
    let store = Arc::new(Full(EmbeddedStore::in_memory().unwrap(), AtomicBool::new(false)));
    let cluster = cluster_on(store.clone(), quick());
    let mut agent = cluster.agent("s", "01").await;
    let run_id = cluster.submit().await.unwrap();
    agent.arm().await;
    agent.go().await;
    agent.snapshot(&run_id, 1, 10).await;
    match agent.next().await {
        controller_message::Message::Stop(stop) => assert!(stop.reason.contains("cannot be stored"), "{stop:?}"),
        other => panic!("not stopped but {other:?}"),
    }
    assert!(store.1.load(Ordering::SeqCst));
    agent.finish(&run_id, 1, 10, "stopped").await;
    let end = cluster.end_of(&run_id).await;
    assert!(end.verdict == "aborted" && end.reason.contains("no space left"), "{}", end.reason);
}
