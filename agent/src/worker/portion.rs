//! A part of a load that a worker sends: the agent's own share, or one it took over.

use squall_common::plan::{LoadModel, Plan};
use squall_common::schedule::{ArrivalSchedule, UserSpan};
use squall_common::split::Share;
use squall_proto as proto;

/// Iterations of users that were taken over are numbered from here, times the
/// number of the taking over: nobody knows how far the lost agent came with theirs.
const NUMBERS_APART: u64 = 1 << 24;

/// One part of one load, from an instant on.
#[derive(Clone, Debug)]
pub struct Portion {
    pub share: Share,
    /// Offset from the common start.
    pub from_ns: u64,
    /// 0: the agent's own share.
    pub taken_over: u32,
    /// Of an open load: its arrivals, wound forward to `from_ns`.
    schedule: Option<ArrivalSchedule>,
}

impl Portion {
    pub fn own(share: Share) -> Self {
        Self { share, from_ns: 0, taken_over: 0, schedule: None }
    }

    pub fn schedule(&self) -> Option<ArrivalSchedule> {
        self.schedule.clone()
    }

    /// What of a user's time lies in this portion.
    pub fn clip(&self, spans: Vec<UserSpan>) -> Vec<UserSpan> {
        let later = spans.into_iter().filter(|span| span.end_ns > self.from_ns);
        later.map(|span| UserSpan { start_ns: span.start_ns.max(self.from_ns), ..span }).collect()
    }

    /// The first iteration number of one of `users` users.
    pub fn first_number(&self, user: u64, users: u64) -> u64 {
        user + users * NUMBERS_APART * u64::from(self.taken_over)
    }
}

/// Shares taken over from a lost agent, one for each load.
#[derive(Debug)]
pub struct Adoption {
    pub from_ns: u64,
    pub portions: Vec<Portion>,
}

impl Adoption {
    /// Reads the order. `from_ns` is when it takes effect here. Winding a long
    /// schedule forward takes a while, so this is not for a worker's thread.
    pub fn read(order: &proto::Adopt, plan: &Plan, seed: u64, from_ns: u64) -> Result<Self, String> {
        if order.shares.len() != plan.loads.len() {
            return Err(format!("{} shares for {} loads", order.shares.len(), plan.loads.len()));
        }
        let portions = order.shares.iter().zip(plan.load_ids()).map(|(share, load)| {
            let share = squall_common::wire::read_share(share).map_err(|error| error.to_string())?;
            let schedule = match &plan.load(load).model {
                LoadModel::Open { arrivals, phases, .. } => {
                    let mut schedule = ArrivalSchedule::new(phases, *arrivals, seed, load, &share);
                    schedule.wind_to(from_ns);
                    Some(schedule)
                }
                _ => None,
            };
            Ok(Portion { share, from_ns, taken_over: order.number, schedule })
        });
        Ok(Self { from_ns, portions: portions.collect::<Result<_, String>>()? })
    }
}
