//! Whether a request may: its deployment's quota, or its provisioned
//! throughput, and the truth about what came and what was let in.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::deployment_config::DeploymentConfig;
use crate::llm::peaks::Peaks;
use crate::llm::truth::AdmissionTruth;
use crate::quota::{Exceeded, Limits, Quota, Standing};

/// The gate of one deployment.
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    gate: Gate,
    truth: AdmissionTruth,
    offered: Peaks,
    admitted: Peaks,
}

#[derive(Debug)]
enum Gate {
    Quota(Quota),
    Provisioned(Bucket),
}

/// Provisioned throughput: what is asked fills it, and it drains all the time.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    tokens_per_min: f64,
    level: f64,
    at_us: u64,
}

/// What headers tell of the gate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Signal {
    Quota(Standing),
    /// Utilisation in percent.
    Provisioned(f64),
}

/// Why a request may not, now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Throttled {
    /// `call`, `token`; none for provisioned throughput.
    pub(crate) limit: Option<&'static str>,
    pub(crate) retry_after_us: u64,
    pub(crate) signal: Signal,
}

impl Bucket {
    fn new(tokens_per_min: u64) -> Self {
        Self { tokens_per_min: tokens_per_min as f64, level: 0.0, at_us: 0 }
    }

    fn drain(&mut self, now_us: u64) {
        let drained = now_us.saturating_sub(self.at_us) as f64 * self.tokens_per_min / 60e6;
        self.level = (self.level - drained).max(0.0);
        self.at_us = self.at_us.max(now_us);
    }

    fn percent(&self) -> f64 {
        self.level / self.tokens_per_min * 100.0
    }

    /// Lets everything in below 100 %; otherwise says when it is below again.
    fn take(&mut self, now_us: u64, tokens: u64) -> Result<(), u64> {
        self.drain(now_us);
        let over = self.level - self.tokens_per_min;
        if over >= 0.0 {
            return Err((over * 60e6 / self.tokens_per_min) as u64 + 1);
        }
        self.level += tokens as f64;
        Ok(())
    }
}

impl Admission {
    pub(crate) fn new(config: &DeploymentConfig) -> Self {
        let limits = Limits {
            algorithm: config.quota_algorithm,
            requests_per_min: config.requests_per_min,
            tokens_per_min: config.tokens_per_min,
            slice_s: config.requests_slice_s,
            burst_s: config.quota_burst_s,
        };
        let gate = match config.ptu_tokens_per_min {
            Some(tokens_per_min) => Gate::Provisioned(Bucket::new(tokens_per_min)),
            None => Gate::Quota(Quota::new(limits)),
        };
        let state = State { gate, truth: AdmissionTruth::default(), offered: Peaks::new(), admitted: Peaks::new() };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in that may use up to `tokens`, or says when to come back.
    pub(crate) fn admit(&self, now_us: u64, tokens: u64) -> Result<Signal, Throttled> {
        let mut state = self.state();
        let State { gate, truth, offered, admitted } = &mut *state;
        offered.note(now_us, tokens);
        let taken = match gate {
            Gate::Quota(quota) => {
                quota.take(now_us, tokens).map_err(|Exceeded { limit, retry_after_us }| (Some(limit), retry_after_us))
            }
            Gate::Provisioned(bucket) => bucket.take(now_us, tokens).map_err(|retry_after_us| (None, retry_after_us)),
        };
        let signal = gate.signal(now_us);
        if let Signal::Provisioned(percent) = signal {
            truth.utilization_percent_max = truth.utilization_percent_max.max(percent);
        }
        match taken {
            Ok(()) => {
                truth.admitted += 1;
                truth.admitted_tokens += tokens;
                admitted.note(now_us, tokens);
                Ok(signal)
            }
            Err((limit, retry_after_us)) => {
                match limit {
                    Some("call") => truth.throttled_by_requests += 1,
                    Some(_) => truth.throttled_by_tokens += 1,
                    None => truth.throttled_by_utilization += 1,
                }
                Err(Throttled { limit, retry_after_us, signal })
            }
        }
    }

    /// The model server's queue was full for a request let in.
    pub(crate) fn queue_was_full(&self) {
        self.state().truth.throttled_by_queue += 1;
    }

    /// The content filter refused the prompt of a request let in.
    pub(crate) fn prompt_was_filtered(&self) {
        self.state().truth.filtered_prompts += 1;
    }

    /// An answer is complete: provisioned throughput counts what it used, not what it might have.
    pub(crate) fn settle(&self, estimated: u64, used: u64) {
        if let Gate::Provisioned(bucket) = &mut self.state().gate {
            bucket.level = (bucket.level + used as f64 - estimated as f64).max(0.0);
        }
    }

    /// Starts the truth again; the quota stays as used as it is.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.truth = AdmissionTruth::default();
        (state.offered, state.admitted) = (Peaks::new(), Peaks::new());
    }

    pub(crate) fn truth(&self) -> AdmissionTruth {
        let state = self.state();
        let (offered_peak, admitted_peak) = (state.offered.truth(), state.admitted.truth());
        AdmissionTruth { offered_peak, admitted_peak, ..state.truth.clone() }
    }
}

impl Gate {
    fn signal(&mut self, now_us: u64) -> Signal {
        match self {
            Self::Quota(quota) => Signal::Quota(quota.standing(now_us)),
            Self::Provisioned(bucket) => Signal::Provisioned(bucket.percent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn provisioned(tokens_per_min: u64) -> Admission {
        Admission::new(&DeploymentConfig {
            ptu_tokens_per_min: Some(tokens_per_min),
            ..DeploymentConfig::named("gpt-4o")
        })
    }

    #[test]
    fn provisioned_throughput_refuses_from_100_percent_until_it_has_drained() {
        let gate = provisioned(600);
        assert_eq!(gate.admit(0, 300), Ok(Signal::Provisioned(50.0)));
        assert_eq!(gate.admit(0, 400), Ok(Signal::Provisioned(700.0 / 6.0)), "below 100 % anything is let in");
        let Err(throttled) = gate.admit(0, 1) else { panic!("let in") };
        assert_eq!(throttled.retry_after_us, 10 * S + 1, "100 tokens at 10 a second");
        assert!(gate.admit(10 * S + 1, 1).is_ok());
        assert_eq!((gate.truth().admitted, gate.truth().throttled_by_utilization), (3, 1));
    }

    #[test]
    fn a_complete_answer_gives_back_what_it_did_not_use() {
        let gate = provisioned(600);
        assert!(gate.admit(0, 600).is_ok());
        gate.settle(600, 60);
        assert_eq!(gate.admit(0, 30), Ok(Signal::Provisioned(15.0)));
    }

    #[test]
    fn what_was_offered_and_what_was_let_in_are_told_apart() {
        let config = DeploymentConfig { requests_per_min: 2, ..DeploymentConfig::named("gpt-4o") };
        let gate = Admission::new(&config);
        let let_in = (0..5).filter(|_| gate.admit(S, 10).is_ok()).count();
        let truth = gate.truth();
        assert_eq!((let_in, truth.admitted, truth.throttled_by_requests, truth.admitted_tokens), (2, 2, 3, 20));
        assert_eq!((truth.offered_peak.requests_in_1_s, truth.admitted_peak.requests_in_60_s), (5, 2));
        assert_eq!((truth.offered_peak.tokens_in_60_s, truth.admitted_peak.tokens_in_1_s), (50, 20));
    }
}
