//! Delays planted in one layer, to be found again by whoever attributes time.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::Produced;

/// Milliseconds added in one layer; the field `delays` of a fault. Several faults add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// Between the kernel's accepting a connection and our reading from it.
    pub accept_ms: f64,
    /// Before a model request goes upstream; not in `x-envoy-upstream-service-time`.
    pub gateway_ms: f64,
    /// Before the first token.
    pub prefill_ms: f64,
    /// Before each token after the first.
    pub decode_ms: f64,
}

impl Delays {
    /// What is wrong with it, naming the field.
    pub(crate) fn problem(&self) -> Option<String> {
        let fields = [
            ("accept_ms", self.accept_ms),
            ("gateway_ms", self.gateway_ms),
            ("prefill_ms", self.prefill_ms),
            ("decode_ms", self.decode_ms),
        ];
        let wrong = fields.into_iter().find(|(_, ms)| !(0.0..=3_600_000.0).contains(ms));
        if let Some((field, _)) = wrong {
            return Some(format!("delays.{field}: write milliseconds from 0 to 3600000"));
        }
        (*self == Self::default()).then(|| "delays: names none; see docs/simulator.md".to_owned())
    }

    pub(crate) fn and(&mut self, other: &Self) {
        self.accept_ms += other.accept_ms;
        self.gateway_ms += other.gateway_ms;
        self.prefill_ms += other.prefill_ms;
        self.decode_ms += other.decode_ms;
    }

    /// When a token is handed on, if that is later than its step's end.
    pub(crate) fn due(&self, produced: &Produced) -> Option<Instant> {
        let added_ms = self.prefill_ms + self.decode_ms * f64::from(produced.token.index);
        (added_ms > 0.0).then(|| produced.at + in_ms(added_ms))
    }
}

/// A duration of so many milliseconds.
pub(crate) fn in_ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}
