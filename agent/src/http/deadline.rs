//! One deadline per attempt without one timer registration per attempt.
//!
//! Each connection keeps one `Sleep`. A new attempt only writes down its due
//! time; the timer stays armed at an older, earlier one. When that goes off early
//! it is re-armed at the due time. So a connection registers a timer about once
//! per timeout length, not once per request.

use crate::clock::now_ns;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

pub(super) struct Deadline {
    sleep: Pin<Box<Sleep>>,
    armed_ns: u64,
    due_ns: u64,
}

impl Deadline {
    pub(super) fn new(due_ns: u64) -> Self {
        Self { sleep: Box::pin(sleep_until(instant_of(due_ns))), armed_ns: due_ns, due_ns }
    }

    #[inline]
    pub(super) fn set(&mut self, due_ns: u64) {
        self.due_ns = due_ns;
        if due_ns < self.armed_ns {
            self.arm(due_ns);
        }
    }

    fn arm(&mut self, due_ns: u64) {
        self.armed_ns = due_ns;
        self.sleep.as_mut().reset(instant_of(due_ns));
    }

    /// Ready once the due time has passed.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.armed_ns >= self.due_ns {
                return Poll::Ready(());
            }
            self.arm(self.due_ns);
        }
        Poll::Pending
    }
}

/// The instant of our clock as tokio counts it: both are CLOCK_MONOTONIC.
pub(super) fn instant_of(ns: u64) -> Instant {
    let now = now_ns();
    if ns >= now { Instant::now() + Duration::from_nanos(ns - now) } else { Instant::now() }
}

/// `timeout` after `from_ns`, however large.
#[inline]
pub(super) fn due_after(from_ns: u64, timeout: Duration) -> u64 {
    // A century is "never" and keeps the sum inside what tokio's timer takes.
    const NEVER_NS: u64 = 100 * 365 * 86_400 * 1_000_000_000;
    from_ns + u64::try_from(timeout.as_nanos()).unwrap_or(NEVER_NS).min(NEVER_NS)
}
