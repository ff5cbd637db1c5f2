//! Load profiles: how much, when.

use super::{Region, ScenarioId};
use std::time::Duration;

/// Position in [`Plan::loads`](super::Plan::loads).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoadId(pub u16);

/// One load profile and the scenarios it drives.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    pub name: String,
    /// Never empty; weights are at least 1.
    pub drives: Vec<(ScenarioId, u32)>,
    pub model: LoadModel,
    /// Regions whose agents carry this load, with weights. Empty: all agents, equally.
    pub from: Vec<(Region, u32)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LoadModel {
    /// Open: arrivals come whether or not earlier ones were answered. Phase levels are requests/s.
    Open { arrivals: Arrivals, phases: Vec<Phase>, max_in_flight: Option<MaxInFlight> },
    /// Closed: users loop. Phase levels are users.
    Closed { phases: Vec<Phase>, pacing: Option<Duration> },
    /// A fixed number of iterations for the whole fleet, shared by its users.
    SharedIterations { users: u32, iterations: u64, at_most: Option<Duration>, pacing: Option<Duration> },
    /// Every user runs the same number of iterations.
    PerUserIterations { users: u32, iterations: u64, at_most: Option<Duration>, pacing: Option<Duration> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    Uniform,
    Poisson,
}

/// Bound on iterations in flight for the whole fleet; agents get shares of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxInFlight {
    pub limit: u32,
    pub when_full: WhenFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    Wait,
    Skip,
}

/// One stretch of a profile: the level goes straight from `from` to `to`.
/// Levels are finite and not negative, the duration is above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: String,
    pub kind: PhaseKind,
    pub from: f64,
    pub to: f64,
    pub duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseKind {
    Ramp,
    Hold,
    Step,
    Spike,
    Pause,
}

impl Load {
    /// How long this load is offered; `None` when iterations alone end it.
    pub fn duration(&self) -> Option<Duration> {
        match &self.model {
            LoadModel::Open { phases, .. } | LoadModel::Closed { phases, .. } => {
                Some(phases.iter().map(|phase| phase.duration).sum())
            }
            LoadModel::SharedIterations { at_most, .. } | LoadModel::PerUserIterations { at_most, .. } => *at_most,
        }
    }

    pub fn phases(&self) -> &[Phase] {
        match &self.model {
            LoadModel::Open { phases, .. } | LoadModel::Closed { phases, .. } => phases,
            LoadModel::SharedIterations { .. } | LoadModel::PerUserIterations { .. } => &[],
        }
    }

    /// Users at the highest point of the profile; `None` in the open model.
    pub fn peak_users(&self) -> Option<u32> {
        match &self.model {
            LoadModel::Open { .. } => None,
            LoadModel::Closed { phases, .. } => {
                Some(phases.iter().map(|phase| phase.from.max(phase.to).ceil() as u32).max().unwrap_or(0))
            }
            LoadModel::SharedIterations { users, .. } | LoadModel::PerUserIterations { users, .. } => Some(*users),
        }
    }

    /// Requests per second at the highest point; `None` outside the open model.
    pub fn peak_rate(&self) -> Option<f64> {
        match &self.model {
            LoadModel::Open { phases, .. } => {
                Some(phases.iter().map(|phase| phase.from.max(phase.to)).fold(0.0, f64::max))
            }
            _ => None,
        }
    }
}
