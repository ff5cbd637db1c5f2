//! Scenarios: what is sent, in which steps, and what is expected back.

use super::{ModelCall, TargetId, Template, VarId};
use bytes::Bytes;
use std::time::Duration;

/// Position in [`Plan::scenarios`](super::Plan::scenarios).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScenarioId(pub u16);

/// Position in [`Scenario::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u16);

/// Position in [`Plan::feeders`](super::Plan::feeders).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeederId(pub u16);

#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: String,
    pub tags: Vec<(String, String)>,
    /// Never empty. An iteration picks one by weight and keeps it for all its steps.
    pub targets: Vec<(TargetId, u32)>,
    /// Never empty.
    pub steps: Vec<Step>,
    /// Cookies set by responses are sent back within one user (closed) or one iteration (open).
    pub cookies: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub name: String,
    pub tags: Vec<(String, String)>,
    /// Overrides the iteration's target.
    pub target: Option<TargetId>,
    /// An HTTP method token.
    pub method: String,
    /// Path and query, beginning with `/`, already percent-encoded where literal.
    pub path: Template,
    /// In order, lower-case names. No `host`, `content-length` or `transfer-encoding`
    /// unless the user wrote `host`.
    pub headers: Vec<(String, Template)>,
    pub body: BodyTemplate,
    /// From the attempt's start to the last byte.
    pub timeout: Duration,
    pub checks: Vec<Check>,
    pub extracts: Vec<Extract>,
    /// Waited after the step.
    pub think: Option<ThinkTime>,
    /// Calls a model: the path follows from the target, and the answer is read for tokens.
    pub model_call: Option<ModelCall>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BodyTemplate {
    None,
    /// Text with dynamic parts.
    Text(Template),
    /// A JSON text; its dynamic parts stand inside strings and are escaped as JSON wants it.
    Json(Template),
    /// Bytes as they are, shared by every request that sends them.
    Bytes(Bytes),
}

#[derive(Clone, Debug, PartialEq)]
pub enum ThinkTime {
    Fixed(Duration),
    /// Uniformly random, seeded.
    Between(Duration, Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// Accepted statuses; replaces the default rule that 2xx and 3xx are ok.
    Status(Vec<StatusMatch>),
    Header {
        name: String,
        matches: TextMatch,
    },
    BodyContains(String),
    /// RFC 6901 pointer into a JSON body.
    JsonEquals {
        pointer: String,
        value: serde_json::Value,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMatch {
    Exactly(u16),
    /// 2 for `2xx`.
    Class(u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    Present,
    Equals(String),
    Contains(String),
}

/// Takes a value out of a response for later steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Extract {
    pub into: VarId,
    pub from: ExtractFrom,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExtractFrom {
    /// RFC 6901 pointer into a JSON body.
    Json {
        pointer: String,
    },
    /// The first capture group, or the whole match when there is none. Known to compile.
    Regex {
        pattern: String,
    },
    Header {
        name: String,
    },
}

/// Rows of data, one for each iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Feeder {
    pub name: String,
    pub columns: Vec<String>,
    /// Never empty; every row has one value a column.
    pub rows: Vec<Vec<String>>,
    pub order: FeederOrder,
    pub when_exhausted: WhenExhausted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeederOrder {
    /// By the iteration's number in the fleet, from the top again at the end.
    Sequential,
    /// Any row each time, seeded.
    Random,
    /// Every row once in a seeded order, then again in another.
    Shuffled,
    /// Every row at most once in the whole fleet.
    Unique,
}

/// What a `unique` feeder does when its rows are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenExhausted {
    /// The iteration is skipped and counted.
    Skip,
    /// Rows repeat from the top.
    Recycle,
}
