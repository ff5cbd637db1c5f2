//! SLO lines, as typed values. The grammar is parsed in `plan::file`; judging is `slo.rs`.

use super::{Region, ScenarioId};

/// One SLO line: `p99(response_time) < 250ms for checkout in region azure/eastus`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// As the user wrote it.
    pub text: String,
    pub quantity: Quantity,
    pub comparison: Comparison,
    /// µs for latencies, a ratio 0–1 for `error_rate` and `goodput`, requests/s for `throughput`.
    pub limit: f64,
    pub scope: SloScope,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    Latency {
        statistic: Statistic,
        metric: Metric,
    },
    ErrorRate,
    Throughput,
    /// Good requests, by the plan's own bounds, over all that ended.
    Goodput,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// 0–100.
    Percentile(f64),
    Mean,
    Max,
}

/// What is measured as a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    ResponseTime,
    ServiceTime,
    DispatchLag,
    Dns,
    Connect,
    Tls,
    Write,
    Wait,
    Receive,
    Rtt,
    Server,
    /// From the intended instant to the first token.
    FirstToken,
    /// From the actual send to the first token.
    FirstTokenService,
    /// From the intended instant to the first token that is no reasoning, where reasoning came first.
    FirstVisible,
    SecondToken,
    /// Between two events that bring tokens: each gap a value of its own.
    InterToken,
    /// (end − first token) / (tokens − 1).
    TimePerToken,
}

impl Metric {
    pub const COUNT: usize = 17;
    pub const ALL: [Self; Self::COUNT] = [
        Self::ResponseTime,
        Self::ServiceTime,
        Self::DispatchLag,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Write,
        Self::Wait,
        Self::Receive,
        Self::Rtt,
        Self::Server,
        Self::FirstToken,
        Self::FirstTokenService,
        Self::FirstVisible,
        Self::SecondToken,
        Self::InterToken,
        Self::TimePerToken,
    ];
    /// Those of a model's answers.
    pub const OF_MODELS: [Self; 6] = [
        Self::FirstToken,
        Self::FirstTokenService,
        Self::FirstVisible,
        Self::SecondToken,
        Self::InterToken,
        Self::TimePerToken,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::ResponseTime => "response_time",
            Self::ServiceTime => "service_time",
            Self::DispatchLag => "dispatch_lag",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Write => "write",
            Self::Wait => "wait",
            Self::Receive => "receive",
            Self::Rtt => "rtt",
            Self::Server => "server",
            Self::FirstToken => "ttft",
            Self::FirstTokenService => "ttft_service",
            Self::FirstVisible => "first_visible",
            Self::SecondToken => "second_token",
            Self::InterToken => "inter_token",
            Self::TimePerToken => "tpot",
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SloScope {
    pub scenario: Option<ScenarioId>,
    pub region: Option<Region>,
    /// Judge only what follows the warm-up.
    pub steady_state: bool,
}

impl Comparison {
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
        }
    }

    pub fn symbol(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }
}
