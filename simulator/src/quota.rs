//! Request and token quotas per minute, judged as Azure judges them: the
//! estimate (prompt plus `max_tokens`) counts when a request arrives, and the
//! counter starts again every minute. Pure: the caller brings the time.

const WINDOW_US: u64 = 60_000_000;

/// The quota of one deployment and what is used of it.
#[derive(Clone, Debug)]
pub struct Quota {
    requests_per_min: u64,
    tokens_per_min: u64,
    window_start_us: u64,
    requests: u64,
    tokens: u64,
}

/// What is left in this minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Requests.
    pub requests: u64,
    /// Tokens.
    pub tokens: u64,
}

/// Which limit was hit, and when the minute is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// `token` or `call`, as Azure's message names it.
    pub limit: &'static str,
    /// Until the counter starts again.
    pub retry_after_us: u64,
}

impl Quota {
    /// An unused quota.
    pub fn new(requests_per_min: u64, tokens_per_min: u64) -> Self {
        Self { requests_per_min, tokens_per_min, window_start_us: 0, requests: 0, tokens: 0 }
    }

    /// Takes one request of `tokens` from the quota, or nothing at all.
    pub fn take(&mut self, now_us: u64, tokens: u64) -> Result<Remaining, Exceeded> {
        if now_us >= self.window_start_us + WINDOW_US {
            self.window_start_us = now_us - now_us % WINDOW_US;
            (self.requests, self.tokens) = (0, 0);
        }
        let retry_after_us = self.window_start_us + WINDOW_US - now_us.max(self.window_start_us);
        if self.requests >= self.requests_per_min {
            return Err(Exceeded { limit: "call", retry_after_us });
        }
        if self.tokens.saturating_add(tokens) > self.tokens_per_min {
            return Err(Exceeded { limit: "token", retry_after_us });
        }
        self.requests += 1;
        self.tokens += tokens;
        Ok(Remaining { requests: self.requests_per_min - self.requests, tokens: self.tokens_per_min - self.tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_refuses_beyond_its_minute_and_starts_again_with_the_next() {
        let mut quota = Quota::new(2, 100);
        assert_eq!(quota.take(0, 60), Ok(Remaining { requests: 1, tokens: 40 }));
        assert_eq!(quota.take(10_000_000, 60), Err(Exceeded { limit: "token", retry_after_us: 50_000_000 }));
        assert_eq!(quota.take(10_000_000, 40), Ok(Remaining { requests: 0, tokens: 0 }));
        assert_eq!(quota.take(59_999_999, 0), Err(Exceeded { limit: "call", retry_after_us: 1 }));
        assert_eq!(quota.take(60_000_000, 100), Ok(Remaining { requests: 1, tokens: 0 }));
    }
}
