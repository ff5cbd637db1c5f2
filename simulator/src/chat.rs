//! Chat completions as Azure OpenAI serves them: admission, then tokens from
//! the model server, whole or streamed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::body::{Answer, Payload};
use crate::completion::{Completion, Finish};
use crate::config::{DeploymentConfig, RegionConfig};
use crate::engine::{Engine, Ticket};
use crate::llm::TokenTruth;
use crate::llm::account::Books;
use crate::model::Work;
use crate::quota::{Quota, Remaining};
use crate::region::Region;
use crate::service::Call;
use crate::{azure, plain, sse};

/// Longer answers than any model gives are refused.
const MAX_COMPLETION_TOKENS: u32 = 1_000_000;

/// One deployment of a region.
pub(crate) struct Deployment {
    pub(crate) config: DeploymentConfig,
    pub(crate) engine: Arc<Engine>,
    pub(crate) books: Arc<Books>,
    quota: Mutex<Quota>,
}

impl Deployment {
    pub(crate) fn new(config: &DeploymentConfig, region: &RegionConfig) -> Self {
        let model = config.model.as_ref().unwrap_or(&region.model).clone();
        Self {
            engine: Engine::new(model),
            books: Arc::default(),
            quota: Mutex::new(Quota::new(config.requests_per_min, config.tokens_per_min)),
            config: config.clone(),
        }
    }
}

/// What of a request matters here; other fields are taken and ignored.
#[derive(Debug, Deserialize)]
struct ChatRequest {
    model: Option<String>,
    messages: Option<Vec<Value>>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl ChatRequest {
    fn limit(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }
}

pub(crate) async fn complete(mut call: Call<'_>) -> Answer {
    let id = azure::request_id(&mut call.random);
    let region = call.region.config.name.rsplit('/').next().unwrap_or_default().to_owned();
    let answer = admitted(call, &id).await.unwrap_or_else(|refusal| *refusal);
    answer.with("apim-request-id", &id).with("x-request-id", &id).with("x-ms-region", region)
}

/// A refusal is boxed: it is rare, and larger than what it stands beside.
async fn admitted(mut call: Call<'_>, id: &str) -> Result<Answer, Box<Answer>> {
    if !is_authorized(&call) {
        return Err(azure::unauthorized().into());
    }
    let request = parse(&call.body)?;
    let deployment = deployment(call.region, call.part, &request)?;
    let messages = request.messages.as_deref().unwrap_or_default();
    let prompt_tokens = prompt_tokens(messages);
    let config = &deployment.config;
    let natural = plain::lognormal(config.completion_tokens_p50, config.completion_tokens_p99, &mut call.random);
    let natural = natural.round().clamp(1.0, f64::from(MAX_COMPLETION_TOKENS)) as u32;
    let limit = request.limit().unwrap_or(MAX_COMPLETION_TOKENS);
    // As Azure does, what may be produced counts, not what will be.
    let estimate = u64::from(prompt_tokens) + u64::from(request.limit().unwrap_or(natural));
    let remaining = take_quota(&call, deployment, estimate)?;
    let completion_tokens = natural.min(limit);
    let work = Work { prompt_tokens, completion_tokens };
    let mut ticket = deployment.engine.submit(work).map_err(|retry_after| {
        let message = "The model server's queue is full: the deployment is under high demand.";
        azure::throttled(message, retry_after.as_micros() as u64)
    })?;
    let sent = Instant::now();
    let timeout = Duration::from_millis(config.first_token_timeout_ms);
    let first = tokio::time::timeout(timeout, ticket.next()).await;
    if !matches!(first, Ok(Some(_))) {
        return Err(azure::timed_out().into());
    }
    let completion = Completion {
        id: format!("chatcmpl-{}", id.replace('-', "")),
        model: config.name.clone(),
        is_azure: call.head.uri.path().starts_with("/openai/"),
        prompt_tokens,
        completion_tokens,
        finish: if natural > limit { Finish::Length } else { Finish::Stop },
        words: call.random.next_u64(),
    };
    let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
    let is_stream = request.stream == Some(true);
    let account = deployment.books.open(call.started, is_stream);
    account.meter().used(TokenTruth {
        prompt: u64::from(prompt_tokens),
        output: u64::from(completion_tokens),
        ..TokenTruth::default()
    });
    let mut answer = if is_stream {
        let chunks = sse::stream(
            completion,
            ticket,
            account.meter().clone(),
            call.region.clone(),
            config.tokens_per_chunk,
            include_usage,
        );
        let mut answer = Answer::bytes(StatusCode::OK, "text/event-stream", "");
        answer.payload = Payload::Chunks(chunks, None);
        answer.with("cache-control", "no-cache")
    } else {
        last(&mut ticket).await;
        Answer::json(StatusCode::OK, &completion.whole())
    };
    answer.account = Some(account);
    Ok(with_service_headers(answer, remaining, sent.elapsed(), &config.name))
}

async fn last(ticket: &mut Ticket) {
    while ticket.next().await.is_some_and(|token| !token.last) {}
}

fn with_service_headers(answer: Answer, remaining: Remaining, took: Duration, deployment: &str) -> Answer {
    let took_ms = took.as_millis().to_string();
    answer
        .with("x-ratelimit-remaining-requests", remaining.requests.to_string())
        .with("x-ratelimit-remaining-tokens", remaining.tokens.to_string())
        .with("x-ms-deployment-name", deployment)
        .with("x-envoy-upstream-service-time", &took_ms)
        .with("openai-processing-ms", &took_ms)
}

fn is_authorized(call: &Call<'_>) -> bool {
    let Some(key) = call.region.config.api_key.as_deref() else { return true };
    let header = |name| call.head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    header("api-key") == Some(key)
        || header("authorization").and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|token| token == key)
}

fn parse(body: &[u8]) -> Result<ChatRequest, Box<Answer>> {
    let request: ChatRequest = serde_json::from_slice(body)
        .map_err(|cause| azure::invalid(&format!("We could not parse the JSON body of your request: {cause}"), None))?;
    if request.messages.is_none() {
        return Err(azure::invalid("Missing required parameter: 'messages'.", Some("messages")).into());
    }
    if request.limit() == Some(0) {
        return Err(azure::invalid("max_tokens must be at least 1.", Some("max_tokens")).into());
    }
    Ok(request)
}

fn deployment<'a>(
    region: &'a Region,
    part: Option<&str>,
    request: &ChatRequest,
) -> Result<&'a Deployment, Box<Answer>> {
    let Some(name) = part.or(request.model.as_deref()) else {
        return Err(azure::invalid("you must provide a model parameter", Some("model")).into());
    };
    let found = region.deployments.iter().find(|deployment| deployment.config.name == name);
    found.ok_or_else(|| azure::no_deployment().into())
}

/// Azure estimates from characters, too; four to a token, and a few for each message's frame.
fn prompt_tokens(messages: &[Value]) -> u32 {
    let chars: usize = messages.iter().map(|message| chars(message.get("content").unwrap_or(&Value::Null))).sum();
    u32::try_from(chars.div_ceil(4) + 4 * messages.len()).unwrap_or(u32::MAX)
}

/// Content is a string, or parts with a text each.
fn chars(content: &Value) -> usize {
    match content {
        Value::String(text) => text.chars().count(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")).map(chars).sum(),
        _ => 0,
    }
}

fn take_quota(call: &Call<'_>, deployment: &Deployment, tokens: u64) -> Result<Remaining, Box<Answer>> {
    let mut quota = deployment.quota.lock().unwrap_or_else(PoisonError::into_inner);
    quota.take(call.region.now_us(), tokens).map_err(|exceeded| {
        let message = format!(
            "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded {} rate limit of \
             your current OpenAI S0 pricing tier.",
            exceeded.limit
        );
        azure::throttled(&message, exceeded.retry_after_us).into()
    })
}
