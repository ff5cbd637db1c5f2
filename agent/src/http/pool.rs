//! What a worker counts and queues: open connections, the slots that limit them,
//! and the idle ones.

use super::h1::conn::H1Conn;
use crate::clock::now_ns;
use squall_common::plan::ConnectionPolicy;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use tokio::sync::Notify;

/// Connections open now and ever, of one worker to one target.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) open: Cell<u64>,
    pub(super) opened_total: Cell<u64>,
}

/// One open connection; dropping it is closing.
#[derive(Debug)]
pub(crate) struct OpenGuard(Rc<Counters>);

impl OpenGuard {
    pub(super) fn new(counters: &Rc<Counters>) -> Self {
        counters.open.set(counters.open.get() + 1);
        counters.opened_total.set(counters.opened_total.get() + 1);
        Self(counters.clone())
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// This worker's part of a limit for the whole agent, dealt evenly. Never zero: a
/// worker without connections would wait forever, so run no more workers than
/// the limit allows.
pub(super) fn dealt(limit: u32, worker_index: u32, worker_count: u32) -> u32 {
    let workers = worker_count.max(1);
    (limit / workers + u32::from(worker_index < limit % workers)).max(1)
}

/// Permits handed out first come, first served. The queue is bounded by the
/// worker's exchanges under way.
#[derive(Debug)]
pub(super) struct Slots {
    /// `None`: without limit.
    free: Cell<Option<u64>>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
}

#[derive(Debug, Default)]
struct Waiter {
    state: Cell<WaiterState>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WaiterState {
    #[default]
    Waiting,
    Granted,
    Gone,
}

/// A permit in use; dropping it passes it on.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { free: Cell::new(limit), waiting: RefCell::default() }
    }

    /// A permit if one is free and nobody waits for it.
    #[inline]
    pub(super) fn try_acquire(&self) -> Option<Slot<'_>> {
        match self.free.get() {
            None => Some(Slot(self)),
            Some(0) => None,
            Some(free) => {
                self.free.set(Some(free - 1));
                Some(Slot(self))
            }
        }
    }

    pub(super) async fn acquire(&self) -> Slot<'_> {
        if let Some(slot) = self.try_acquire() {
            return slot;
        }
        let place = Place { slots: self, waiter: Rc::default() };
        self.waiting.borrow_mut().push_back(place.waiter.clone());
        poll_fn(|cx| {
            if place.waiter.state.get() == WaiterState::Granted {
                return Poll::Ready(());
            }
            *place.waiter.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        // Leaves the queue without giving back what it was granted.
        place.waiter.state.set(WaiterState::Gone);
        Slot(self)
    }

    fn next_waiter(&self) -> Option<Rc<Waiter>> {
        self.waiting.borrow_mut().pop_front()
    }

    fn release(&self) {
        let Some(free) = self.free.get() else { return };
        while let Some(waiter) = self.next_waiter() {
            if waiter.state.get() == WaiterState::Waiting {
                waiter.state.set(WaiterState::Granted);
                if let Some(waker) = waiter.waker.take() {
                    waker.wake();
                }
                return;
            }
        }
        self.free.set(Some(free + 1));
    }
}

impl Drop for Slot<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A place in the queue; dropped while waiting it is skipped, dropped after the
/// grant it passes the permit on.
struct Place<'a> {
    slots: &'a Slots,
    waiter: Rc<Waiter>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        match self.waiter.state.replace(WaiterState::Gone) {
            WaiterState::Granted => self.slots.release(),
            // Abandoned places leave at once: a stalled target and impatient
            // callers must not grow the queue.
            WaiterState::Waiting => {
                self.slots.waiting.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter));
            }
            WaiterState::Gone => {}
        }
    }
}

/// Idle HTTP/1.1 connections, the last used on top: under falling load the rest
/// grow old together and are closed.
#[derive(Default)]
pub(super) struct Idle {
    conns: RefCell<VecDeque<Box<H1Conn>>>,
    /// Requests that wait for one to become free.
    waiting: Cell<usize>,
    freed: Notify,
}

impl Idle {
    /// The last used connection that is still alive and allowed.
    #[inline]
    pub(super) fn take(&self, policy: &ConnectionPolicy, now_ns: u64) -> Option<Box<H1Conn>> {
        loop {
            let mut conn = self.conns.borrow_mut().pop_back()?;
            if is_fresh(&conn, policy, now_ns) && conn.stream.is_quiet() {
                return Some(conn);
            }
        }
    }

    /// Keeps a connection unless the policy ends it; drops the oldest when over-idle.
    #[inline]
    pub(super) fn put(&self, mut conn: Box<H1Conn>, policy: &ConnectionPolicy, now_ns: u64) {
        conn.idle_since_ns = now_ns;
        let mut idle = self.conns.borrow_mut();
        if idle.front().is_some_and(|oldest| !is_fresh(oldest, policy, now_ns)) {
            idle.pop_front();
        }
        if policy.max_requests.is_none_or(|max| conn.requests < max) {
            idle.push_back(conn);
            if self.waiting.get() > 0 {
                self.freed.notify_one();
            }
        }
    }

    /// A connection as soon as one is put back; who waits longest is asked first.
    pub(super) async fn freed(&self, policy: &ConnectionPolicy) -> Box<H1Conn> {
        let _waits = Waits::new(&self.waiting);
        loop {
            self.freed.notified().await;
            if let Some(conn) = self.take(policy, now_ns()) {
                return conn;
            }
        }
    }
}

/// Counts one who waits, for as long as it does.
struct Waits<'a>(&'a Cell<usize>);

impl<'a> Waits<'a> {
    fn new(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn is_fresh(conn: &H1Conn, policy: &ConnectionPolicy, now_ns: u64) -> bool {
    let within = |since_ns: u64, limit: std::time::Duration| {
        u128::from(now_ns.saturating_sub(since_ns)) < limit.as_nanos().max(1)
    };
    within(conn.idle_since_ns, policy.idle_timeout)
        && policy.lifetime.is_none_or(|lifetime| within(conn.created_ns, lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_dealt_whole_to_the_workers() {
        let sum: u32 = (0..4).map(|worker| dealt(10, worker, 4)).sum();
        assert_eq!(sum, 10);
        assert_eq!((dealt(10, 0, 4), dealt(10, 3, 4)), (3, 2));
    }

    #[tokio::test]
    async fn slots_are_granted_in_the_order_of_asking_and_survive_abandonment() {
        let slots = Slots::new(Some(1));
        let held = slots.acquire().await;
        let order = RefCell::new(Vec::new());
        let queue = async {
            tokio::join!(
                async {
                    let _slot = slots.acquire().await;
                    order.borrow_mut().push(1);
                },
                async {
                    // Gives up while waiting.
                    tokio::select! { biased; _ = slots.acquire() => order.borrow_mut().push(99), _ = tokio::task::yield_now() => {} }
                },
                async {
                    let _slot = slots.acquire().await;
                    order.borrow_mut().push(2);
                },
                async {
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                    drop(held);
                },
            )
        };
        queue.await;
        assert_eq!(*order.borrow(), [1, 2]);
        assert!(slots.try_acquire().is_some());
        assert!(slots.waiting.borrow().is_empty());
    }
}
