//! The open model: arrivals leave at their instants, whatever became of earlier ones.

use super::iteration::{self, Turn, User};
use super::{Lane, Portion, Shop};
use crate::clock::now_ns;
use squall_common::interval::SkipReason;
use squall_common::plan::{LoadId, LoadModel, MaxInFlight, WhenFull};
use squall_common::schedule::{Arrival, ArrivalSchedule};
use squall_common::split::Share;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Users kept for the next arrivals; more at once are made and dropped as needed.
const IDLE_USERS_KEPT: usize = 4_096;
/// An arrival this late is a reason to ask whether the lease still holds.
const SUSPICIOUS_LATENESS_NS: u64 = 1_000_000_000;

/// Starts the pacer of one open load.
pub fn begin(shop: &Rc<Shop>, load: LoadId, portion: &Portion) {
    let LoadModel::Open { arrivals, phases, max_in_flight } = &shop.plan.load(load).model else { return };
    let whole = || ArrivalSchedule::new(phases, *arrivals, shop.seed, load, &portion.share);
    let schedule = portion.schedule().unwrap_or_else(whole);
    let (lane, slots) = match max_in_flight {
        None => (Some(shop.lane), None),
        Some(limit) => limited(shop, &portion.share, *limit),
    };
    let Some(lane) = lane else { return };
    let schedule = schedule.skip(lane.index as usize).step_by(lane.count as usize);
    let pacer = Pacer { shop: shop.clone(), load, schedule, due: None, slots, idle: Rc::default() };
    shop.spawn(pacer.run());
}

struct Slots {
    free: Arc<Semaphore>,
    when_full: WhenFull,
}

/// The worker's part of `max_in_flight`. Where there are fewer slots than
/// workers, the first workers carry the load alone: one slot each.
fn limited(shop: &Shop, share: &Share, limit: MaxInFlight) -> (Option<Lane>, Option<Slots>) {
    // An agent that carries arrivals needs a slot to send them; Prepare warns where the limit is too small for that.
    let of_agent = share.count_of(limit.limit.into()).max(1);
    let lanes = Lane { index: shop.lane.index, count: (shop.lane.count).min(of_agent.min(u32::MAX.into()) as u32) };
    if lanes.index >= lanes.count {
        return (None, None);
    }
    let free = Arc::new(Semaphore::new(lanes.part_of(of_agent) as usize));
    (Some(lanes), Some(Slots { free, when_full: limit.when_full }))
}

struct Pacer<I: Iterator<Item = Arrival>> {
    shop: Rc<Shop>,
    load: LoadId,
    schedule: I,
    /// Taken from the schedule, not yet on its way.
    due: Option<Turn>,
    slots: Option<Slots>,
    idle: Rc<RefCell<Vec<User>>>,
}

impl<I: Iterator<Item = Arrival>> Pacer<I> {
    #[expect(clippy::while_let_on_iterator)]
    async fn run(mut self) {
        let start_ns = self.shop.meter.start_ns();
        // Not a `for`: the schedule's rest is asked for again when this is dropped.
        while let Some(arrival) = self.schedule.next() {
            let intended_ns = start_ns + arrival.offset_ns;
            let turn = Turn { load: self.load, number: arrival.number, intended_ns };
            self.due = Some(turn);
            if self.shop.timers.sleep_until(intended_ns).await.is_err() {
                return;
            }
            let late_ns = now_ns() - intended_ns;
            if late_ns > SUSPICIOUS_LATENESS_NS && !self.shop.lease_holds() {
                return;
            }
            let permit = match &self.slots {
                None => None,
                Some(slots) => match (slots.free.clone().try_acquire_owned(), slots.when_full) {
                    (Ok(permit), _) => Some(permit),
                    (Err(_), WhenFull::Skip) => {
                        self.due = None;
                        iteration::skip(&self.shop, turn, SkipReason::MaxInFlight);
                        continue;
                    }
                    // Never closed while the pacer holds it.
                    (Err(_), WhenFull::Wait) => slots.free.clone().acquire_owned().await.ok(),
                },
            };
            self.due = None;
            let (shop, idle) = (self.shop.clone(), self.idle.clone());
            self.shop.spawn(async move {
                let mut user = idle.borrow_mut().pop().unwrap_or_else(|| User::new(&shop));
                user.cookies.clear();
                iteration::run(&shop, &mut user, turn).await;
                drop(permit);
                let mut idle = idle.borrow_mut();
                if idle.len() < IDLE_USERS_KEPT {
                    idle.push(user);
                }
            });
        }
    }
}

/// However the pacer ends, arrivals that were due by then are accounted for.
impl<I: Iterator<Item = Arrival>> Drop for Pacer<I> {
    fn drop(&mut self) {
        let (start_ns, now_ns) = (self.shop.meter.start_ns(), now_ns());
        if let Some(turn) = self.due.take().filter(|turn| turn.intended_ns <= now_ns) {
            iteration::skip(&self.shop, turn, SkipReason::Ended);
        }
        for arrival in self.schedule.by_ref() {
            let turn = Turn { load: self.load, number: arrival.number, intended_ns: start_ns + arrival.offset_ns };
            if turn.intended_ns > now_ns {
                break;
            }
            iteration::skip(&self.shop, turn, SkipReason::Ended);
        }
    }
}
