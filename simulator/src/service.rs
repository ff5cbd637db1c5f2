//! One request: faults first, then the endpoint it names.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use squall_common::random::Random;

use crate::body::{Answer, Payload, TrackedBody};
use crate::connection::{Connection, Exchange};
use crate::faults::Effect;
use crate::llm::ask::Api;
use crate::llm::serve as llm;
use crate::region::Region;
use crate::routes::{PathClass, route};
use crate::{azure, plain};

/// A larger request body is refused with 413.
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// Into how many pieces a slow body is cut.
const SLOW_PIECES: usize = 20;

/// What an endpoint knows of its request.
pub(crate) struct Call<'a> {
    pub(crate) region: &'a Arc<Region>,
    pub(crate) class: PathClass,
    /// The variable part of the path.
    pub(crate) part: Option<&'a str>,
    pub(crate) head: &'a Parts,
    pub(crate) body: Bytes,
    pub(crate) random: Random,
    /// The faults that strike now.
    pub(crate) effect: &'a Effect,
    /// When its head was received.
    pub(crate) started: Instant,
    /// When it arrived, plus the latency that region and faults add: waits count from here.
    pub(crate) due: Instant,
}

pub(crate) async fn serve(
    region: Arc<Region>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<TrackedBody>, Infallible> {
    let (class, _) = route(request.uri().path());
    let mut exchange = Exchange::start(connection, class);
    let is_head = request.method() == Method::HEAD;
    let mut answer = answer(&region, exchange.started(), request).await;
    if matches!(answer.payload, Payload::Reset) {
        exchange.connection().reset();
        // The connection's task drops us with everything on the connection.
        return std::future::pending().await;
    }
    exchange.keep(answer.account.take());
    Ok(dress(answer, is_head, exchange))
}

async fn answer(region: &Arc<Region>, started: Instant, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    region.stall_over().await;
    let effect = region.effect.borrow().clone();
    let mut random = region.random();
    let added = Duration::from_secs_f64((region.config.base_latency_ms + effect.latency_ms) / 1e3);
    let due = started + added;
    if !added.is_zero() {
        region.waiter.until(due).await;
    }
    if hits(effect.reset_rate, &mut random) {
        return Answer { payload: Payload::Reset, ..Answer::text(StatusCode::OK, Bytes::new()) };
    }
    let (class, part) = route(head.uri.path());
    let is_error = hits(effect.error_rate, &mut random);
    let is_truncated = hits(effect.truncate_rate, &mut random);
    let answer = if is_error {
        azure::failure(effect.status)
    } else {
        let call = Call { region, class, part, head: &head, body, random, effect: &effect, started, due };
        endpoint(call).await
    };
    region.stall_over().await;
    let answer = if is_truncated { answer.truncated() } else { answer };
    slowed(answer, &effect, region)
}

async fn endpoint(call: Call<'_>) -> Answer {
    let methods = call.class.methods();
    if !methods.is_empty() && !methods.contains(&call.head.method) {
        let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n").with("allow", allowed);
    }
    match call.class {
        PathClass::Chat => llm::complete(call, Api::Chat).await,
        PathClass::Completions => llm::complete(call, Api::Completions).await,
        PathClass::Responses => llm::complete(call, Api::Responses).await,
        PathClass::Embeddings => llm::complete(call, Api::Embeddings).await,
        PathClass::Models => llm::models(&call),
        _ => plain::answer(call).await,
    }
}

fn hits(rate: f64, random: &mut Random) -> bool {
    rate > 0.0 && random.unit() < rate
}

async fn read(body: Incoming) -> Result<Bytes, Answer> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
    body.map(|body| body.to_bytes())
        .map_err(|_| Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off\n"))
}

/// Spreads the body over the time the fault says.
fn slowed(answer: Answer, effect: &Effect, region: &Region) -> Answer {
    if effect.slow_body_ms <= 0.0 {
        return answer;
    }
    let pause = Duration::from_secs_f64(effect.slow_body_ms / 1e3 / SLOW_PIECES as f64);
    let payload = match answer.payload {
        Payload::Whole(bytes) => plain::spread(bytes, SLOW_PIECES, pause, region.waiter.clone()),
        Payload::Chunks(chunks, length) => {
            let waiter = region.waiter.clone();
            let chunks = chunks.then(move |chunk| {
                let waiter = waiter.clone();
                async move {
                    waiter.until(Instant::now() + pause).await;
                    chunk
                }
            });
            Payload::Chunks(chunks.boxed(), length)
        }
        Payload::Reset => Payload::Reset,
    };
    Answer { payload, ..answer }
}

fn dress(answer: Answer, is_head: bool, exchange: Exchange) -> Response<TrackedBody> {
    let length = match &answer.payload {
        Payload::Whole(bytes) => Some(bytes.len() as u64),
        Payload::Chunks(_, length) => *length,
        Payload::Reset => None,
    };
    let body = TrackedBody::new(answer.payload, answer.status, is_head || is_bodiless(answer.status), exchange);
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if let Some(length) = length.filter(|_| !is_bodiless(answer.status)) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Pieces with a pause before each.
pub(crate) fn paced(pieces: Vec<Bytes>, pause: Duration, waiter: crate::wait::Waiter) -> crate::body::Chunks {
    let start = Instant::now();
    stream::iter(pieces.into_iter().zip(1u32..))
        .then(move |(piece, number)| {
            let waiter = waiter.clone();
            async move {
                waiter.until(start + pause * number).await;
                Ok(piece.into())
            }
        })
        .boxed()
}
