//! Access tokens of the client credentials flow (RFC 6749, 4.4), as Microsoft Entra
//! ID serves it: fetched before load begins, again ahead of their expiry, and once
//! when a target refuses one. One request is under way at a time for each, and its
//! time is never part of a request's.

use crate::clock::now_ns;
use crate::secrets::{Secrets, breaks_a_header};
use crate::web;
use bytes::Bytes;
use serde_json::Value;
use squall_common::allow::AllowList;
use squall_common::plan::{Proof, SecretSource, TokenGrant};
use squall_common::random::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const FETCHED_WITHIN: Duration = Duration::from_secs(10);
/// Of a token's life that may pass before the next is fetched; the rest is for trying again.
const RENEW_AFTER: std::ops::Range<f64> = 0.70..0.85;
/// Where an answer does not say how long its token lives.
const USUAL_LIFE: Duration = Duration::from_secs(3_600);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Targets that refuse every token do not make us ask for more than this.
const BETWEEN_REFUSALS: Duration = Duration::from_secs(1);
/// A token with all its claims takes a few KiB.
const LARGEST_ANSWER: usize = 256 << 10;

/// A token could not be had.
#[derive(Debug, thiserror::Error)]
#[error("no token for client `{client}` from {url}: {why}")]
pub struct NoToken {
    client: String,
    url: String,
    why: String,
}

/// The tokens of a run.
pub struct Tokens {
    secrets: Arc<Secrets>,
    allow: Arc<AllowList>,
    granted: Vec<Granted>,
    counted: Counted,
}

/// One grant and the token it gave.
struct Granted {
    secret: usize,
    grant: TokenGrant,
    /// The generation of the secrets from which on this token is used.
    since: AtomicU64,
    /// How long the token in use lives, from when it came.
    life_ms: AtomicU64,
    is_refused: AtomicBool,
    wake: Notify,
}

#[derive(Default)]
struct Counted {
    fetched: AtomicU64,
    failed: AtomicU64,
    took_us: AtomicU64,
}

/// What fetching tokens came to since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    pub fetched: u64,
    pub failed: u64,
    pub took_us: u64,
}

impl Tokens {
    /// Fetches every token that the secrets speak of.
    pub async fn fetch(secrets: &Arc<Secrets>, allow: &Arc<AllowList>) -> Result<Arc<Self>, NoToken> {
        let granted = secrets.sources().iter().enumerate().filter_map(|(secret, source)| {
            let SecretSource::Token(grant) = source else { return None };
            Some(Granted {
                secret,
                grant: (**grant).clone(),
                since: AtomicU64::new(0),
                life_ms: AtomicU64::new(0),
                is_refused: AtomicBool::new(false),
                wake: Notify::new(),
            })
        });
        let granted = granted.collect();
        let tokens = Self { secrets: secrets.clone(), allow: allow.clone(), granted, counted: Counted::default() };
        let tokens = Arc::new(tokens);
        for granted in &tokens.granted {
            tokens.renew(granted).await?;
        }
        Ok(tokens)
    }

    /// A target refused a request that was made ready under this generation of the secrets.
    pub fn refused(&self, secret: usize, generation: u64) {
        let Some(granted) = self.granted.iter().find(|granted| granted.secret == secret) else { return };
        // Of an older token the successor is there already.
        if generation >= granted.since.load(Ordering::Acquire) && !granted.is_refused.swap(true, Ordering::AcqRel) {
            granted.wake.notify_one();
        }
    }

    pub fn take_counts(&self) -> TokenCounts {
        let Counted { fetched, failed, took_us } = &self.counted;
        let take = |count: &AtomicU64| count.swap(0, Ordering::AcqRel);
        TokenCounts { fetched: take(fetched), failed: take(failed), took_us: take(took_us) }
    }

    /// Keeps all tokens fresh for as long as it is polled. Belongs on the control thread.
    pub async fn run(self: Arc<Self>) {
        let all = self.granted.iter().map(|granted| self.keep_fresh(granted));
        futures_util::future::join_all(all).await;
    }

    async fn keep_fresh(&self, granted: &Granted) {
        let mut wait = part_of(granted.life());
        let mut pause = FIRST_PAUSE;
        loop {
            let is_forced = tokio::select! {
                () = tokio::time::sleep(wait) => false,
                () = granted.wake.notified() => true,
            };
            match self.renew(granted).await {
                Ok(life) => {
                    tracing::info!(client = granted.grant.client_id, forced = is_forced, "has a new token");
                    (wait, pause) = (part_of(life), FIRST_PAUSE);
                }
                Err(error) => {
                    tracing::warn!("the token in use stays: {error}");
                    wait = pause.mul_f64(draw(0.5..1.0));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            if is_forced {
                tokio::time::sleep(BETWEEN_REFUSALS).await;
            }
            granted.is_refused.store(false, Ordering::Release);
        }
    }

    /// Fetches one token and puts it to use; how long it lives.
    async fn renew(&self, granted: &Granted) -> Result<Duration, NoToken> {
        let began = Instant::now();
        let fetched = self.ask(&granted.grant).await;
        self.counted.took_us.fetch_add(began.elapsed().as_micros() as u64, Ordering::AcqRel);
        match fetched {
            Ok((token, life)) => {
                self.counted.fetched.fetch_add(1, Ordering::AcqRel);
                let since = self.secrets.renew(granted.secret, token, "an access token");
                granted.since.store(since, Ordering::Release);
                granted.life_ms.store(life.as_millis() as u64, Ordering::Release);
                Ok(life)
            }
            Err(why) => {
                self.counted.failed.fetch_add(1, Ordering::AcqRel);
                let TokenGrant { url, client_id, .. } = &granted.grant;
                let why = self.secrets.redact(&why).into_owned();
                Err(NoToken { client: client_id.clone(), url: url.clone(), why })
            }
        }
    }

    async fn ask(&self, grant: &TokenGrant) -> Result<(Bytes, Duration), String> {
        let addresses = web::resolve_allowed(&grant.host, grant.port, &self.allow).await?;
        let client = web::client(FETCHED_WITHIN, Some((&grant.host, &addresses)))?;
        let values = self.secrets.values();
        let text = |id: squall_common::plan::SecretId| String::from_utf8_lossy(&values[usize::from(id.0)]).into_owned();
        let mut form = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", grant.client_id.clone()),
            ("scope", grant.scope.clone()),
        ];
        match grant.proof {
            Proof::Secret(id) => form.push(("client_secret", text(id))),
            Proof::Assertion(id) => {
                // RFC 7523, 2.2.
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.extend([("client_assertion_type", kind.to_owned()), ("client_assertion", text(id))]);
            }
        }
        let failed = |error: reqwest::Error| crate::dial::why(&error.without_url());
        let mut answer = client.post(&grant.url).form(&form).send().await.map_err(failed)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > LARGEST_ANSWER {
                return Err(format!("its answer is larger than {LARGEST_ANSWER} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        read_answer(status.as_u16(), &body)
    }
}

impl Granted {
    fn life(&self) -> Duration {
        Duration::from_millis(self.life_ms.load(Ordering::Acquire))
    }
}

/// A token and how long it lives, or why there is none.
fn read_answer(status: u16, body: &[u8]) -> Result<(Bytes, Duration), String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let word = |key: &str| answer.get(key).and_then(Value::as_str);
    if !(200..300).contains(&status) {
        let error = word("error").unwrap_or("no reason");
        // Entra's description goes on with trace ids over several lines.
        let more = word("error_description").and_then(|text| text.lines().next()).unwrap_or_default();
        return Err(format!("it answered {status}, {error}: {more}").trim_end_matches([':', ' ']).to_owned());
    }
    let token = word("access_token").filter(|token| !token.is_empty()).ok_or("its answer holds no access_token")?;
    if breaks_a_header(token.as_bytes()) {
        return Err("its token holds a control character".to_owned());
    }
    let life_s = match answer.get("expires_in") {
        Some(Value::Number(seconds)) => seconds.as_u64(),
        Some(Value::String(seconds)) => seconds.parse().ok(),
        _ => None,
    };
    let life = life_s.map_or(USUAL_LIFE, |life_s| Duration::from_secs(life_s.max(1)));
    Ok((Bytes::copy_from_slice(token.as_bytes()), life))
}

/// When to fetch the next: agents that began together do not ask together.
fn part_of(life: Duration) -> Duration {
    life.mul_f64(draw(RENEW_AFTER))
}

fn draw(from: std::ops::Range<f64>) -> f64 {
    from.start + (from.end - from.start) * Random::at(now_ns(), &[std::process::id().into()]).unit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_token_and_its_life_or_a_reason() {
        let read = |status, body: &str| read_answer(status, body.as_bytes());
        assert_eq!(read(200, r#"{"access_token":"t","expires_in":90}"#), Ok(("t".into(), Duration::from_secs(90))));
        assert_eq!(
            read(200, r#"{"access_token":"t","expires_in":"90"}"#).map(|(_, life)| life),
            Ok(Duration::from_secs(90))
        );
        assert_eq!(read(200, r#"{"access_token":"t"}"#).map(|(_, life)| life), Ok(USUAL_LIFE));
        assert!(read(200, "{}").is_err_and(|why| why.contains("no access_token")));
        assert!(read(200, r#"{"access_token":"a\nb"}"#).is_err_and(|why| why.contains("control character")));
        let refused =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: 1"}"#;
        assert_eq!(
            read(401, refused),
            Err("it answered 401, invalid_client: AADSTS7000215: Invalid client secret.".to_owned())
        );
        assert_eq!(read(502, "<html>"), Err("it answered 502, no reason".to_owned()));
    }

    #[test]
    fn the_next_token_is_fetched_while_the_old_one_lives() {
        for _ in 0..100 {
            let wait = part_of(Duration::from_secs(100));
            assert!((Duration::from_secs(70)..=Duration::from_secs(85)).contains(&wait), "{wait:?}");
        }
    }
}
