//! What an earlier leader left in etcd → the own store, where a new leader goes on with it.

use super::coordinator::KnownRun;
use super::fenced::unpacked;
use super::records::ResultRecord;
use crate::store::{self, STATE_DONE, STATE_INTERRUPTED, Store, StoreError, StoredRun};
use serde_json::{Value, json};
use squall_common::verdict::Verdict;
use std::collections::BTreeSet;

/// A reason in the index: the rest stands in the result itself.
const MAX_REASON_CHARS: usize = 1_000;

/// What the index of results says of a run: enough for a list of runs.
pub fn index_of(run: &StoredRun) -> Value {
    let reason: String = run.reason.chars().take(MAX_REASON_CHARS).collect();
    json!({
        "name": run.name, "state": run.state, "created_unix_ms": run.created_unix_ms,
        "duration_s": run.duration_s, "sent": run.sent, "reason": reason,
    })
}

fn of_index(run_id: &str, own: &str, record: &ResultRecord) -> StoredRun {
    let text = |key: &str| record.summary.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let count = |key: &str| record.summary.get(key).and_then(Value::as_u64).unwrap_or_default();
    let state = if text("state") == STATE_INTERRUPTED { STATE_INTERRUPTED } else { STATE_DONE };
    StoredRun {
        run_id: run_id.to_owned(),
        name: text("name"),
        state: state.to_owned(),
        verdict: record.verdict.clone(),
        reason: text("reason"),
        created_unix_ms: count("created_unix_ms"),
        duration_s: record.summary.get("duration_s").and_then(Value::as_f64).unwrap_or_default(),
        sent: count("sent"),
        summary_json: String::new(),
        // Ours, and not on our disk: nobody has it.
        kept_at: Some(record.location.clone()).filter(|location| location != own).unwrap_or_default(),
    }
}

/// Makes the store hold every run that goes on, as etcd has it, and no other: etcd is
/// right about what the fleet does, the disk about what was measured. Gives the runs
/// that nobody can go on with.
pub fn bring_runs(store: &dyn Store, runs: Vec<KnownRun>) -> Result<Vec<StoredRun>, StoreError> {
    let mut go_on = BTreeSet::new();
    let mut lost = Vec::new();
    for run in runs.into_iter().filter(|run| !run.status.as_ref().is_some_and(|status| status.ended)) {
        for unreadable in &run.unreadable {
            tracing::error!(run = %run.run, unreadable, "found in etcd");
        }
        let phase = run.status.map(|status| status.phase).unwrap_or_default();
        let stored = StoredRun { run_id: run.run.clone(), state: phase, ..StoredRun::default() };
        let Some(spec) = run.spec else {
            lost.push(stored);
            continue;
        };
        go_on.insert(run.run.clone());
        let stored = StoredRun { name: spec.name, created_unix_ms: spec.created_unix_ms, ..stored };
        store.create_run(&stored, &spec.plan)?;
        match run.drive.map(|drive| unpacked(&drive)).transpose() {
            Ok(drive) => drive.map_or(Ok(()), |drive| store.put_drive(&run.run, &drive))?,
            Err(error) => tracing::error!(run = %run.run, %error, "its state in etcd cannot be unpacked"),
        }
    }
    for run in store.runs(usize::MAX)?.into_iter().filter(|run| !run.has_ended() && !go_on.contains(&run.run_id)) {
        store::mark_interrupted(store, run, "the fleet in etcd knows nothing of it, or it ended elsewhere")?;
    }
    Ok(lost)
}

/// What to write of a run of which nothing but its id is left.
pub fn ended_without_plan(mut run: StoredRun) -> StoredRun {
    run.state = STATE_INTERRUPTED.to_owned();
    run.verdict = Verdict::Aborted.name().to_owned();
    run.reason = "its plan in etcd cannot be read, so nobody can go on with it".to_owned();
    run
}

/// Makes the store's list of runs hold those that ended under other controllers.
pub fn bring_results(store: &dyn Store, own: &str, results: &[(String, ResultRecord)]) -> Result<(), StoreError> {
    for (run_id, record) in results {
        let there = store.run(run_id)?;
        let is_own =
            record.location == own && there.as_ref().is_some_and(|run| run.has_ended() && run.kept_at.is_empty());
        let indexed = of_index(run_id, own, record);
        if !is_own && there.as_ref() != Some(&indexed) {
            store.update_run(&indexed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::fenced::packed;
    use crate::etcd::{RunSpec, RunStatus};
    use crate::store::EmbeddedStore;

    fn known(run: &str, ended: bool) -> KnownRun {
        KnownRun {
            run: run.into(),
            spec: Some(RunSpec::new("n", b"plan".to_vec(), "http://a:1", 5)),
            status: Some(RunStatus { phase: "running".into(), ended, ..RunStatus::default() }),
            drive: Some(packed(b"{}").unwrap()),
            ..KnownRun::default()
        }
    }

    #[test]
    fn a_run_that_goes_on_comes_with_its_plan_and_state_and_others_do_not_go_on() {
        let store = EmbeddedStore::in_memory().unwrap();
        let own = StoredRun { run_id: "C".into(), state: "running".into(), ..StoredRun::default() };
        store.create_run(&own, b"").unwrap();
        let planless = KnownRun { spec: None, ..known("D", false) };
        let lost = bring_runs(&store, vec![known("A", false), known("B", true), planless]).unwrap();
        assert_eq!(lost.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), ["D"]);
        let a = store.run("A").unwrap().unwrap();
        assert_eq!((a.state.as_str(), a.name.as_str(), a.created_unix_ms), ("running", "n", 5));
        assert_eq!(store.bundle("A").unwrap().unwrap(), b"plan".as_slice());
        assert_eq!(store.drive("A").unwrap().unwrap(), b"{}".as_slice());
        assert!(store.run("B").unwrap().is_none());
        assert!(store.run("C").unwrap().unwrap().has_ended());
    }

    #[test]
    fn a_result_of_another_controller_is_listed_with_where_it_lies_and_an_own_one_stays() {
        let store = EmbeddedStore::in_memory().unwrap();
        let run = StoredRun {
            run_id: "A".into(),
            state: STATE_DONE.into(),
            sent: 7,
            name: "n".into(),
            ..StoredRun::default()
        };
        let record = |location: &str| ResultRecord {
            location: location.into(),
            sha256: String::new(),
            verdict: "passed".into(),
            summary: index_of(&run),
        };
        store.update_run(&run).unwrap();
        bring_results(
            &store,
            "http://me:1",
            &[("A".into(), record("http://me:1")), ("B".into(), record("http://b:1"))],
        )
        .unwrap();
        assert_eq!(store.run("A").unwrap().unwrap(), run);
        let b = store.run("B").unwrap().unwrap();
        assert_eq!((b.kept_at.as_str(), b.verdict.as_str(), b.sent, b.has_ended()), ("http://b:1", "passed", 7, true));
    }
}
