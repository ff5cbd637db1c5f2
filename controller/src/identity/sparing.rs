//! A bound on lines that strangers can cause: a port scan must not fill a disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Lets so many through a minute, and counts the others.
#[derive(Debug)]
pub struct Sparing {
    most: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    let_through: u32,
    held_back: u64,
}

impl Sparing {
    pub fn a_minute(most: u32) -> Self {
        Self { most, state: Mutex::new(State { since: Instant::now(), let_through: 0, held_back: 0 }) }
    }

    /// `None`: hold it back. Else how many were held back since the last one.
    pub fn take(&self) -> Option<u64> {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.since) >= WINDOW {
            (state.since, state.let_through) = (now, 0);
        }
        if state.let_through >= self.most {
            state.held_back += 1;
            return None;
        }
        state.let_through += 1;
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_pass_and_the_others_are_counted() {
        let sparing = Sparing::a_minute(2);
        let now = Instant::now();
        let taken: Vec<_> = (0..5).map(|_| sparing.take_at(now)).collect();
        assert_eq!(taken, [Some(0), Some(0), None, None, None]);
        assert_eq!(sparing.take_at(now + WINDOW * 2), Some(3));
    }
}
