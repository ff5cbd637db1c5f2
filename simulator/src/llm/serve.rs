//! A request of a model: who asks, what for, whether it may; then tokens from
//! the model server, whole or streamed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use serde_json::{Value, json};
use squall_common::random::mix;

use super::account::Account;
use super::admission::{Signal, Throttled};
use super::ask::{Api, Ask};
use super::delays::in_ms;
use super::deployment::Deployment;
use super::dialect::Dialect;
use super::draft::Draft;
use super::events::Frame;
use super::prefix_cache::Prefixes;
use super::stream::Streamed;
use super::truth::TokenTruth;
use super::{chat, completions, embeddings, responses};
use crate::azure;
use crate::body::{Answer, Payload};
use crate::engine::{Produced, Ticket};
use crate::identity::Bearer;
use crate::model::Work;
use crate::service::Call;

/// A refusal is boxed: it is rare, and larger than what it stands beside.
type Refused = Box<Answer>;

/// The models there are, as OpenAI lists them.
pub(crate) fn models(call: &Call<'_>) -> Answer {
    if !has_key(call) {
        return azure::unauthorized();
    }
    let models =
        call.region.deployments.iter().map(
            |deployment| json!({"id": deployment.config.name, "object": "model", "created": 0, "owned_by": "squall"}),
        );
    Answer::json(StatusCode::OK, &json!({"object": "list", "data": models.collect::<Vec<Value>>()}))
}

pub(crate) async fn complete(mut call: Call<'_>, api: Api) -> Answer {
    let id = azure::request_id(&mut call.random);
    let region = call.region.config.name.rsplit('/').next().unwrap_or_default().to_owned();
    let client_id = header(&call, "x-ms-client-request-id").map(str::to_owned);
    let answer = admitted(call, api, &id).await.unwrap_or_else(|refusal| *refusal);
    let answer = match client_id {
        Some(client_id) => answer.with("x-ms-client-request-id", client_id),
        None => answer,
    };
    answer.with("apim-request-id", &id).with("x-request-id", &id).with("x-ms-region", region)
}

async fn admitted(mut call: Call<'_>, api: Api, id: &str) -> Result<Answer, Refused> {
    let ask = Ask::parse(api, &call.body);
    let name = call.part.or(ask.as_ref().ok().and_then(|ask| ask.model.as_deref()));
    let named = call.region.deployments.iter().find(|deployment| Some(deployment.config.name.as_str()) == name);
    authorize(&call, named)?;
    let is_named = name.is_some();
    let ask = ask?;
    let deployment = match named {
        Some(deployment) => deployment,
        None if is_named => return Err(azure::no_deployment().into()),
        None => return Err(azure::invalid("you must provide a model parameter", Some("model")).into()),
    };
    let drafts = drafts(&mut call, &ask, deployment);
    let cacheable = if api == Api::Embeddings { &[][..] } else { &ask.prompts[..] };
    let prefixes: Vec<Prefixes> = cacheable.iter().map(Prefixes::of).collect();
    let cached = cached(&call, deployment, &prefixes);
    let cached_sum: u32 = cached.iter().sum();
    let estimated = estimate(&ask, &drafts);
    let admission = &deployment.admission;
    // Provisioned throughput does not count what is cached.
    let counted =
        if deployment.config.ptu_tokens_per_min.is_some() { estimated - u64::from(cached_sum) } else { estimated };
    let signal = admission.admit(call.region.now_us(), counted).map_err(|refused| throttled(&ask, refused))?;
    if deployment.filters(&ask.prompts) {
        admission.prompt_was_filtered();
        return Err(with_signal(azure::filtered_prompt(&chat::severities(true)), signal).into());
    }
    let delays = call.effect.delays.clone();
    if delays.gateway_ms > 0.0 {
        call.region.waiter.until(Instant::now() + in_ms(delays.gateway_ms)).await;
    }
    let sent = Instant::now();
    let mut ticket = deployment.engine.submit(&works(&ask, &drafts, &cached)).map_err(|retry_after| {
        admission.queue_was_full();
        let message = "The model server's queue is full: the deployment is under high demand.";
        with_signal(azure::throttled(message, retry_after.as_micros() as u64), signal)
    })?;
    let timeout = Duration::from_millis(deployment.config.first_token_timeout_ms);
    let first = async {
        let first = ticket.next().await?;
        if let Some(due) = delays.due(&first) {
            call.region.waiter.until(due).await;
        }
        Some(first)
    };
    let Ok(Some(first)) = tokio::time::timeout(timeout, first).await else {
        return Err(azure::timed_out().into());
    };
    for prefixes in &prefixes {
        deployment.prefixes().keep(call.region.now_us(), prefixes);
    }
    let mut account = deployment.books.open(call.started, ask.is_stream);
    account.settle_with(admission.clone(), counted);
    let frame = frame(&call, &ask, deployment, drafts, id);
    let used = TokenTruth { cached: u64::from(cached_sum), ..used(&ask, &frame.drafts) };
    account.meter().used(used);
    let mut answer = if ask.is_stream {
        streamed(&mut call, &ask, deployment, frame, Tokens { ticket, first, used }, &account)
    } else {
        whole(&call, &ask, frame, Tokens { ticket, first, used }).await
    };
    answer.account = Some(account);
    Ok(with_service_headers(with_signal(answer, signal), sent.elapsed(), &deployment.config.name))
}

/// One for each answer wanted; embeddings want none.
fn drafts(call: &mut Call<'_>, ask: &Ask, deployment: &Deployment) -> Vec<Draft> {
    if ask.api == Api::Embeddings {
        return Vec::new();
    }
    let seed = ask.seed.unwrap_or_else(|| call.random.next_u64());
    let lengths = deployment.lengths();
    let mut drafts = Vec::new();
    for prompt in &ask.prompts {
        let seed = mix(seed, &[prompt.hash()]);
        for choice in 0..ask.n {
            let seed = mix(seed, &[u64::from(choice)]);
            drafts.push(Draft::draw(ask, &lengths, &deployment.config.filtered_in_completions, seed));
        }
    }
    drafts
}

/// A sequence of the batch for each answer; embeddings only read.
fn works(ask: &Ask, drafts: &[Draft], cached: &[u32]) -> Vec<Work> {
    let cached = cached.iter().copied().chain(std::iter::repeat(0));
    let unread = ask.prompts.iter().zip(cached).map(|(prompt, cached)| prompt.tokens() - cached);
    if drafts.is_empty() {
        return vec![Work { prompt_tokens: unread.fold(0, u32::saturating_add), completion_tokens: 1 }];
    }
    let prompts = unread.flat_map(|tokens| std::iter::repeat_n(tokens, ask.n as usize));
    prompts.zip(drafts).map(|(prompt_tokens, draft)| Work { prompt_tokens, completion_tokens: draft.tokens }).collect()
}

/// How many leading tokens of each prompt need not be read.
fn cached(call: &Call<'_>, deployment: &Deployment, prefixes: &[Prefixes]) -> Vec<u32> {
    let now_us = call.region.now_us();
    let mut cache = deployment.prefixes();
    prefixes.iter().map(|prefixes| cache.cached_tokens(now_us, prefixes)).collect()
}

fn frame(call: &Call<'_>, ask: &Ask, deployment: &Deployment, drafts: Vec<Draft>, id: &str) -> Frame {
    let prefix = match ask.api {
        Api::Chat => "chatcmpl-",
        Api::Completions => "cmpl-",
        Api::Responses => "resp_",
        Api::Embeddings => "",
    };
    Frame {
        id: format!("{prefix}{}", id.replace('-', "")),
        model: deployment.config.name.clone(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        is_azure: call.head.uri.path().starts_with("/openai/"),
        include_usage: ask.include_usage,
        reasoning_field: deployment.config.reasoning_field.name(),
        drafts,
    }
}

/// What all of it will have used.
fn used(ask: &Ask, drafts: &[Draft]) -> TokenTruth {
    let prompt = TokenTruth { prompt: u64::from(ask.prompt_tokens()), ..TokenTruth::default() };
    drafts.iter().fold(prompt, |used, draft| TokenTruth {
        output: used.output + u64::from(draft.tokens),
        reasoning: used.reasoning + u64::from(draft.reasoning),
        ..used
    })
}

/// The model server's tokens for a request.
struct Tokens {
    ticket: Ticket,
    first: Produced,
    /// What all of it uses.
    used: TokenTruth,
}

async fn whole(call: &Call<'_>, ask: &Ask, frame: Frame, tokens: Tokens) -> Answer {
    let Tokens { mut ticket, first, used } = tokens;
    let mut last = first;
    while let Some(produced) = ticket.next().await {
        last = produced;
    }
    if let Some(due) = call.effect.delays.due(&last) {
        call.region.waiter.until(due).await;
    }
    let answer = match ask.api {
        Api::Chat => chat::whole(&frame, used),
        Api::Completions => completions::whole(&frame, used),
        Api::Responses => responses::whole(&frame, used),
        Api::Embeddings => embeddings::whole(ask, &frame, used),
    };
    Answer::json(StatusCode::OK, &answer)
}

fn streamed(
    call: &mut Call<'_>,
    ask: &Ask,
    deployment: &Deployment,
    frame: Frame,
    tokens: Tokens,
    account: &Account,
) -> Answer {
    let dialect = dialect(call);
    let Tokens { ticket, first, used } = tokens;
    let chunks = Streamed {
        events: frame.events(ask),
        tokens_per_chunk: dialect.tokens_per_chunk.unwrap_or(deployment.config.tokens_per_chunk),
        dialect,
        ticket,
        first,
        meter: account.meter().clone(),
        region: call.region.clone(),
        used: TokenTruth { output: 0, reasoning: 0, ..used },
        delays: call.effect.delays.clone(),
        frame,
    };
    let mut answer = Answer::bytes(StatusCode::OK, "text/event-stream", "");
    answer.payload = Payload::Chunks(chunks.body(), None);
    answer.with("cache-control", "no-cache")
}

/// The dialect this stream is written in.
fn dialect(call: &mut Call<'_>) -> Dialect {
    let Some(dialect) = call.effect.dialect.clone() else { return Dialect::default() };
    let is_struck = dialect.rate.is_none_or(|rate| call.random.unit() < rate);
    if is_struck { dialect } else { Dialect::default() }
}

fn with_service_headers(answer: Answer, took: Duration, deployment: &str) -> Answer {
    let took_ms = took.as_millis().to_string();
    answer
        .with("x-ms-deployment-name", deployment)
        .with("x-envoy-upstream-service-time", &took_ms)
        .with("openai-processing-ms", &took_ms)
}

/// A token where the deployment wants one, otherwise the region's key, if it has one.
fn authorize(call: &Call<'_>, deployment: Option<&Deployment>) -> Result<(), Refused> {
    let wanted = deployment.and_then(|found| found.config.bearer_audience.as_deref().map(|audience| (found, audience)));
    let (Some((deployment, audience)), Some(identity)) = (wanted, &call.region.identity) else {
        return if has_key(call) { Ok(()) } else { Err(azure::unauthorized().into()) };
    };
    let bearer = identity.judge(bearer(call), audience);
    deployment.books.note(bearer);
    if bearer == Bearer::Valid { Ok(()) } else { Err(azure::bad_token(audience).into()) }
}

fn has_key(call: &Call<'_>) -> bool {
    let Some(key) = call.region.config.api_key.as_deref() else { return true };
    header(call, "api-key") == Some(key) || bearer(call) == Some(key)
}

fn bearer<'a>(call: &'a Call<'_>) -> Option<&'a str> {
    header(call, "authorization").and_then(|value| value.strip_prefix("Bearer "))
}

fn header<'a>(call: &'a Call<'_>, name: &str) -> Option<&'a str> {
    call.head.headers.get(name).and_then(|value| value.to_str().ok())
}

/// As Azure does: the prompt, and what may be produced, not what will be.
fn estimate(ask: &Ask, drafts: &[Draft]) -> u64 {
    let limits = drafts.iter().map(|draft| u64::from(ask.limit.unwrap_or(draft.tokens)));
    u64::from(ask.prompt_tokens()) + limits.sum::<u64>()
}

fn throttled(ask: &Ask, throttled: Throttled) -> Refused {
    let operation = ask.api.operation();
    let message = match throttled.limit {
        Some(limit) => format!(
            "Requests to the {operation} Operation under Azure OpenAI API have exceeded {limit} rate limit of your \
             current OpenAI S0 pricing tier."
        ),
        None => format!("Requests to the {operation} Operation have exceeded the provisioned throughput."),
    };
    with_signal(azure::throttled(&message, throttled.retry_after_us), throttled.signal).into()
}

/// The headers that tell of quota and utilisation; Azure's resets are whole seconds.
fn with_signal(answer: Answer, signal: Signal) -> Answer {
    let seconds = |us: u64| us.div_ceil(1_000_000).to_string();
    match signal {
        Signal::Quota(standing) => answer
            .with("x-ratelimit-limit-requests", standing.limit_requests.to_string())
            .with("x-ratelimit-limit-tokens", standing.limit_tokens.to_string())
            .with("x-ratelimit-remaining-requests", standing.remaining_requests.to_string())
            .with("x-ratelimit-remaining-tokens", standing.remaining_tokens.to_string())
            .with("x-ratelimit-reset-requests", seconds(standing.reset_requests_us))
            .with("x-ratelimit-reset-tokens", seconds(standing.reset_tokens_us)),
        Signal::Provisioned(percent) => answer.with("azure-openai-deployment-utilization", format!("{percent:.1}%")),
    }
}
