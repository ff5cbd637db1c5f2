//! Calls to a language model: which API, at which kind of endpoint.

use super::{Comparison, Metric};
use std::time::Duration;

/// The latest dated version of Azure's data-plane API that is generally available.
pub const DEFAULT_API_VERSION: &str = "2024-10-21";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    #[default]
    Chat,
    Completions,
    Embeddings,
    Responses,
}

impl Api {
    pub const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Embeddings, Self::Responses];

    /// Its key in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
        }
    }

    /// The last part of its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
        }
    }
}

/// Position in [`Plan::prompts`](super::Plan::prompts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptsId(pub u16);

/// What a call asks comes from the plan's prompts: put into its body for every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompted {
    pub by: PromptsId,
    /// The body's field that gets it.
    pub field: &'static str,
    /// The field that gets the most tokens an answer may have, where the body sets none itself.
    pub limit: Option<&'static str>,
}

/// A step that calls a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCall {
    pub api: Api,
    pub is_streamed: bool,
    /// The body names a model of its own, over the target's.
    pub names_model: bool,
    pub prompted: Option<Prompted>,
    /// A longer gap between tokens is a stall.
    pub stall: Duration,
    /// All of these make a request a good one; empty: goodput is not asked for.
    pub goodput: Vec<Bound>,
}

/// A bound on one request's metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// As the user wrote it.
    pub text: String,
    pub metric: Metric,
    pub comparison: Comparison,
    pub limit_us: f64,
}

/// How a target serves models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/openai/deployments/{deployment}/…?api-version=`.
    AzureDeployment { deployment: String, api_version: String },
    /// `/openai/v1/…`, the deployment in the body's `model`.
    AzureV1 { deployment: String, api_version: Option<String> },
    /// `/v1/…`: OpenAI, vLLM, llama.cpp, Ollama.
    OpenAi { model: Option<String> },
}

impl Endpoint {
    /// Path and query, from the target's own base path on.
    pub fn path(&self, api: Api, base_path: &str) -> String {
        match self {
            // Azure's Responses API has no deployment in its path.
            Self::AzureDeployment { api_version, .. } if api == Api::Responses => {
                format!("/openai/responses?api-version={api_version}")
            }
            Self::AzureDeployment { deployment, api_version } => {
                format!("/openai/deployments/{deployment}{}?api-version={api_version}", api.path())
            }
            Self::AzureV1 { api_version: Some(version), .. } => {
                format!("/openai/v1{}?api-version={version}", api.path())
            }
            Self::AzureV1 { api_version: None, .. } => format!("/openai/v1{}", api.path()),
            // Base URLs of this kind are usually given with their `/v1`.
            Self::OpenAi { .. } if base_path.ends_with("/v1") => api.path().to_owned(),
            Self::OpenAi { .. } => format!("/v1{}", api.path()),
        }
    }

    /// What the body's `model` has to be, if it has to be there.
    pub fn model(&self, api: Api) -> Option<&str> {
        match self {
            Self::AzureDeployment { deployment, .. } => (api == Api::Responses).then_some(deployment),
            Self::AzureV1 { deployment, .. } => Some(deployment),
            Self::OpenAi { model } => model.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_endpoint_has_its_paths() {
        let azure = Endpoint::AzureDeployment { deployment: "gpt-4o".into(), api_version: "2024-10-21".into() };
        assert_eq!(azure.path(Api::Chat, ""), "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21");
        assert_eq!(azure.path(Api::Responses, ""), "/openai/responses?api-version=2024-10-21");
        assert_eq!((azure.model(Api::Chat), azure.model(Api::Responses)), (None, Some("gpt-4o")));
        let v1 = Endpoint::AzureV1 { deployment: "gpt-4o".into(), api_version: None };
        assert_eq!(v1.path(Api::Embeddings, ""), "/openai/v1/embeddings");
        let plain = Endpoint::OpenAi { model: Some("tiny".into()) };
        assert_eq!(plain.path(Api::Completions, ""), "/v1/completions");
        assert_eq!(plain.path(Api::Completions, "/api/v1"), "/completions");
    }
}
