use super::*;

fn run(run_id: &str, state: &str) -> StoredRun {
    StoredRun { run_id: run_id.into(), name: "checkout".into(), state: state.into(), ..StoredRun::default() }
}

fn key(first_interval: u32, slot: &str, sequence: u64) -> SnapshotKey {
    SnapshotKey { first_interval, slot: slot.into(), epoch: 7, sequence }
}

#[test]
fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("squall.redb");
    {
        let store = EmbeddedStore::open(&path).unwrap();
        store.create_run(&run("01", "preparing"), b"bundle").unwrap();
        store.add_snapshots("01", &[(key(0, "a", 1), Bytes::from_static(b"x"))]).unwrap();
        store.add_events("01", &["one".into()]).unwrap();
        store.add_events("01", &["two".into()]).unwrap();
        store.conclude(&run("01", STATE_DONE), &[("summary.json".into(), b"{}".to_vec())]).unwrap();
    }
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(store.run("01").unwrap().unwrap().state, STATE_DONE);
    assert_eq!(store.bundle("01").unwrap().unwrap(), "bundle");
    assert_eq!(store.snapshots("01").unwrap().count(), 1);
    assert_eq!(store.events("01").unwrap(), ["one", "two"]);
    assert_eq!(store.result_names("01").unwrap(), ["summary.json"]);
    assert_eq!(store.result("01", "summary.json").unwrap().unwrap(), "{}");
    assert_eq!(store.result("01", "nothing").unwrap(), None);
}

#[test]
fn snapshots_stream_by_interval_and_runs_do_not_mix() {
    let store = EmbeddedStore::in_memory().unwrap();
    let bytes = || Bytes::from_static(b"x");
    store
        .add_snapshots("01", &[(key(2, "a", 3), bytes()), (key(0, "b", 1), bytes()), (key(0, "a", 1), bytes())])
        .unwrap();
    store.add_snapshots("01", &[(key(0, "a", 1), bytes())]).unwrap();
    store.add_snapshots("02", &[(key(1, "a", 2), bytes())]).unwrap();
    let keys: Vec<SnapshotKey> = store.snapshots("01").unwrap().map(|row| row.unwrap().0).collect();
    assert_eq!(keys, [key(0, "a", 1), key(0, "b", 1), key(2, "a", 3)]);
}

#[test]
fn the_newest_run_is_listed_first() {
    let store = EmbeddedStore::in_memory().unwrap();
    for id in ["01", "02", "03"] {
        store.create_run(&run(id, STATE_DONE), b"").unwrap();
    }
    let ids: Vec<String> = store.runs(2).unwrap().into_iter().map(|run| run.run_id).collect();
    assert_eq!(ids, ["03", "02"]);
}

#[test]
fn a_run_that_cannot_go_on_is_interrupted_with_the_reason() {
    let store = EmbeddedStore::in_memory().unwrap();
    store.create_run(&run("01", "running"), b"").unwrap();
    mark_interrupted(&store, run("01", "running"), "its plan is not in the store").unwrap();
    let marked = store.run("01").unwrap().unwrap();
    assert_eq!((marked.state.as_str(), marked.verdict.as_str()), (STATE_INTERRUPTED, "aborted"));
    assert!(marked.reason.contains("while the run was running: its plan is not in the store"), "{}", marked.reason);
}

#[test]
fn where_a_run_stands_is_kept_until_it_ends() {
    let store = EmbeddedStore::in_memory().unwrap();
    store.create_run(&run("01", "running"), b"").unwrap();
    store.put_drive("01", b"first").unwrap();
    store.put_drive("01", b"second").unwrap();
    assert_eq!(store.drive("01").unwrap().unwrap(), "second");
    store.conclude(&run("01", STATE_DONE), &[]).unwrap();
    assert_eq!(store.drive("01").unwrap(), None);
}

#[test]
fn a_store_in_use_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("squall.redb");
    let _open = EmbeddedStore::open(&path).unwrap();
    assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::Locked { .. })));
}

#[test]
fn a_file_that_is_no_store_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("squall.redb");
    std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
    let error = EmbeddedStore::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("squall.redb"));
}
