//! The monotonic clock, as raw nanoseconds.
//!
//! `CLOCK_MONOTONIC`, the same that timerfd counts by, so that an intended
//! instant, the timer armed for it and the measured send compare directly.

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;

/// Nanoseconds on this machine's monotonic clock.
#[inline]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Names the clock that [`now_ns`] counts by: instants of equal names compare.
///
/// The monotonic clock is the machine's since it booted, so the name is the boot's.
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_owned(),
        // Unknown: then this process's clock is like no other's.
        Err(_) => format!("process-{}-{}", std::process::id(), now_ns()),
    })
}
