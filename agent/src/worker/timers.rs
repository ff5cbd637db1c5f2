//! All waiting of one worker on one timerfd.
//!
//! `tokio::time` counts in milliseconds and wakes half of one late at the
//! median; an absolute timerfd in the same event loop is late by microseconds.
//! Waits end early, all together, when the worker stops.

use crate::clock::now_ns;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::unix::AsyncFd;

/// A wait ended because the worker stops, not because its instant came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// The waits of one worker. Bounded by the tasks that wait.
pub struct Timers {
    fd: AsyncFd<OwnedFd>,
    /// (deadline, place, use of that place), soonest first. Entries of abandoned
    /// waits stay until their deadline and are then passed over.
    queue: RefCell<BinaryHeap<Reverse<(u64, usize, u64)>>>,
    waiting: RefCell<Waiting>,
    armed_ns: Cell<u64>,
    /// The timer went off and is about to be set again, for whatever is soonest by then.
    arms_later: Cell<bool>,
    cancelled: Cell<bool>,
}

#[derive(Default)]
struct Waiting {
    places: Vec<Place>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Place {
    uses: u64,
    waker: Option<Waker>,
}

/// Frees a wait's place when its future is dropped.
struct Occupied<'a> {
    timers: &'a Timers,
    place: usize,
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        let mut waiting = self.timers.waiting.borrow_mut();
        let place = &mut waiting.places[self.place];
        place.uses += 1;
        place.waker = None;
        waiting.free.push(self.place);
    }
}

impl Timers {
    /// Must be called inside the worker's runtime; [`Timers::drive`] must run there too.
    pub fn new() -> io::Result<Rc<Self>> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // `new` is deprecated for types whose descriptor may change under it; an
        // `OwnedFd` is its descriptor, and the replacement is an unsafe function.
        #[expect(deprecated)]
        let fd = AsyncFd::new(fd)?;
        Ok(Rc::new(Self {
            fd,
            queue: RefCell::default(),
            waiting: RefCell::default(),
            armed_ns: Cell::new(u64::MAX),
            arms_later: Cell::new(false),
            cancelled: Cell::new(false),
        }))
    }

    /// Waits until `deadline_ns` on the monotonic clock.
    pub async fn sleep_until(&self, deadline_ns: u64) -> Result<(), Cancelled> {
        if self.cancelled.get() {
            return Err(Cancelled);
        }
        if now_ns() >= deadline_ns {
            return Ok(());
        }
        let occupied = self.occupy(deadline_ns);
        poll_fn(|context| self.poll_wait(context, occupied.place, deadline_ns)).await
    }

    fn occupy(&self, deadline_ns: u64) -> Occupied<'_> {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.free.pop().unwrap_or_else(|| {
            waiting.places.push(Place::default());
            waiting.places.len() - 1
        });
        self.queue.borrow_mut().push(Reverse((deadline_ns, place, waiting.places[place].uses)));
        drop(waiting);
        if deadline_ns < self.armed_ns.get() && !self.arms_later.get() {
            self.arm(deadline_ns);
        }
        Occupied { timers: self, place }
    }

    fn poll_wait(&self, context: &mut Context<'_>, place: usize, deadline_ns: u64) -> Poll<Result<(), Cancelled>> {
        if self.cancelled.get() {
            return Poll::Ready(Err(Cancelled));
        }
        if now_ns() >= deadline_ns {
            return Poll::Ready(Ok(()));
        }
        self.waiting.borrow_mut().places[place].waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn arm(&self, deadline_ns: u64) {
        let at =
            Timespec { tv_sec: (deadline_ns / 1_000_000_000) as i64, tv_nsec: (deadline_ns % 1_000_000_000) as i64 };
        let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: never_again, it_value: at };
        // The descriptor is ours and the time is valid: the call has no other way to fail.
        if let Err(error) = timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &setting) {
            tracing::error!(%error, "the worker's timer cannot be set");
        }
        self.armed_ns.set(deadline_ns);
    }

    /// Wakes whom it is time for; runs as a task of its own for the worker's life.
    ///
    /// Who is woken usually waits for a next instant at once (a pacer for its next
    /// arrival), and what it began wants to be sent first. So the timer is set once
    /// for all of them, after they ran, and not once for each.
    pub async fn drive(self: Rc<Self>) -> io::Result<()> {
        loop {
            // Not read: setting the timer forgets that it went off, and each time it
            // goes off is an event of its own.
            self.fd.readable().await?.clear_ready();
            self.arms_later.set(true);
            self.wake_due();
            to_the_back_of_the_queue().await;
            to_the_back_of_the_queue().await;
            self.arms_later.set(false);
            self.arm_next();
        }
    }

    fn wake_due(&self) {
        let now_ns = now_ns();
        let mut queue = self.queue.borrow_mut();
        let mut waiting = self.waiting.borrow_mut();
        while let Some(&Reverse((deadline_ns, place, uses))) = queue.peek() {
            if deadline_ns > now_ns {
                break;
            }
            queue.pop();
            let place = &mut waiting.places[place];
            if place.uses == uses
                && let Some(waker) = place.waker.take()
            {
                waker.wake();
            }
        }
    }

    fn arm_next(&self) {
        let next_ns = self.queue.borrow().peek().map_or(u64::MAX, |Reverse((deadline_ns, ..))| *deadline_ns);
        if next_ns == u64::MAX {
            self.armed_ns.set(u64::MAX);
        } else {
            self.arm(next_ns);
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Ends every wait, now and from now on.
    pub fn cancel(&self) {
        self.cancelled.set(true);
        for place in &mut self.waiting.borrow_mut().places {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Lets every task run that is ready now. Unlike `tokio::task::yield_now` it does
/// not ask the operating system for events in between.
async fn to_the_back_of_the_queue() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    async fn timers() -> Rc<Timers> {
        let timers = Timers::new().expect("timerfd");
        tokio::task::spawn_local(timers.clone().drive());
        timers
    }

    #[tokio::test(flavor = "current_thread")]
    async fn waits_end_in_the_order_of_their_instants_and_never_early() {
        LocalSet::new()
            .run_until(async {
                let timers = timers().await;
                let start_ns = now_ns();
                let order = Rc::new(RefCell::new(Vec::new()));
                let tasks: Vec<_> = [30u64, 10, 20]
                    .into_iter()
                    .map(|after_ms| {
                        let (timers, order) = (timers.clone(), order.clone());
                        tokio::task::spawn_local(async move {
                            timers.sleep_until(start_ns + after_ms * 1_000_000).await.expect("not cancelled");
                            assert!(now_ns() >= start_ns + after_ms * 1_000_000);
                            order.borrow_mut().push(after_ms);
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("task");
                }
                assert_eq!(*order.borrow(), [10, 20, 30]);
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn instants_waited_for_one_after_the_other_and_side_by_side_all_come() {
        LocalSet::new()
            .run_until(async {
                let timers = timers().await;
                let start_ns = now_ns();
                let waiters = (0..20u64).map(|waiter| {
                    let timers = timers.clone();
                    tokio::task::spawn_local(async move {
                        for step in 1..=200 {
                            let due_ns = start_ns + step * 100_000 + waiter * 7_000;
                            timers.sleep_until(due_ns).await.expect("not cancelled");
                            assert!(now_ns() >= due_ns);
                        }
                    })
                });
                let all = futures_util::future::join_all(waiters.collect::<Vec<_>>());
                let ended =
                    tokio::time::timeout(std::time::Duration::from_secs(10), all).await.expect("no wait is lost");
                ended.into_iter().for_each(|waiter| waiter.expect("task"));
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn cancelling_ends_every_wait() {
        LocalSet::new()
            .run_until(async {
                let timers = timers().await;
                let waiting = timers.clone();
                let wait = tokio::task::spawn_local(async move { waiting.sleep_until(u64::MAX / 2).await });
                tokio::task::yield_now().await;
                timers.cancel();
                assert_eq!(wait.await.expect("task"), Err(Cancelled));
                assert_eq!(timers.sleep_until(0).await, Err(Cancelled));
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_abandoned_wait_leaves_its_place_to_the_next() {
        LocalSet::new()
            .run_until(async {
                let timers = timers().await;
                for _ in 0..100 {
                    let mut wait = Box::pin(timers.sleep_until(u64::MAX / 2));
                    assert!(futures_util::poll!(&mut wait).is_pending());
                }
                assert_eq!(timers.waiting.borrow().places.len(), 1);
            })
            .await;
    }
}
