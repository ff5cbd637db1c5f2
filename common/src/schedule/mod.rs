//! When each request should leave, decided before the first one does.
//!
//! Offsets come from the arrival's number, not from adding a gap to the last
//! offset: rounding would pile up, and a slow agent must not move later
//! arrivals. Latency is counted from here, so a stall shows as latency
//! instead of vanishing as requests we never sent.

mod arrivals;
mod curve;
mod users;

pub use arrivals::{Arrival, ArrivalSchedule, planned_arrivals};
pub use curve::Curve;
pub use users::{UserSpan, user_spans};

use crate::plan::{Load, LoadModel, Phase, PhaseKind, Plan};
use std::time::Duration;

/// Where a profile stands at `elapsed`: the phase, and its level there.
pub fn phase_at(load: &Load, elapsed: Duration) -> Option<(&Phase, f64)> {
    let mut start = Duration::ZERO;
    for phase in load.phases() {
        if elapsed < start + phase.duration {
            let part = (elapsed - start).as_secs_f64() / phase.duration.as_secs_f64();
            return Some((phase, phase.from + (phase.to - phase.from) * part));
        }
        start += phase.duration;
    }
    None
}

/// Whether the second `interval` counts as steady state: after the warm-up,
/// before the drain, and in no load's ramp, step change, spike or pause.
pub fn is_steady(plan: &Plan, interval: u32) -> bool {
    let (start, end) = (Duration::from_secs(interval.into()), Duration::from_secs(u64::from(interval) + 1));
    if start < plan.warm_up {
        return false;
    }
    plan.loads.iter().all(|load| match &load.model {
        LoadModel::Open { phases, .. } | LoadModel::Closed { phases, .. } => {
            let mut from = Duration::ZERO;
            let mut covered = false;
            for phase in phases {
                let to = from + phase.duration;
                if from < end && to > start {
                    if !matches!(phase.kind, PhaseKind::Hold | PhaseKind::Step) {
                        return false;
                    }
                    covered = true;
                }
                from = to;
            }
            covered && end <= from
        }
        LoadModel::SharedIterations { at_most, .. } | LoadModel::PerUserIterations { at_most, .. } => {
            at_most.is_none_or(|limit| end <= limit)
        }
    })
}
