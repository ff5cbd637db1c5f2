//! The largest use of any window of 1, 10 and 60 seconds, wherever it began.

use std::collections::VecDeque;

use super::truth::PeakTruth;

/// Arrivals within one millisecond count as one.
const GRAIN_US: u64 = 1_000;

#[derive(Clone, Debug)]
pub(crate) struct Peaks {
    windows: [Window; 3],
}

#[derive(Clone, Debug)]
struct Window {
    grains: u64,
    /// When, how many requests, how many tokens.
    log: VecDeque<(u64, u64, u64)>,
    requests: u64,
    tokens: u64,
    most_requests: u64,
    most_tokens: u64,
}

impl Peaks {
    pub(crate) fn new() -> Self {
        Self { windows: [1, 10, 60].map(Window::of_seconds) }
    }

    /// A request of `tokens` at `now_us`, which never goes back.
    pub(crate) fn note(&mut self, now_us: u64, tokens: u64) {
        for window in &mut self.windows {
            window.note(now_us / GRAIN_US, tokens);
        }
    }

    pub(crate) fn truth(&self) -> PeakTruth {
        let [one, ten, sixty] = &self.windows;
        PeakTruth {
            requests_in_1_s: one.most_requests,
            requests_in_10_s: ten.most_requests,
            requests_in_60_s: sixty.most_requests,
            tokens_in_1_s: one.most_tokens,
            tokens_in_10_s: ten.most_tokens,
            tokens_in_60_s: sixty.most_tokens,
        }
    }
}

impl Window {
    fn of_seconds(seconds: u64) -> Self {
        let grains = seconds * 1_000_000 / GRAIN_US;
        Self { grains, log: VecDeque::new(), requests: 0, tokens: 0, most_requests: 0, most_tokens: 0 }
    }

    fn note(&mut self, now: u64, tokens: u64) {
        while let Some((at, requests, tokens)) = self.log.front().copied()
            && at + self.grains <= now
        {
            self.requests -= requests;
            self.tokens -= tokens;
            self.log.pop_front();
        }
        match self.log.back_mut() {
            Some(last) if last.0 == now => (last.1, last.2) = (last.1 + 1, last.2 + tokens),
            _ => self.log.push_back((now, 1, tokens)),
        }
        self.requests += 1;
        self.tokens += tokens;
        self.most_requests = self.most_requests.max(self.requests);
        self.most_tokens = self.most_tokens.max(self.tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides_over_the_turn_of_a_second() {
        let mut peaks = Peaks::new();
        for at_ms in [100, 900, 1_050, 1_099, 1_150, 9_000] {
            peaks.note(at_ms * 1_000, 10);
        }
        let truth = peaks.truth();
        assert_eq!((truth.requests_in_1_s, truth.tokens_in_1_s), (4, 40), "100 to 1099 ms, or 900 to 1150");
        assert_eq!((truth.requests_in_10_s, truth.requests_in_60_s), (6, 6));
    }
}
