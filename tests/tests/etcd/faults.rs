//! etcd itself fails: hangs, loses its quorum, loses a member.

use crate::support::{LONG, SHORT, client, leads, leads_after, stand, until};
use squall_controller::etcd::{EtcdError, Leadership, RunStatus};
use squall_tests::etcd::Etcd;
use squall_tests::machine;

fn running(sequence: u64) -> RunStatus {
    RunStatus { phase: "running".into(), sequence, ..RunStatus::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_ends_the_leadership_and_gives_it_back() {
    let _place = machine::shared();
    let etcd = Etcd::single();
    let controller = stand(&etcd, "only:1", SHORT).await;
    let fence = leads(&controller).await;
    etcd.freeze(0);
    until(&controller, "to be lost", |now| *now == Leadership::Lost).await;
    let unknown = controller.term(fence.clone()).put_status("r", &running(1)).await;
    assert!(matches!(unknown, Err(EtcdError::Unreachable { .. })), "{unknown:?}");
    etcd.thaw(0);
    let newer = leads_after(&controller, Some(&fence)).await;
    controller.term(newer).take_over().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nobody_leads_and_nothing_is_written() {
    let _place = machine::shared();
    let etcd = Etcd::of_three();
    let controller = stand(&etcd, "only:1", SHORT).await;
    let fence = leads(&controller).await;
    let term = controller.term(fence.clone());
    term.put_status("r", &running(1)).await.unwrap();
    (1..3).for_each(|n| etcd.freeze(n));
    until(&controller, "to be lost", |now| *now == Leadership::Lost).await;
    let unknown = term.put_status("r", &running(2)).await;
    assert!(matches!(unknown, Err(EtcdError::Unreachable { .. })), "{unknown:?}");
    (1..3).for_each(|n| etcd.thaw(n));
    let newer = leads_after(&controller, Some(&fence)).await;
    let term = controller.term(newer);
    let runs = term.take_over().await.unwrap();
    // The write without an answer may have been done or not, once, before the new term.
    let sequence = runs[0].status.as_ref().unwrap().sequence;
    assert!(sequence == 1 || sequence == 2, "{sequence}");
    term.put_status("r", &running(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_or_hangs_is_passed_over() {
    let _place = machine::shared();
    let mut etcd = Etcd::of_three();
    let controller = stand(&etcd, "only:1", LONG).await;
    let fence = leads(&controller).await;
    let term = controller.term(fence.clone());
    for n in 0..3 {
        let sequence = n as u64;
        etcd.kill(n);
        term.put_status("r", &running(sequence * 2)).await.unwrap();
        etcd.restart(n);
        client(&etcd, n).await.defragment().await.unwrap();
        term.put_status("r", &running(sequence * 2 + 1)).await.unwrap();
    }
    assert_eq!(*controller.leadership().borrow(), Leadership::Leader(fence), "no member was needed");
    assert_eq!(controller.runs().await.unwrap()[0].status, Some(running(5)));
}
