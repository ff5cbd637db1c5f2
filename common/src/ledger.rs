//! The accounting that proves coverage.
//!
//! planned = sent + skipped, sent = completed + failed + cut off, and the sum
//! over agents = what was merged. Each side is counted on its own.

use crate::interval::{Flow, Series};
use std::ops::AddAssign;

/// Totals of any part of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub planned: u64,
    pub sent: u64,
    pub skipped: u64,
    /// A whole response came, whatever it said.
    pub completed: u64,
    /// No whole response: connection, timeout, protocol, truncation.
    pub failed: u64,
    /// Still in flight when the drain ended.
    pub cut_off: u64,
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.skipped += other.skipped;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cut_off += other.cut_off;
    }
}

impl Ledger {
    pub fn add_flow(&mut self, flow: &Flow) {
        self.planned += flow.planned;
        self.sent += flow.sent;
        self.skipped += flow.skipped_total();
        self.cut_off += flow.cut_off;
    }

    pub fn add_series(&mut self, series: &Series) {
        for outcome in crate::sample::Outcome::ALL {
            let count = series.outcomes[outcome as usize];
            if outcome.is_completed() { self.completed += count } else { self.failed += count }
        }
    }

    /// Every law that does not hold, in words.
    pub fn imbalances(&self) -> Vec<String> {
        let mut found = Vec::new();
        // An agent's own totals are foreign: wide sums cannot wrap around to fit.
        let sum = |parts: &[u64]| parts.iter().copied().map(u128::from).sum::<u128>();
        if u128::from(self.planned) != sum(&[self.sent, self.skipped]) {
            found.push(format!("planned {} is not sent {} + skipped {}", self.planned, self.sent, self.skipped));
        }
        if u128::from(self.sent) != sum(&[self.completed, self.failed, self.cut_off]) {
            found.push(format!(
                "sent {} is not completed {} + failed {} + cut off {}",
                self.sent, self.completed, self.failed, self.cut_off
            ));
        }
        found
    }

    /// The fields that differ from `merged`, in words.
    pub fn differences(&self, merged: &Self) -> Vec<String> {
        [
            ("planned", self.planned, merged.planned),
            ("sent", self.sent, merged.sent),
            ("skipped", self.skipped, merged.skipped),
            ("completed", self.completed, merged.completed),
            ("failed", self.failed, merged.failed),
            ("cut off", self.cut_off, merged.cut_off),
        ]
        .into_iter()
        .filter(|(_, counted, merged)| counted != merged)
        .map(|(name, counted, merged)| format!("{name}: agent counted {counted}, merged {merged}"))
        .collect()
    }

    /// Requests whose fate is known.
    pub fn accounted(&self) -> u64 {
        self.skipped + self.completed + self.failed + self.cut_off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balanced_ledger_has_nothing_to_say() {
        let ledger = Ledger { planned: 10, sent: 8, skipped: 2, completed: 5, failed: 2, cut_off: 1 };
        assert!(ledger.imbalances().is_empty());
        assert_eq!(ledger.accounted(), 10);
    }

    #[test]
    fn each_broken_law_is_named() {
        let ledger = Ledger { planned: 10, sent: 8, skipped: 1, completed: 5, failed: 2, cut_off: 0 };
        assert_eq!(ledger.imbalances().len(), 2);
        let merged = Ledger { completed: 4, ..ledger };
        assert_eq!(ledger.differences(&merged), ["completed: agent counted 5, merged 4"]);
    }
}
