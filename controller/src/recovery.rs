//! Where a live run stands, written down so that another controller can go on
//! with it, and the going on.
//!
//! Invariant: a drive is stored before any message that it makes true is sent.
//! So what the agents know is never more than what the store says, and saying
//! it all again (`run::Event::Back`) brings them to the same place. What is
//! merged is not in here: it is counted from the stored snapshots.

use crate::conclusion::Told;
use crate::driver::{self, Start, Taking};
use crate::fleet::{Member, Shared};
use crate::plan_source;
use crate::run::{Place, Run};
use crate::store::{self, Store, StoreError, StoredRun};
use prost::Message;
use serde::{Deserialize, Serialize};
use squall_agent::clock;
use squall_common::merge::{Accepted, AgentIndex, RunMerge};
use squall_common::wire;
use squall_proto::{Armed, Finished, PlanBundle, Share};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Agents have this long to come back to a controller that has just come,
/// beyond what was waited for anyway.
const COME_BACK_WITHIN: Duration = Duration::from_secs(15);

/// The same instant on the monotonic clock and on the wall.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Instants {
    clock: String,
    monotonic_ns: u64,
    unix_ns: u64,
}

impl Instants {
    fn now() -> Self {
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Self { clock: clock::name().to_owned(), monotonic_ns: clock::now_ns(), unix_ns }
    }

    /// What to add to an instant of the other's monotonic clock to have it on ours:
    /// nothing on the same machine, elsewhere as the wall clocks have it.
    fn shift_from(&self, other: &Self) -> i64 {
        if self.clock == other.clock {
            return 0;
        }
        let ahead = |at: &Self| i128::from(at.monotonic_ns) - i128::from(at.unix_ns);
        (ahead(self) - ahead(other)) as i64
    }
}

/// What an agent said, as it said it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoredTold {
    armed: Option<Vec<u8>>,
    finished: Option<Vec<u8>>,
    lost: Option<String>,
}

impl From<&Told> for StoredTold {
    fn from(told: &Told) -> Self {
        Self {
            armed: told.armed.as_ref().map(Armed::encode_to_vec),
            finished: told.finished.as_ref().map(Finished::encode_to_vec),
            lost: told.lost.clone(),
        }
    }
}

impl From<StoredTold> for Told {
    fn from(stored: StoredTold) -> Self {
        // Written by us, under a checksum.
        Self {
            armed: stored.armed.and_then(|bytes| Armed::decode(bytes.as_slice()).ok()),
            finished: stored.finished.and_then(|bytes| Finished::decode(bytes.as_slice()).ok()),
            lost: stored.lost,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredTaking {
    lost: Place,
    from_ns: u64,
    takers: Vec<(Place, Vec<Vec<u8>>)>,
    told: Vec<(Place, u64)>,
}

/// Where a run stands.
#[derive(Serialize, Deserialize)]
pub struct Drive {
    pub run: Run,
    members: Vec<Member>,
    /// Encoded, by member, one for each load.
    shares: Vec<Vec<Vec<u8>>>,
    pub told: Vec<StoredTold>,
    takings: Vec<StoredTaking>,
    pub load_ended_ns: Option<u64>,
    pub started_at: SystemTime,
    written: Instants,
}

impl Drive {
    pub fn of(
        run: &Run,
        start: &Start,
        told: &[Told],
        takings: &[Taking],
        load_ended_ns: Option<u64>,
        started_at: SystemTime,
    ) -> Self {
        let shares = start.shares.iter();
        let encode = |own: &Vec<squall_common::split::Share>| {
            own.iter().map(|one| wire::write_share(one).encode_to_vec()).collect()
        };
        let takings = takings.iter().map(|taking| StoredTaking {
            lost: taking.lost,
            from_ns: taking.from_ns,
            takers: taking.takers.iter().map(|(place, shares)| (*place, encode(shares))).collect(),
            told: taking.told.clone(),
        });
        Self {
            run: run.clone(),
            members: start.members.clone(),
            shares: shares.map(encode).collect(),
            takings: takings.collect(),
            told: told.iter().map(StoredTold::from).collect(),
            load_ended_ns,
            started_at,
            written: Instants::now(),
        }
    }

    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

/// A run to go on with.
pub(crate) struct Resumed {
    pub start: Start,
    pub drive: Drive,
    pub merge: RunMerge,
    pub takings: Vec<Taking>,
    pub newest_interval: Option<u32>,
}

/// Goes on with every run in the store that has not ended. One that cannot be
/// gone on with is ended, with the reason.
pub(crate) fn take_over(shared: &Arc<Shared>) -> Result<(), StoreError> {
    for status in shared.store.runs(usize::MAX)?.into_iter().filter(|run| !run.has_ended()) {
        let (run_id, name) = (status.run_id.clone(), status.name.clone());
        match read(shared.store.as_ref(), status.clone()) {
            Ok(resumed) => {
                tracing::info!(run = %run_id, stage = resumed.drive.run.stage().name(), "going on with a run");
                let ends = shared.reclaim(&run_id, &name, &resumed.start.members);
                tokio::spawn(driver::resume(shared.clone(), resumed, ends));
            }
            Err(why) => {
                tracing::error!(run = %run_id, why, "a run cannot be gone on with");
                store::mark_interrupted(shared.store.as_ref(), status, &why)?;
            }
        }
    }
    Ok(())
}

fn read(store: &dyn Store, status: StoredRun) -> Result<Resumed, String> {
    let in_words = |error: StoreError| error.to_string();
    let bundle = store.bundle(&status.run_id).map_err(in_words)?.ok_or("its plan is not in the store")?;
    let bundle = PlanBundle::decode(bundle).map_err(|error| format!("its plan cannot be read: {error}"))?;
    let loaded = plan_source::load(&bundle)?;
    let drive = store.drive(&status.run_id).map_err(in_words)?.ok_or("it had not begun")?;
    let mut drive: Drive =
        serde_json::from_slice(&drive).map_err(|error| format!("its state cannot be read: {error}"))?;
    let read_share = |bytes: &Vec<u8>| {
        let share = Share::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
        wire::read_share(&share).map_err(|error| error.to_string())
    };
    let shares = drive.shares.iter().map(|own| own.iter().map(read_share).collect::<Result<Vec<_>, _>>());
    let shares = shares.collect::<Result<Vec<_>, _>>()?;
    let members = std::mem::take(&mut drive.members);
    let takings = std::mem::take(&mut drive.takings).into_iter().map(|stored| {
        let takers = stored
            .takers
            .iter()
            .map(|(place, own)| Ok::<_, String>((*place, own.iter().map(read_share).collect::<Result<Vec<_>, _>>()?)));
        let takers = takers.collect::<Result<_, _>>()?;
        Ok::<_, String>(Taking { lost: stored.lost, from_ns: stored.from_ns, takers, told: stored.told })
    });
    let takings = takings.collect::<Result<_, _>>()?;

    let agents: Vec<_> = members.iter().map(|member| (member.slot.clone(), member.region.clone())).collect();
    let mut merge = RunMerge::new(Arc::new(loaded.plan.clone()), &agents);
    let newest_interval = merge_stored(store, &status.run_id, &members, &mut merge)?;

    let now = Instants::now();
    let shift_ns = now.shift_from(&drive.written);
    let mut run = drive.run.resume(now.monotonic_ns, shift_ns, COME_BACK_WITHIN);
    for (place, agent) in merge.agents().iter().enumerate() {
        run.recount(place, agent.last_sequence, agent.last_interval.map_or(0, |last| last + 1));
    }
    drive.run = run;
    drive.load_ended_ns = drive.load_ended_ns.map(|ended| ended.saturating_add_signed(shift_ns));
    let start = Start { run_id: status.run_id.clone(), bundle, loaded, members, shares, status };
    Ok(Resumed { start, drive, merge, takings, newest_interval })
}

/// Merges what is stored, each agent's snapshots in their order.
fn merge_stored(
    store: &dyn Store,
    run_id: &str,
    members: &[Member],
    merge: &mut RunMerge,
) -> Result<Option<u32>, String> {
    let places: BTreeMap<(&str, u64), usize> =
        members.iter().enumerate().map(|(place, member)| ((member.slot.as_str(), member.epoch), place)).collect();
    let mut newest = None;
    for row in store.snapshots(run_id).map_err(|error| error.to_string())? {
        let (key, bytes) = row.map_err(|error| error.to_string())?;
        let what = format!("snapshot {} of agent `{}`", key.sequence, key.slot);
        let place = *places.get(&(key.slot.as_str(), key.epoch)).ok_or(format!("{what} is of no member"))?;
        let wire = squall_proto::Snapshot::decode(bytes).map_err(|error| format!("{what}: {error}"))?;
        let snapshot = wire::read_snapshot(&wire).map_err(|error| format!("{what}: {error}"))?;
        // By interval is by sequence, for each agent.
        if merge.accept(AgentIndex(place), key.sequence, &snapshot) != Accepted::Merged {
            return Err(format!("{what} does not follow the one before"));
        }
        newest = newest.max(Some(snapshot.last_interval));
    }
    Ok(newest)
}

/// Everything stored but what was measured in `affected` seconds.
pub(crate) fn merge_without(
    store: &dyn Store,
    run_id: &str,
    merge: &RunMerge,
    affected: &RangeInclusive<u32>,
) -> Result<RunMerge, StoreError> {
    let agents = merge.agents().iter();
    let agents: Vec<_> =
        agents.map(|agent| (agent.slot.clone(), merge.regions()[usize::from(agent.region.0)].clone())).collect();
    let mut apart = RunMerge::new(merge.plan().clone(), &agents);
    // Numbered anew: what is left out must not look like a gap.
    let mut next: Vec<u64> = vec![1; agents.len()];
    for row in store.snapshots(run_id)? {
        let (key, bytes) = row?;
        let read = squall_proto::Snapshot::decode(bytes).ok().and_then(|wire| wire::read_snapshot(&wire).ok());
        let place = agents.iter().position(|(slot, _)| *slot == key.slot);
        let (Some(snapshot), Some(place)) = (read, place) else { continue };
        if snapshot.last_interval < *affected.start() || snapshot.first_interval > *affected.end() {
            apart.accept(AgentIndex(place), next[place], &snapshot);
            next[place] += 1;
        }
    }
    Ok(apart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_move_by_the_wall_clock_only_between_machines() {
        let at = |clock: &str, monotonic_ns, unix_ns| Instants { clock: clock.into(), monotonic_ns, unix_ns };
        let written = at("a", 1_000, 500_000);
        assert_eq!(at("a", 9_000, 777_000).shift_from(&written), 0);
        // 200 ns later on a machine whose clock stands at 50.
        let elsewhere = at("b", 50, 500_200);
        assert_eq!(1_000i64 + elsewhere.shift_from(&written), 50 - 200);
    }
}
