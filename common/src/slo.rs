//! SLO lines held against the merged run, once, at the end.

use crate::merge::{Part, RunMerge, Scope};
use crate::plan::{Quantity, Slo, Statistic};
use std::time::Duration;

/// What an SLO came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub text: String,
    /// In the unit of the SLO's limit; `None` when nothing was measured.
    pub value: Option<f64>,
    pub limit: f64,
    pub passed: bool,
    /// The same on what is left without the seconds in which an agent was missing, where one was.
    pub apart: Option<Apart>,
}

/// A judgement without some seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    pub value: Option<f64>,
    pub passed: bool,
}

impl Judgement {
    /// Holds on all data, and on what is left without affected seconds.
    pub fn holds(&self) -> bool {
        self.passed && self.apart.is_none_or(|apart| apart.passed)
    }
}

/// Judges every SLO of the plan on merged data. `load_time` is how long load was offered.
pub fn judge(merge: &RunMerge, load_time: Duration) -> Vec<Judgement> {
    merge.plan().slos.iter().map(|slo| judge_one(slo, merge, load_time)).collect()
}

fn judge_one(slo: &Slo, merge: &RunMerge, load_time: Duration) -> Judgement {
    let region = slo.scope.region.as_ref().map(|region| merge.region_index(region));
    let value = match region {
        // The region carried no load: there is nothing to hold the line against.
        Some(None) => None,
        region => {
            let scope = Scope {
                scenario: slo.scope.scenario,
                region: region.flatten(),
                steady: slo.scope.steady_state,
                ..Scope::default()
            };
            let seconds = if slo.scope.steady_state { merge.steady_seconds() as f64 } else { load_time.as_secs_f64() };
            measure(&slo.quantity, &merge.part(scope), seconds)
        }
    };
    let passed = value.is_some_and(|value| slo.comparison.holds(value, slo.limit));
    Judgement { text: slo.text.clone(), value, limit: slo.limit, passed, apart: None }
}

fn measure(quantity: &Quantity, part: &Part, seconds: f64) -> Option<f64> {
    if part.finished() == 0 {
        return None;
    }
    match quantity {
        Quantity::ErrorRate => Some(part.error_rate()),
        Quantity::Throughput => (seconds > 0.0).then(|| part.series.outcomes[0] as f64 / seconds),
        Quantity::Goodput => Some(part.goodput()),
        Quantity::Latency { statistic, metric } => {
            let latencies = part.series.latencies(*metric).filter(|latencies| !latencies.is_empty())?;
            Some(match statistic {
                Statistic::Percentile(percentile) => latencies.percentile_us(*percentile) as f64,
                Statistic::Mean => latencies.mean_us(),
                Statistic::Max => latencies.max_us() as f64,
            })
        }
    }
}
