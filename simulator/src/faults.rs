//! Faults as data: which are switched on, for which region, until when.
//!
//! Pure: the caller brings the time. `region` obeys what
//! [`FaultBook::effect`] says.

use serde::{Deserialize, Serialize};

use crate::llm::{Delays, Dialect};

/// One fault, or several at once, as `POST /admin/faults` takes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// The region it strikes; every region when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Ends by itself after this long; otherwise when deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Share of requests answered with `status`, 0 to 1.
    pub error_rate: f64,
    /// The status of such an answer; 500 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Connections are accepted and requests read, but nothing is answered until it ends.
    pub stall: bool,
    /// Share of requests whose connection is reset (RST) instead of answered.
    pub reset_rate: f64,
    /// Share of answers that declare more than they send before the connection closes.
    pub truncate_rate: f64,
    /// Answer bodies are spread over this long.
    pub slow_body_ms: f64,
    /// Added before every answer.
    pub latency_ms: f64,
    /// Connects are refused and open connections reset, until it ends.
    pub down: bool,
    /// How streams are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Delays planted in one layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delays: Option<Delays>,
}

/// What all faults together do to one region now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// See [`Fault::error_rate`].
    pub error_rate: f64,
    /// See [`Fault::status`].
    pub status: u16,
    /// See [`Fault::stall`].
    pub stall: bool,
    /// See [`Fault::reset_rate`].
    pub reset_rate: f64,
    /// See [`Fault::truncate_rate`].
    pub truncate_rate: f64,
    /// See [`Fault::slow_body_ms`].
    pub slow_body_ms: f64,
    /// See [`Fault::latency_ms`].
    pub latency_ms: f64,
    /// See [`Fault::down`].
    pub down: bool,
    /// See [`Fault::dialect`]; of several, the last says most.
    pub dialect: Option<Dialect>,
    /// See [`Fault::delays`].
    pub delays: Delays,
}

/// A fault that is switched on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActiveFault {
    /// Names it for `DELETE /admin/faults/{id}`.
    pub id: u64,
    /// What it does.
    #[serde(flatten)]
    pub fault: Fault,
    #[serde(skip)]
    ends_us: Option<u64>,
}

/// All faults that are switched on.
#[derive(Clone, Debug, Default)]
pub struct FaultBook {
    faults: Vec<ActiveFault>,
    last_id: u64,
}

impl Fault {
    /// What is wrong with it, naming the field.
    pub fn problem(&self) -> Option<String> {
        let rates =
            [("error_rate", self.error_rate), ("reset_rate", self.reset_rate), ("truncate_rate", self.truncate_rate)];
        if let Some((field, _)) = rates.into_iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Some(format!("{field}: write a share from 0 to 1"));
        }
        let times = [("slow_body_ms", self.slow_body_ms), ("latency_ms", self.latency_ms)];
        if let Some((field, _)) = times.into_iter().find(|(_, ms)| !(0.0..=3_600_000.0).contains(ms)) {
            return Some(format!("{field}: write milliseconds from 0 to 3600000"));
        }
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Some("status: write an error status, 400 to 599".to_owned());
        }
        if self.status.is_some() && self.error_rate == 0.0 {
            return Some("status: needs error_rate, the share of requests it answers".to_owned());
        }
        if let Some(problem) = self.delays.as_ref().and_then(Delays::problem) {
            return Some(problem);
        }
        if let Some(problem) = self.dialect.as_ref().and_then(Dialect::problem) {
            return Some(problem);
        }
        let harmless = Self { region: self.region.clone(), for_ms: self.for_ms, ..Self::default() };
        (*self == harmless).then(|| {
            "no fault named: set error_rate, stall, reset_rate, truncate_rate, slow_body_ms, latency_ms, down, \
             dialect or delays"
                .to_owned()
        })
    }
}

impl FaultBook {
    /// Switches a fault on and gives its id.
    pub fn add(&mut self, now_us: u64, fault: Fault) -> u64 {
        self.last_id += 1;
        let ends_us = fault.for_ms.map(|for_ms| now_us.saturating_add(for_ms.saturating_mul(1_000)));
        self.faults.push(ActiveFault { id: self.last_id, fault, ends_us });
        self.last_id
    }

    /// Switches off the one with this id; false if there is none.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|active| active.id != id);
        self.faults.len() < before
    }

    /// Switches off those of one region, or all; says how many.
    pub fn clear(&mut self, region: Option<&str>) -> usize {
        let before = self.faults.len();
        self.faults.retain(|active| region.is_some() && active.fault.region.as_deref() != region);
        before - self.faults.len()
    }

    /// Forgets those that ended by `now_us`.
    pub fn expire(&mut self, now_us: u64) {
        self.faults.retain(|active| active.ends_us.is_none_or(|ends_us| ends_us > now_us));
    }

    /// When the next one ends by itself.
    pub fn next_end_us(&self) -> Option<u64> {
        self.faults.iter().filter_map(|active| active.ends_us).min()
    }

    /// Those switched on.
    pub fn active(&self) -> &[ActiveFault] {
        &self.faults
    }

    /// What they do to `region` together: the worst rate, the sum of delays.
    pub fn effect(&self, region: &str) -> Effect {
        let mut effect = Effect { status: 500, ..Effect::default() };
        for fault in self.faults.iter().map(|active| &active.fault) {
            if fault.region.as_deref().is_some_and(|only| only != region) {
                continue;
            }
            if fault.error_rate > effect.error_rate {
                effect.error_rate = fault.error_rate;
                effect.status = fault.status.unwrap_or(500);
            }
            effect.stall |= fault.stall;
            effect.down |= fault.down;
            effect.reset_rate = effect.reset_rate.max(fault.reset_rate);
            effect.truncate_rate = effect.truncate_rate.max(fault.truncate_rate);
            effect.slow_body_ms += fault.slow_body_ms;
            effect.latency_ms += fault.latency_ms;
            if let Some(delays) = &fault.delays {
                effect.delays.and(delays);
            }
            if let Some(dialect) = &fault.dialect {
                effect.dialect.get_or_insert_default().and(dialect);
            }
        }
        effect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_region(region: &str) -> Fault {
        Fault { region: Some(region.to_owned()), latency_ms: 5.0, ..Fault::default() }
    }

    #[test]
    fn a_fault_strikes_its_region_only_and_delays_add_up() {
        let mut book = FaultBook::default();
        book.add(0, in_region("a/b"));
        book.add(0, Fault { latency_ms: 2.0, error_rate: 0.5, status: Some(503), ..Fault::default() });
        assert_eq!(book.effect("a/b").latency_ms, 7.0);
        assert_eq!(book.effect("c/d").latency_ms, 2.0);
        assert_eq!((book.effect("c/d").error_rate, book.effect("c/d").status), (0.5, 503));
    }

    #[test]
    fn a_fault_with_an_end_ends_by_itself() {
        let mut book = FaultBook::default();
        book.add(1_000, Fault { for_ms: Some(2), ..in_region("a/b") });
        assert_eq!(book.next_end_us(), Some(3_000));
        book.expire(2_999);
        assert_eq!(book.active().len(), 1);
        book.expire(3_000);
        assert!(book.active().is_empty());
    }

    #[test]
    fn clearing_one_region_leaves_the_others() {
        let mut book = FaultBook::default();
        let first = book.add(0, in_region("a/b"));
        book.add(0, in_region("c/d"));
        assert_eq!(book.clear(Some("c/d")), 1);
        assert!(book.remove(first) && !book.remove(first));
    }

    #[test]
    fn a_fault_that_makes_no_sense_names_its_field() {
        let named = |fault: Fault| fault.problem().unwrap_or_default();
        assert!(named(Fault { error_rate: 2.0, ..Fault::default() }).starts_with("error_rate"));
        assert!(named(Fault { status: Some(200), error_rate: 1.0, ..Fault::default() }).starts_with("status"));
        assert!(named(Fault::default()).contains("no fault named"));
        assert_eq!(in_region("a/b").problem(), None);
    }
}
