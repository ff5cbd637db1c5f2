//! A watch tells what went away, also while it could not see.

use crate::support::{LONG, WITHIN, client, leads, stand, stand_on};
use squall_controller::etcd::{Change, Coordinator, Watch};
use squall_tests::etcd::Etcd;
use squall_tests::machine;

async fn next(watch: &mut Watch) -> Change {
    tokio::time::timeout(WITHIN, watch.next()).await.expect("a change").expect("the watch lives")
}

/// The next change as `+key` or `-key`.
async fn told(watch: &mut Watch) -> String {
    match next(watch).await {
        Change::Put(entry) => format!("+{}", entry.key),
        Change::Deleted { key } => format!("-{key}"),
        Change::Current => "current".to_owned(),
    }
}

async fn begun(coordinator: &Coordinator) -> Watch {
    let mut watch = coordinator.watch("/watched/");
    assert_eq!(told(&mut watch).await, "+/watched/a");
    assert_eq!(told(&mut watch).await, "+/watched/b");
    assert_eq!(told(&mut watch).await, "current");
    watch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_and_compacted_away_meanwhile_is_told() {
    let _place = machine::shared();
    let mut etcd = Etcd::of_three();
    let mut operator = client(&etcd, 1).await;
    operator.put("/watched/a", "1", None).await.unwrap();
    operator.put("/watched/b", "1", None).await.unwrap();
    // It sees the first member only, which goes away.
    let coordinator = stand_on(vec![etcd.endpoint(0)], "only:1", LONG).await;
    let mut watch = begun(&coordinator).await;
    etcd.kill(0);
    // Elsewhere etcd needs a moment when its leader was the one that went.
    let deleted = async {
        while operator.delete("/watched/a", None).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WITHIN, deleted).await.expect("a quorum");
    let put = operator.put("/watched/c", "1", None).await.unwrap();
    let revision = put.header().unwrap().revision();
    operator.compact(revision, None).await.unwrap();
    etcd.restart(0);
    assert_eq!(told(&mut watch).await, "-/watched/a");
    assert_eq!(told(&mut watch).await, "+/watched/c");
    assert_eq!(told(&mut watch).await, "current", "it was listed, because what it asked for was compacted");
    operator.delete("/watched/b", None).await.unwrap();
    assert_eq!(told(&mut watch).await, "-/watched/b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_after_a_restart_without_telling_anything_twice() {
    let _place = machine::shared();
    let mut etcd = Etcd::single();
    let mut operator = client(&etcd, 0).await;
    operator.put("/watched/a", "1", None).await.unwrap();
    operator.put("/watched/b", "1", None).await.unwrap();
    let coordinator = stand(&etcd, "only:1", LONG).await;
    leads(&coordinator).await;
    let mut watch = begun(&coordinator).await;
    etcd.kill(0);
    etcd.restart(0);
    let mut operator = client(&etcd, 0).await;
    operator.put("/watched/a", "2", None).await.unwrap();
    match next(&mut watch).await {
        Change::Put(entry) => assert_eq!((entry.key.as_str(), entry.value.as_slice()), ("/watched/a", &b"2"[..])),
        other => panic!("{other:?}"),
    }
}
