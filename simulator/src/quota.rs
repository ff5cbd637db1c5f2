//! Request and token quotas per minute, by the algorithms services use.
//!
//! The estimate (prompt plus `max_tokens`) counts when a request arrives, as
//! Azure has it. Pure: the caller brings the time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const MINUTE_US: u64 = 60_000_000;

/// How use is judged against a limit per minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaAlgorithm {
    /// A counter that starts again every minute, as Azure's.
    #[default]
    FixedWindow,
    /// A bucket that fills all the time, and holds `quota_burst_s` worth of it.
    TokenBucket,
    /// What was used in the last minute, whenever it is asked.
    SlidingWindow,
}

/// The limits of one deployment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) algorithm: QuotaAlgorithm,
    pub(crate) requests_per_min: u64,
    pub(crate) tokens_per_min: u64,
    /// Requests are judged on slices of this length, too; 0 for none.
    pub(crate) slice_s: u64,
    /// What a token bucket holds.
    pub(crate) burst_s: f64,
}

/// One limit and what is used of it.
#[derive(Clone, Debug)]
struct Limit {
    most: u64,
    window_us: u64,
    used: Used,
}

#[derive(Clone, Debug)]
enum Used {
    Fixed {
        window_start_us: u64,
        used: u64,
    },
    /// `left` at `at_us`; it grows by `most` in a window.
    Bucket {
        left: f64,
        capacity: f64,
        at_us: u64,
    },
    Sliding {
        log: VecDeque<(u64, u64)>,
        used: u64,
    },
}

impl Limit {
    fn new(algorithm: QuotaAlgorithm, most: u64, window_us: u64, burst_s: f64) -> Self {
        let used = match algorithm {
            QuotaAlgorithm::FixedWindow => Used::Fixed { window_start_us: 0, used: 0 },
            QuotaAlgorithm::TokenBucket => {
                // A bucket that can't hold one request would never let any through.
                let capacity = (most as f64 * burst_s * 1e6 / window_us as f64).max(1.0_f64.min(most as f64));
                Used::Bucket { left: capacity, capacity, at_us: 0 }
            }
            QuotaAlgorithm::SlidingWindow => Used::Sliding { log: VecDeque::new(), used: 0 },
        };
        Self { most, window_us, used }
    }

    /// What could be taken at `now_us`.
    fn left(&mut self, now_us: u64) -> u64 {
        match &mut self.used {
            Used::Fixed { window_start_us, used } => {
                if now_us >= *window_start_us + self.window_us {
                    (*window_start_us, *used) = (now_us - now_us % self.window_us, 0);
                }
                self.most.saturating_sub(*used)
            }
            Used::Bucket { left, capacity, at_us } => {
                let grown = now_us.saturating_sub(*at_us) as f64 * self.most as f64 / self.window_us as f64;
                *left = (*left + grown).min(*capacity);
                *at_us = (*at_us).max(now_us);
                // Sums of fractions of a token fall short of the whole by a hair.
                (*left + 1e-6) as u64
            }
            Used::Sliding { log, used } => {
                while let Some((at_us, amount)) = log.front().copied()
                    && at_us + self.window_us <= now_us
                {
                    *used -= amount;
                    log.pop_front();
                }
                self.most.saturating_sub(*used)
            }
        }
    }

    /// Call [`Self::left`] first.
    fn take(&mut self, now_us: u64, amount: u64) {
        match &mut self.used {
            Used::Fixed { used, .. } => *used += amount,
            Used::Bucket { left, .. } => *left -= amount as f64,
            Used::Sliding { log, used } => {
                log.push_back((now_us, amount));
                *used += amount;
            }
        }
    }

    /// How long until `amount` could be taken; a whole window where it never can.
    fn wait_us(&self, now_us: u64, amount: u64) -> u64 {
        match &self.used {
            Used::Fixed { window_start_us, .. } => window_start_us + self.window_us - now_us.max(*window_start_us),
            Used::Bucket { left, capacity, .. } if amount as f64 <= *capacity => {
                ((amount as f64 - left).max(0.0) * self.window_us as f64 / self.most as f64).ceil() as u64
            }
            Used::Sliding { log, used } if amount <= self.most => {
                let mut over = (used + amount).saturating_sub(self.most);
                let freed = log.iter().find(|(_, amount)| {
                    over = over.saturating_sub(*amount);
                    over == 0
                });
                freed.map_or(0, |(at_us, _)| at_us + self.window_us - now_us)
            }
            Used::Bucket { .. } | Used::Sliding { .. } => self.window_us,
        }
    }

    /// How long until nothing is used, if nothing more is.
    fn reset_us(&self, now_us: u64) -> u64 {
        match &self.used {
            Used::Bucket { capacity, .. } => self.wait_us(now_us, *capacity as u64),
            _ => self.wait_us(now_us, self.most),
        }
    }
}

/// The quota of one deployment and what is used of it.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    requests: Limit,
    slice: Option<Limit>,
    tokens: Limit,
}

/// The state of both limits, as headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit_requests: u64,
    pub(crate) limit_tokens: u64,
    pub(crate) remaining_requests: u64,
    pub(crate) remaining_tokens: u64,
    pub(crate) reset_requests_us: u64,
    pub(crate) reset_tokens_us: u64,
}

/// Which limit was hit, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// `token` or `call`, as Azure's message names it.
    pub(crate) limit: &'static str,
    pub(crate) retry_after_us: u64,
}

impl Quota {
    /// An unused quota.
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits { algorithm, requests_per_min, tokens_per_min, slice_s, burst_s } = limits;
        let slice = (slice_s > 0).then(|| {
            let most = (requests_per_min * slice_s).div_ceil(60).max(1);
            Limit::new(QuotaAlgorithm::FixedWindow, most, slice_s * 1_000_000, burst_s)
        });
        Self {
            requests: Limit::new(algorithm, requests_per_min, MINUTE_US, burst_s),
            slice,
            tokens: Limit::new(algorithm, tokens_per_min, MINUTE_US, burst_s),
        }
    }

    /// Takes one request of `tokens` from the quota, or nothing at all.
    pub(crate) fn take(&mut self, now_us: u64, tokens: u64) -> Result<(), Exceeded> {
        for limit in self.slice.iter_mut().chain([&mut self.requests]) {
            if limit.left(now_us) < 1 {
                return Err(Exceeded { limit: "call", retry_after_us: limit.wait_us(now_us, 1).max(1) });
            }
        }
        if self.tokens.left(now_us) < tokens {
            return Err(Exceeded { limit: "token", retry_after_us: self.tokens.wait_us(now_us, tokens).max(1) });
        }
        self.requests.take(now_us, 1);
        if let Some(slice) = &mut self.slice {
            slice.take(now_us, 1);
        }
        self.tokens.take(now_us, tokens);
        Ok(())
    }

    /// What is left. Requests are those of the slice where there is one, as Azure reports them.
    pub(crate) fn standing(&mut self, now_us: u64) -> Standing {
        let limit_requests = self.requests.most;
        let remaining = self.requests.left(now_us);
        let sliced = self.slice.as_mut().map_or(u64::MAX, |slice| slice.left(now_us));
        Standing {
            limit_requests,
            limit_tokens: self.tokens.most,
            remaining_requests: remaining.min(sliced),
            remaining_tokens: self.tokens.left(now_us),
            reset_requests_us: self.slice.as_ref().unwrap_or(&self.requests).reset_us(now_us),
            reset_tokens_us: self.tokens.reset_us(now_us),
        }
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
