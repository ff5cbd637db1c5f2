//! The closed model: users loop, each turn begins when the user is ready.

use super::iteration::{self, End, Turn, User};
use super::{Portion, Shop};
use crate::clock::now_ns;
use squall_common::interval::SkipReason;
use squall_common::plan::{LoadId, LoadModel};
use squall_common::schedule::{UserSpan, user_spans};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// A user that got no connection, or no row for one of its scenarios, rests this
/// long: nothing else would slow it down.
const REST_NS: u64 = 10_000_000;

/// Starts this worker's users of one closed load.
pub fn begin(shop: &Rc<Shop>, load: LoadId, portion: &Portion) {
    match &shop.plan.load(load).model {
        LoadModel::Open { .. } => {}
        LoadModel::Closed { phases, pacing } => {
            let peak = u64::from(shop.plan.load(load).peak_users().unwrap_or(0));
            for number in own_users(shop, portion, peak) {
                let spans = portion.clip(user_spans(phases, number));
                let numbers = Numbers::Strided { next: portion.first_number(number, peak), step: peak };
                spawn_user(shop, load, spans, *pacing, numbers);
            }
        }
        LoadModel::SharedIterations { users, iterations, at_most, pacing } => {
            let (first, count) = portion.share.iterations_of(*iterations, *users);
            let own = own_users(shop, portion, (*users).into());
            // Workers without users get no iterations.
            let lanes = u64::from(shop.lane.count).min(portion.share.count_of((*users).into())).max(1);
            let index = u64::from(shop.lane.index);
            if own.is_empty() || index >= lanes {
                return;
            }
            let before: u64 = (0..index).map(|lane| (count + lanes - 1 - lane) / lanes).sum();
            let part = (count + lanes - 1 - index) / lanes;
            let left = Rc::new(Remaining {
                shop: shop.clone(),
                load,
                next: Cell::new(first + before),
                end: first + before + part,
            });
            for _ in own {
                spawn_user(shop, load, whole(*at_most), *pacing, Numbers::Shared(left.clone()));
            }
        }
        LoadModel::PerUserIterations { users, iterations, at_most, pacing } => {
            for number in own_users(shop, portion, (*users).into()) {
                let (first, end) = (number * iterations, (number + 1) * iterations);
                let left = Rc::new(Remaining { shop: shop.clone(), load, next: Cell::new(first), end });
                spawn_user(shop, load, whole(*at_most), *pacing, Numbers::Shared(left));
            }
        }
    }
}

fn own_users(shop: &Shop, portion: &Portion, users: u64) -> Vec<u64> {
    let (index, count) = (shop.lane.index as usize, shop.lane.count as usize);
    portion.share.user_numbers(users).into_iter().skip(index).step_by(count).collect()
}

/// From the start to the time limit, if there is one.
fn whole(at_most: Option<Duration>) -> Vec<UserSpan> {
    vec![UserSpan { start_ns: 0, end_ns: at_most.map_or(u64::MAX / 4, |limit| limit.as_nanos() as u64) }]
}

/// Where a user's iteration numbers come from.
enum Numbers {
    /// Every user its own, a whole fleet of users apart.
    Strided { next: u64, step: u64 },
    /// From a pot that several users may share.
    Shared(Rc<Remaining>),
}

impl Numbers {
    fn are_endless(&self) -> bool {
        matches!(self, Self::Strided { .. })
    }

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Strided { next, step } => {
                let number = *next;
                *next += *step;
                Some(number)
            }
            Self::Shared(remaining) => {
                let number = remaining.next.get();
                (number < remaining.end).then(|| {
                    remaining.next.set(number + 1);
                    number
                })
            }
        }
    }
}

/// A fixed number of iterations. Those not begun when the load ends are skipped
/// and counted: the plan meant them.
struct Remaining {
    shop: Rc<Shop>,
    load: LoadId,
    next: Cell<u64>,
    end: u64,
}

impl Drop for Remaining {
    fn drop(&mut self) {
        iteration::skip_all(&self.shop, self.load, self.next.get()..self.end, SkipReason::Ended);
    }
}

fn spawn_user(shop: &Rc<Shop>, load: LoadId, spans: Vec<UserSpan>, pacing: Option<Duration>, mut numbers: Numbers) {
    let in_shop = shop.clone();
    shop.spawn(async move {
        let shop = in_shop;
        let mut user = User::new(&shop);
        let mut free_ns = 0;
        for span in spans {
            let start_ns = shop.meter.start_ns();
            // Ready when the span begins, or later if the turn before took longer.
            let (ready_ns, end_ns) = ((start_ns + span.start_ns).max(free_ns), start_ns + span.end_ns);
            if shop.timers.sleep_until(ready_ns).await.is_err() {
                return;
            }
            let _at_work = AtWork::begin(&shop);
            if !work(&shop, &mut user, load, ready_ns, end_ns, pacing, &mut numbers).await {
                return;
            }
            free_ns = now_ns();
        }
    });
}

/// Loops until the span ends; `false` when there is nothing more to do at all.
async fn work(
    shop: &Shop,
    user: &mut User,
    load: LoadId,
    mut ready_ns: u64,
    end_ns: u64,
    pacing: Option<Duration>,
    numbers: &mut Numbers,
) -> bool {
    while ready_ns < end_ns {
        if shop.timers.is_cancelled() || !shop.lease_holds() {
            return false;
        }
        let Some(number) = numbers.next() else { return false };
        match iteration::run(shop, user, Turn { load, number, intended_ns: ready_ns }).await {
            End::Ok => {}
            // Its numbers only grow: there will be no row for it again.
            End::NoRow if numbers.are_endless() && shop.plan.load(load).drives.len() == 1 => return false,
            // It may have failed without waiting for anything, and would again:
            // others must get their turn.
            End::NoRow if !numbers.are_endless() => tokio::task::yield_now().await,
            End::NotOk => tokio::task::yield_now().await,
            End::NoRow | End::NoConnection => {
                if shop.timers.sleep_until(now_ns() + REST_NS).await.is_err() {
                    return false;
                }
            }
        }
        let now_ns = now_ns();
        ready_ns = match pacing {
            None => now_ns,
            Some(pacing) => {
                let next_ns = (ready_ns + pacing.as_nanos() as u64).max(now_ns);
                if shop.timers.sleep_until(next_ns.min(end_ns)).await.is_err() {
                    return false;
                }
                next_ns
            }
        };
    }
    true
}

struct AtWork<'a>(&'a Shop);

impl<'a> AtWork<'a> {
    fn begin(shop: &'a Shop) -> Self {
        shop.meter.user_began();
        Self(shop)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.meter.user_rested();
    }
}
