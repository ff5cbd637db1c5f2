//! What one deployment looks like: who may use it, how much, and how it answers.

use serde::{Deserialize, Serialize};

use crate::model::ModelParams;
use crate::quota::QuotaAlgorithm;

/// One model deployment: its quota and how long its answers are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfig {
    /// The name in the URL, or in the body's `model`.
    pub name: String,
    /// Request quota per minute; beyond it requests are throttled with 429.
    #[serde(default = "ample_requests")]
    pub requests_per_min: u64,
    /// Token quota per minute, judged like Azure does: prompt plus `max_tokens`.
    #[serde(default = "ample_tokens")]
    pub tokens_per_min: u64,
    /// When set, requests must carry a token of the tenant's for this audience; keys are not taken.
    #[serde(default)]
    pub bearer_audience: Option<String>,
    /// How both are judged.
    #[serde(default)]
    pub quota_algorithm: QuotaAlgorithm,
    /// What a token bucket holds, in seconds of its limit.
    #[serde(default = "a_minute")]
    pub quota_burst_s: f64,
    /// Requests are judged on slices of 1 or 10 seconds, too, as Azure may; 0: they are not.
    #[serde(default)]
    pub requests_slice_s: u64,
    /// Provisioned throughput in place of both quotas: a leaky bucket that drains so many tokens a minute.
    #[serde(default)]
    pub ptu_tokens_per_min: Option<u64>,
    /// Median answer length, where the request sets no lower limit.
    #[serde(default = "usual_p50")]
    pub completion_tokens_p50: f64,
    /// 99th percentile of the answer length.
    #[serde(default = "usual_p99")]
    pub completion_tokens_p99: f64,
    /// Median of the reasoning tokens before an answer, 0 for a model that doesn't reason.
    #[serde(default)]
    pub reasoning_tokens_p50: f64,
    /// 99th percentile of the reasoning tokens; the median when it is less.
    #[serde(default)]
    pub reasoning_tokens_p99: f64,
    /// Where reasoning is shown.
    #[serde(default)]
    pub reasoning_field: ReasoningField,
    /// A prompt's prefix is cached until it was idle for so long; 0: never.
    #[serde(default = "usual_idle")]
    pub prompt_cache_idle_s: u64,
    /// Words the content filter refuses in prompts, with 400.
    #[serde(default)]
    pub filtered_in_prompts: Vec<String>,
    /// Words before which the content filter ends an answer.
    #[serde(default)]
    pub filtered_in_completions: Vec<String>,
    /// Tokens bundled in one streamed chunk (Azure's content filter releases bursts).
    #[serde(default = "one")]
    pub tokens_per_chunk: u32,
    /// A request without its first token by then is answered 408.
    #[serde(default = "usual_timeout")]
    pub first_token_timeout_ms: u64,
    /// Overrides the region's model parameters.
    #[serde(default)]
    pub model: Option<ModelParams>,
}

/// The field of messages and deltas in which a model shows its reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningField {
    /// As vLLM and DeepSeek do.
    #[default]
    ReasoningContent,
    /// As Ollama does.
    Reasoning,
    /// Nowhere, as OpenAI's models do; it takes its time and is in `usage`.
    Hidden,
}

impl ReasoningField {
    /// Empty when hidden.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReasoningContent => "reasoning_content",
            Self::Reasoning => "reasoning",
            Self::Hidden => "",
        }
    }
}

impl DeploymentConfig {
    /// A deployment with ample quota.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            requests_per_min: ample_requests(),
            tokens_per_min: ample_tokens(),
            bearer_audience: None,
            quota_algorithm: QuotaAlgorithm::default(),
            quota_burst_s: a_minute(),
            requests_slice_s: 0,
            ptu_tokens_per_min: None,
            completion_tokens_p50: usual_p50(),
            completion_tokens_p99: usual_p99(),
            reasoning_tokens_p50: 0.0,
            reasoning_tokens_p99: 0.0,
            reasoning_field: ReasoningField::default(),
            prompt_cache_idle_s: usual_idle(),
            filtered_in_prompts: Vec::new(),
            filtered_in_completions: Vec::new(),
            tokens_per_chunk: one(),
            first_token_timeout_ms: usual_timeout(),
            model: None,
        }
    }
}

fn ample_requests() -> u64 {
    600_000
}
fn ample_tokens() -> u64 {
    1_000_000_000
}
fn a_minute() -> f64 {
    60.0
}
fn usual_p50() -> f64 {
    80.0
}
fn usual_p99() -> f64 {
    400.0
}
fn usual_idle() -> u64 {
    300
}
fn one() -> u32 {
    1
}
fn usual_timeout() -> u64 {
    120_000
}
