//! Plain HTTP endpoints: known delays, sizes and statuses to measure against.

use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use squall_common::random::Random;

use crate::azure;
use crate::body::{Answer, Payload};
use crate::query::Query;
use crate::routes::PathClass;
use crate::service::{Call, paced};
use crate::wait::Waiter;

const MAX_BYTES: u64 = 1 << 30;
/// A compressed body is made whole, in memory.
const MAX_COMPRESSED_BYTES: u64 = 16 << 20;
const MAX_MS: f64 = 3_600_000.0;
const BLOCK: usize = 64 << 10;
/// Larger bodies are sent block by block.
const MAX_WHOLE: u64 = BLOCK as u64;

/// Text that compresses about as well as JSON does.
static FILLER: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = Random::at(0, &[]);
    let mut text = Vec::with_capacity(BLOCK + 16);
    while text.len() < BLOCK {
        text.extend_from_slice(format!("{:05} squall ", random.below(100_000)).as_bytes());
    }
    text.truncate(BLOCK);
    text.into()
});

pub(crate) async fn answer(call: Call<'_>) -> Answer {
    let query = Query::of(&call.head.uri);
    perform(call, &query).await.unwrap_or_else(|wrong| Answer::text(StatusCode::BAD_REQUEST, format!("{wrong}\n")))
}

async fn perform(mut call: Call<'_>, query: &Query) -> Result<Answer, String> {
    let part = call.part.unwrap_or_default();
    Ok(match call.class {
        PathClass::Root => Answer::text(StatusCode::OK, &b"squall simulator\n"[..]),
        PathClass::Fixed | PathClass::Lognormal | PathClass::Uniform | PathClass::Exponential => {
            let delay_ms = delay_ms(call.class, query, &mut call.random)?;
            let answer = sized(status(&query.text("status").unwrap_or("200".into()))?, query.bytes("bytes", 64)?);
            call.region.waiter.until(call.due + Duration::from_secs_f64(delay_ms / 1e3)).await;
            answer
        }
        PathClass::Status => match status(part)? {
            ok if ok.as_u16() < 400 => Answer::text(ok, &b"as asked\n"[..]),
            error => azure::failure(error.as_u16()),
        },
        PathClass::Bytes => bytes(part, query, &call.head.headers)?,
        PathClass::Echo => echo(call),
        PathClass::EchoJson => echo_json(call),
        PathClass::Login => login(&mut call.random),
        PathClass::Orders | PathClass::ApiOrder => order(&mut call.random, call.head.uri.path()),
        PathClass::Items => Answer::json(StatusCode::OK, &json!({"id": part, "name": format!("item {part}")})),
        PathClass::SlowBody => {
            let over = Duration::from_secs_f64(query.number("over_ms", 1_000.0, 0.0..=MAX_MS)? / 1e3);
            let pieces = 20;
            let body = FILLER.slice(..query.bytes("bytes", 10_240)?.min(MAX_WHOLE) as usize);
            let payload = spread(body, pieces, over / pieces as u32, call.region.waiter.clone());
            Answer { payload, ..sized(StatusCode::OK, 0) }
        }
        PathClass::Redirect => redirect(part)?,
        PathClass::Reset => Answer { payload: Payload::Reset, ..sized(StatusCode::OK, 0) },
        PathClass::Truncate => sized(StatusCode::OK, query.bytes("bytes", 1_024)?.min(MAX_WHOLE)).truncated(),
        _ => Answer::text(StatusCode::NOT_FOUND, &b"no such endpoint\n"[..]),
    })
}

/// The drawn delay of the endpoints that have a distribution.
fn delay_ms(class: PathClass, query: &Query, random: &mut Random) -> Result<f64, String> {
    let ms = |name, usual| query.number(name, usual, 0.0..=MAX_MS);
    let drawn = match class {
        PathClass::Lognormal => {
            let p50 = query.number("p50_ms", 10.0, 1e-3..=MAX_MS)?;
            let p99 = query.number("p99_ms", 60.0_f64.max(p50), 1e-3..=MAX_MS)?;
            lognormal(p50, p99, random)
        }
        PathClass::Uniform => {
            let (min, max) = (ms("min_ms", 5.0)?, ms("max_ms", 15.0)?);
            min + (max - min).max(0.0) * random.unit()
        }
        PathClass::Exponential => ms("mean_ms", 10.0)? * random.exponential(),
        _ => ms("ms", 0.0)?,
    };
    Ok(drawn.min(MAX_MS))
}

/// A lognormal draw by its median and 99th percentile.
pub(crate) fn lognormal(p50: f64, p99: f64, random: &mut Random) -> f64 {
    const Z99: f64 = 2.326_347_874_040_841;
    let sigma = (p99 / p50).ln().max(0.0) / Z99;
    // Box-Muller: an exponential and an angle make a normal.
    let normal = (2.0 * random.exponential()).sqrt() * (std::f64::consts::TAU * random.unit()).cos();
    p50 * (sigma * normal).exp()
}

fn status(code: &str) -> Result<StatusCode, String> {
    let known = code.parse::<u16>().ok().filter(|code| (200..=599).contains(code));
    let known = known.and_then(|code| StatusCode::from_u16(code).ok());
    known.ok_or_else(|| format!("`{code}` is no status; write 200 to 599"))
}

fn sized(status: StatusCode, bytes: u64) -> Answer {
    let mut answer = Answer::text(status, Bytes::new());
    answer.payload = if bytes <= MAX_WHOLE {
        Payload::Whole(FILLER.slice(..bytes as usize))
    } else {
        let blocks = stream::unfold(bytes, |left| async move {
            let block = left.min(BLOCK as u64);
            (block > 0).then(|| (Ok(FILLER.slice(..block as usize).into()), left - block))
        });
        Payload::Chunks(blocks.boxed(), Some(bytes))
    };
    answer
}

fn bytes(part: &str, query: &Query, headers: &HeaderMap) -> Result<Answer, String> {
    let count = part.parse::<u64>().ok().filter(|count| *count <= MAX_BYTES);
    let count = count.ok_or_else(|| format!("`{part}` is no size; write 0 to {MAX_BYTES} bytes"))?;
    if query.text("compress").is_none_or(|value| value == "0") {
        return Ok(sized(StatusCode::OK, count));
    }
    if count > MAX_COMPRESSED_BYTES {
        return Err(format!("compress: at most {MAX_COMPRESSED_BYTES} bytes can be compressed"));
    }
    let answer = sized(StatusCode::OK, 0).with("vary", "accept-encoding");
    if !accepts_gzip(headers) {
        return Ok(Answer { payload: sized(StatusCode::OK, count).payload, ..answer });
    }
    let zipped = gzip(count).map_err(|cause| format!("can't compress: {cause}"))?;
    Ok(Answer { payload: Payload::Whole(zipped), ..answer }.with("content-encoding", "gzip"))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

fn gzip(count: u64) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut left = count as usize;
    while left > 0 {
        let block = left.min(BLOCK);
        encoder.write_all(&FILLER[..block])?;
        left -= block;
    }
    Ok(encoder.finish()?.into())
}

fn echo(call: Call<'_>) -> Answer {
    let mut answer = Answer { payload: Payload::Whole(call.body), ..sized(StatusCode::OK, 0) };
    if let Some(content_type) = call.head.headers.get(header::CONTENT_TYPE) {
        answer.headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    answer
}

fn echo_json(call: Call<'_>) -> Answer {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers = Map::new();
    for name in call.head.headers.keys() {
        let values: Vec<String> = call.head.headers.get_all(name).iter().map(text).collect();
        headers.insert(name.as_str().to_owned(), values.join(", ").into());
    }
    let query: Map<String, Value> =
        Query::of(&call.head.uri).pairs().iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let echoed = json!({
        "method": call.head.method.as_str(),
        "path": call.head.uri.path(),
        "query": query,
        "headers": headers,
        "body": String::from_utf8_lossy(&call.body),
    });
    Answer::json(StatusCode::OK, &echoed)
}

fn login(random: &mut Random) -> Answer {
    let (id, token) = (random.below(1_000_000), azure::request_id(random));
    Answer::json(StatusCode::OK, &json!({"token": token, "id": id}))
        .with("set-cookie", format!("session={token}; Path=/; HttpOnly"))
}

fn order(random: &mut Random, path: &str) -> Answer {
    let id = azure::request_id(random);
    Answer::json(StatusCode::CREATED, &json!({"orderId": id, "status": "created"}))
        .with("location", format!("{path}/{id}"))
}

fn redirect(part: &str) -> Result<Answer, String> {
    let left: u32 = part.parse().map_err(|_| format!("`{part}` is no number of redirects"))?;
    let to = if left <= 1 { "/".to_owned() } else { format!("/redirect/{}", left - 1) };
    if left == 0 {
        return Ok(sized(StatusCode::OK, 0));
    }
    Ok(sized(StatusCode::FOUND, 0).with("location", to))
}

/// Cuts a body into pieces with a pause before each.
pub(crate) fn spread(body: Bytes, pieces: usize, pause: Duration, waiter: Waiter) -> Payload {
    let length = body.len();
    let piece = length.div_ceil(pieces).max(1);
    let mut cut: Vec<Bytes> =
        (0..length).step_by(piece).map(|from| body.slice(from..(from + piece).min(length))).collect();
    if cut.is_empty() {
        cut.push(Bytes::new());
    }
    // A short body has fewer pieces, but takes as long.
    let pause = pause * pieces as u32 / cut.len() as u32;
    Payload::Chunks(paced(cut, pause, waiter), Some(length as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lognormal_has_the_percentiles_it_was_asked_for() {
        let mut random = Random::at(5, &[]);
        let mut drawn: Vec<f64> = (0..100_000).map(|_| lognormal(10.0, 60.0, &mut random)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[50_000] - 10.0).abs() < 0.3, "p50 {}", drawn[50_000]);
        assert!((drawn[99_000] - 60.0).abs() < 3.0, "p99 {}", drawn[99_000]);
    }

    #[test]
    fn gzip_is_used_only_where_it_is_accepted() {
        let accepting = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepts_gzip(&headers)
        };
        assert!(accepting("br, gzip;q=0.5") && accepting("*"));
        assert!(!accepting("gzip;q=0") && !accepting("br") && !accepts_gzip(&HeaderMap::new()));
    }
}
