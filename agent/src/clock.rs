//! The monotonic clock, as raw nanoseconds.
//!
//! `CLOCK_MONOTONIC`, the same that timerfd counts by, so that an intended
//! instant, the timer armed for it and the measured send compare directly.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on this machine's monotonic clock.
#[inline]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
