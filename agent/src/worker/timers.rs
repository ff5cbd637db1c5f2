//! All waiting of one worker on one timerfd.
//!
//! `tokio::time` counts in milliseconds and wakes half of one late at the
//! median; an absolute timerfd in the same event loop is late by microseconds.
//! Even that is late by what a sleeping core takes to wake (40 µs and, on a host
//! that is shared, now and then milliseconds), so the last stretch before an
//! instant can be polled through: see [`crate::busy_poll`].
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

/// A turn of the event loop that was shorter than this found nothing to do: an
/// empty one takes under 2 µs, one with an answer in it 5 µs and more.
const IDLE_TURN_NS: u64 = 3_000;
/// Giving way took longer than this: somebody else had the core.
const GAVE_WAY_NS: u64 = 20_000;
/// Whoever polls a core that others want is sent to the back of their queue, while
/// one that sleeps is let in first. So for this long it sleeps again.
const CONTESTED_NS: u64 = 100_000_000;

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
    /// How long before an instant the loop stops sleeping.
    busy_poll_ns: u64,
    polled_in_vain_ns: Cell<u64>,
    /// Until then others want this core.
    contested_until_ns: Cell<u64>,
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
    /// For the last `busy_poll_ns` before an instant the loop polls and does not sleep.
    pub fn new(busy_poll_ns: u64) -> io::Result<Rc<Self>> {
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
            busy_poll_ns,
            polled_in_vain_ns: Cell::new(0),
            contested_until_ns: Cell::new(0),
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
        let is_contested = now_ns() < self.contested_until_ns.get();
        // Never 0, which would switch the timer off.
        let at_ns = deadline_ns.saturating_sub(if is_contested { 0 } else { self.busy_poll_ns }).max(1);
        let at = Timespec { tv_sec: (at_ns / 1_000_000_000) as i64, tv_nsec: (at_ns % 1_000_000_000) as i64 };
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
            self.wake_due().await;
            while self.is_near() {
                self.poll_once().await;
                self.wake_due().await;
            }
            self.arms_later.set(false);
            self.arm_next();
        }
    }

    /// Is the next instant so near that sleeping is not worth it?
    fn is_near(&self) -> bool {
        let now_ns = now_ns();
        let near_ns = now_ns.saturating_add(self.busy_poll_ns);
        self.busy_poll_ns > 0
            && !self.cancelled.get()
            && now_ns >= self.contested_until_ns.get()
            && self.queue.borrow().peek().is_some_and(|Reverse((deadline_ns, ..))| *deadline_ns <= near_ns)
    }

    /// One turn of the event loop without sleeping.
    async fn poll_once(&self) {
        let before_ns = now_ns();
        // Whoever else wants this core gets it now: a target on the same machine, the control thread.
        rustix::thread::sched_yield();
        let back_ns = now_ns();
        if back_ns - before_ns > GAVE_WAY_NS {
            self.contested_until_ns.set(back_ns + CONTESTED_NS);
        }
        tokio::task::yield_now().await;
        let took_ns = now_ns() - before_ns;
        if took_ns < IDLE_TURN_NS {
            self.polled_in_vain_ns.set(self.polled_in_vain_ns.get() + took_ns);
        }
    }

    /// CPU time that went into polling with nothing to do, so far.
    pub fn polled_in_vain_ns(&self) -> u64 {
        self.polled_in_vain_ns.get()
    }

    /// Wakes whom it is time for and lets them run.
    async fn wake_due(&self) {
        if self.take_due() {
            to_the_back_of_the_queue().await;
            to_the_back_of_the_queue().await;
        }
    }

    fn take_due(&self) -> bool {
        let now_ns = now_ns();
        let mut any = false;
        let mut queue = self.queue.borrow_mut();
        let mut waiting = self.waiting.borrow_mut();
        while let Some(&Reverse((deadline_ns, place, uses))) = queue.peek() {
            if deadline_ns > now_ns {
                break;
            }
            queue.pop();
            any = true;
            let place = &mut waiting.places[place];
            if place.uses == uses
                && let Some(waker) = place.waker.take()
            {
                waker.wake();
            }
        }
        any
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::LocalSet;

    async fn timers() -> Rc<Timers> {
        timers_that_poll(0).await
    }

    async fn timers_that_poll(busy_poll_ns: u64) -> Rc<Timers> {
        let timers = Timers::new(busy_poll_ns).expect("timerfd");
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
        for busy_poll_ns in [0, 1_000, 50_000, 200_000] {
            all_instants_come(busy_poll_ns).await;
        }
    }

    async fn all_instants_come(busy_poll_ns: u64) {
        LocalSet::new()
            .run_until(async {
                let timers = timers_that_poll(busy_poll_ns).await;
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
    async fn polling_keeps_nobody_else_waiting_and_is_accounted_for() {
        LocalSet::new()
            .run_until(async {
                let timers = timers_that_poll(u64::MAX).await;
                let (mut near, mut far) = tokio::io::duplex(64);
                let echo = tokio::task::spawn_local(async move {
                    let mut bytes = [0; 4];
                    far.read_exact(&mut bytes).await.expect("bytes");
                    far.write_all(&bytes).await.expect("bytes");
                });
                let waiting = timers.clone();
                let wait = tokio::task::spawn_local(async move { waiting.sleep_until(u64::MAX / 2).await });
                timers.sleep_until(now_ns() + 20_000_000).await.expect("not cancelled");
                near.write_all(b"ping").await.expect("bytes");
                near.read_exact(&mut [0; 4]).await.expect("answered while the loop polls");
                echo.await.expect("task");
                // On a busy machine it sleeps for most of the time.
                for _ in 0..3_000 {
                    if timers.polled_in_vain_ns() > 0 {
                        break;
                    }
                    timers.sleep_until(now_ns() + 20_000_000).await.expect("not cancelled");
                }
                assert!(timers.polled_in_vain_ns() > 0);
                timers.cancel();
                assert_eq!(wait.await.expect("task"), Err(Cancelled));
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
