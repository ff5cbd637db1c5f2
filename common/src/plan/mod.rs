//! The valid plan: what runs. It cannot be built wrong; what the user typed
//! becomes this, or a list of every problem, in [`file`].
//!
//! Ids are positions in the plan's lists and mean the same on every machine
//! that holds a plan with the same digest.

pub mod file;
mod fleet;
mod keep;
pub mod limits;
mod load;
mod model;
pub mod prompts;
mod scenario;
mod slo;
mod target;
mod template;

pub use fleet::{OnAgentLoss, StartWhen};
pub use keep::{KeepErrors, Pseudonyms};
pub use load::{Arrivals, Load, LoadId, LoadModel, MaxInFlight, Phase, PhaseKind, WhenFull};
pub use model::{Api, Bound, DEFAULT_API_VERSION, Endpoint, ModelCall, Prompted, PromptsId};
pub use scenario::{
    BodyTemplate, Check, Extract, ExtractFrom, Feeder, FeederId, FeederOrder, Scenario, ScenarioId, StatusMatch, Step,
    StepId, TextMatch, ThinkTime, WhenExhausted,
};
pub use slo::{Comparison, Metric, Quantity, Slo, SloScope, Statistic};
pub use target::{
    ClientCertificate, ConnectionPolicy, ContentCoding, DnsPolicy, HttpVersion, PemSource, Redirects, Region, Scheme,
    Target, TargetId, TlsPolicy,
};
pub use template::{Dynamic, Part, Proof, SecretId, SecretSource, Template, TokenGrant, VarId};

pub(crate) use file::nearest;

use std::time::Duration;

/// One validated plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub name: String,
    pub seed: u64,
    pub tags: Vec<(String, String)>,
    pub targets: Vec<Target>,
    pub feeders: Vec<Feeder>,
    pub prompts: Vec<prompts::Prompts>,
    /// Named values that steps extract; [`VarId`] indexes this list.
    pub variables: Vec<String>,
    /// References only, resolved on the agent; [`SecretId`] indexes this list.
    pub secrets: Vec<SecretSource>,
    pub scenarios: Vec<Scenario>,
    pub loads: Vec<Load>,
    pub slos: Vec<Slo>,
    /// The first part of the run, left out of the steady-state figures.
    pub warm_up: Duration,
    /// How long requests in flight may take after the last phase.
    pub drain: Duration,
    pub on_agent_loss: OnAgentLoss,
    /// With fewer agents the run does not begin, and fails if it has.
    pub min_agents: usize,
    pub start_when: StartWhen,
    /// Response time, service time and dispatch lag of every sample are logged
    /// on the agent (for checking the measurement itself; bounded).
    pub sample_log: bool,
    pub keep_errors: Option<KeepErrors>,
}

impl Plan {
    pub fn target(&self, id: TargetId) -> &Target {
        &self.targets[id.0 as usize]
    }

    pub fn scenario(&self, id: ScenarioId) -> &Scenario {
        &self.scenarios[id.0 as usize]
    }

    pub fn load(&self, id: LoadId) -> &Load {
        &self.loads[id.0 as usize]
    }

    pub fn load_ids(&self) -> impl Iterator<Item = LoadId> + use<> {
        (0..self.loads.len() as u16).map(LoadId)
    }

    /// How long load is offered: the longest load. Draining comes after it.
    /// `None` when a load by iterations has no time limit.
    pub fn offered_for(&self) -> Option<Duration> {
        self.loads.iter().map(Load::duration).try_fold(Duration::ZERO, |longest, one| Some(longest.max(one?)))
    }

    /// Series the plan can produce: scenario × request × target.
    /// Outcome classes multiply it only as they occur.
    pub fn series_count(&self) -> usize {
        self.scenarios
            .iter()
            .map(|scenario| {
                scenario
                    .steps
                    .iter()
                    .map(|step| if step.target.is_some() { 1 } else { scenario.targets.len() })
                    .sum::<usize>()
            })
            .sum()
    }
}
