//! What agents and controllers tell each other.

use prost::Message;
use squall_common::interval::IntervalSnapshot;
use squall_common::merge::{AgentIndex, RunMerge};
use squall_common::plan::Region;
use squall_common::plan::file::{PlanSource, load};
use squall_common::wire::{
    SnapshotWriter, bundle_digest, read_bundle, read_share, read_snapshot, read_totals, write_share,
};
use squall_proto as proto;
use squall_proto::agent_message::Message as FromAgent;
use squall_proto::controller_message::Message as FromController;
use std::sync::Arc;

const PLAN: &str = "name: fuzz\nurl: http://localhost/\nrate: 10/s\nhold_for: 10s\n";

/// Encoded [`proto::Snapshot`].
pub fn snapshot(bytes: &[u8]) {
    if let Ok(wire) = proto::Snapshot::decode(bytes) {
        take_snapshot(&wire);
    }
}

/// Encoded [`proto::AgentMessage`], as the controller reads it.
pub fn agent_message(bytes: &[u8]) {
    let Ok(message) = proto::AgentMessage::decode(bytes) else { return };
    match message.message {
        Some(FromAgent::Snapshot(wire)) => take_snapshot(&wire),
        Some(FromAgent::Finished(finished)) => {
            let totals = read_totals(&finished);
            // What is held against another ledger is read out, whatever it says.
            let _ = (totals.imbalances(), totals.differences(&totals));
        }
        Some(_) | None => {}
    }
}

/// Encoded [`proto::ControllerMessage`], as an agent reads it.
pub fn controller_message(bytes: &[u8]) {
    let Ok(message) = proto::ControllerMessage::decode(bytes) else { return };
    let Some(FromController::Prepare(prepare)) = message.message else { return };
    for wire in &prepare.shares {
        if let Ok(share) = read_share(wire) {
            assert_eq!(write_share(&share), *wire, "a share is what was written");
        }
    }
    if let Some(bundle) = &prepare.bundle {
        let _ = (bundle_digest(bundle), load(&read_bundle(bundle)));
    }
}

/// Reads a snapshot; whatever passes is merged, as a controller would, and is
/// written and read again without a change.
fn take_snapshot(wire: &proto::Snapshot) {
    let Ok(read) = read_snapshot(wire) else { return };
    let again = SnapshotWriter::default().snapshot(&wire.run_id, &wire.slot, wire.epoch, wire.sequence, &read);
    let again = read_snapshot(&again).expect("what was written can be read");
    assert_eq!(again.flows, read.flows);
    assert_eq!(again.series, read.series);
    merge(&read);
}

fn merge(snapshot: &IntervalSnapshot) {
    // Long spans are taken too, at a cost that is theirs; here they would only take time.
    if snapshot.last_interval - snapshot.first_interval > 1_000 {
        return;
    }
    let source = PlanSource { name: "plan.yaml".into(), text: PLAN.into(), ..PlanSource::default() };
    let plan = Arc::new(load(&source).expect("a plan").plan);
    let agents = [("agent-1".to_owned(), Region::new("azure/eastus").expect("a region"))];
    let mut merged = RunMerge::new(plan, &agents);
    for sequence in 1..=2 {
        merged.accept(AgentIndex(0), sequence, snapshot);
    }
    let _ = (merged.ledger().imbalances(), merged.series(), merged.rows().count());
}
