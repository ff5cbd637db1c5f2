//! Waits that end when they should.
//!
//! tokio's timer has a granularity of 1 ms, and a client that checks our
//! latencies to within a millisecond would see it. So the last stretch of
//! every wait is left to one timerfd for the whole simulator, armed for the
//! earliest deadline: no busy loop, and one wake-up per deadline. Where there
//! is no timerfd, tokio's timer has to do.

use std::time::Instant;

/// Hands out precise waits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waiter {
    #[cfg(target_os = "linux")]
    alarm: std::sync::Arc<linux::Alarm>,
}

#[cfg(not(target_os = "linux"))]
impl Waiter {
    /// A waiter, and the future that drives it.
    pub fn new() -> std::io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        Ok((Self {}, std::future::pending()))
    }

    /// Returns at `deadline`, or at once when it has passed.
    pub async fn until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline.into()).await;
    }
}

#[cfg(target_os = "linux")]
impl Waiter {
    /// A waiter, and the future that drives it.
    pub fn new() -> std::io::Result<(Self, impl Future<Output = ()> + Send + 'static)> {
        let alarm = std::sync::Arc::new(linux::Alarm::new()?);
        Ok((Self { alarm: alarm.clone() }, async move { alarm.ring().await }))
    }

    /// Returns at `deadline`, or at once when it has passed.
    pub async fn until(&self, deadline: Instant) {
        // A wait given up stays in the alarm's list until its deadline; only
        // ever listing the last stretch keeps that list short.
        if let Some(coarse) = deadline.checked_sub(linux::LAST_STRETCH)
            && coarse > Instant::now()
        {
            tokio::time::sleep_until(coarse.into()).await;
        }
        self.alarm.until(deadline).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;
    use tokio::sync::oneshot;

    /// Longer waits start on tokio's timer, which is late by up to 2 ms.
    pub(super) const LAST_STRETCH: Duration = Duration::from_millis(10);

    #[derive(Debug)]
    pub(super) struct Alarm {
        timer: AsyncFd<OwnedFd>,
        waiting: Mutex<BinaryHeap<Sleeper>>,
    }

    #[derive(Debug)]
    struct Sleeper {
        deadline: Reverse<Instant>,
        wake: oneshot::Sender<()>,
    }

    impl PartialEq for Sleeper {
        fn eq(&self, other: &Self) -> bool {
            self.deadline == other.deadline
        }
    }
    impl Eq for Sleeper {}
    impl PartialOrd for Sleeper {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Sleeper {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.deadline.cmp(&other.deadline)
        }
    }

    impl Alarm {
        // The successor of `AsyncFd::new` is unsafe, for types that could close
        // their descriptor while registered. An `OwnedFd` can't.
        #[allow(deprecated)]
        pub(super) fn new() -> io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            Ok(Self { timer: AsyncFd::new(timer)?, waiting: Mutex::default() })
        }

        pub(super) async fn until(&self, deadline: Instant) {
            if deadline <= Instant::now() {
                return;
            }
            let (wake, woken) = oneshot::channel();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let is_earliest = waiting.peek().is_none_or(|earliest| deadline < earliest.deadline.0);
                waiting.push(Sleeper { deadline: Reverse(deadline), wake });
                if is_earliest {
                    self.arm(deadline);
                }
            }
            // The sender is only lost with the alarm itself, at the very end.
            let _ = woken.await;
        }

        pub(super) async fn ring(&self) {
            loop {
                match self.timer.readable().await {
                    // Not read: arming it again clears what it has to say.
                    Ok(mut ready) => ready.clear_ready(),
                    Err(cause) => {
                        tracing::error!(%cause, "the timer broke; waits would never end");
                        return;
                    }
                }
                self.wake_due();
            }
        }

        fn wake_due(&self) {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            while waiting.peek().is_some_and(|sleeper| sleeper.deadline.0 <= now) {
                if let Some(due) = waiting.pop() {
                    let _ = due.wake.send(());
                }
            }
            if let Some(next) = waiting.peek() {
                self.arm(next.deadline.0);
            }
        }

        /// Under the lock, so that an earlier deadline is never overwritten.
        fn arm(&self, deadline: Instant) {
            // Zero would disarm it.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            let at = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let never = Timespec { tv_sec: 0, tv_nsec: 0 };
            let once = Itimerspec { it_interval: never, it_value: at };
            if let Err(cause) = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once) {
                tracing::error!(%cause, "the timer can't be armed");
            }
        }
    }
}
