//! JSON Web Key Sets: in a file, or at an identity provider.

use super::{Key, Named};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A set is fetched no more often, whatever keys tokens name: strangers must not make us knock.
const AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// And no less often while tokens come: a key that was withdrawn is taken no longer than this.
const AT_LEAST_EVERY: Duration = Duration::from_secs(600);
const FETCHED_WITHIN: Duration = Duration::from_secs(5);
const LARGEST: usize = 1 << 20;

/// The keys of a set that we can use. Others, e.g. for encryption, are passed over.
pub fn keys(bytes: &[u8]) -> Result<Vec<Named>, String> {
    let set: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
    let listed = set.get("keys").and_then(Value::as_array).ok_or("it is no key set: `keys` is missing")?;
    let keys: Vec<Named> = listed.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err(format!("none of its {} keys is for RS256 or ES256", listed.len()));
    }
    Ok(keys)
}

/// A secret in a set is not taken: a set is something public.
fn key(jwk: &Value) -> Option<Named> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => Key::rsa(number("n")?, number("e")?).ok()?,
        ("EC", Some("P-256")) => Key::p256([vec![4], number("x")?, number("y")?].concat()).ok()?,
        _ => return None,
    };
    let fits = text("alg").is_none_or(|algorithm| algorithm == key.algorithm());
    fits.then(|| Named { id: text("kid").map(str::to_owned), key })
}

/// A set somewhere else, fetched when it is needed.
#[derive(Debug)]
pub struct Remote {
    url: reqwest::Url,
    client: reqwest::Client,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    keys: Option<Arc<Vec<Named>>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
    /// Why the last try brought nothing.
    why: String,
}

impl Cache {
    fn has(&self, id: Option<&str>) -> bool {
        let knows = |keys: &Arc<Vec<Named>>| {
            id.is_none() || keys.iter().any(|named| named.id.is_none() || named.id.as_deref() == id)
        };
        self.keys.as_ref().is_some_and(knows)
    }

    /// Whether to fetch, now that a key is wanted.
    fn wants(&self, id: Option<&str>, now: Instant) -> bool {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let is_stale = since(self.fetched).is_none_or(|age| age >= AT_LEAST_EVERY);
        let may = since(self.tried).is_none_or(|age| age >= AT_MOST_EVERY);
        may && (is_stale || !self.has(id))
    }
}

impl Remote {
    pub fn new(url: &str) -> Result<Self, String> {
        let parsed = reqwest::Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        let here = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && here) {
            return Err(format!("`{url}`: keys are fetched over https:// only, or from this machine"));
        }
        let client = squall_agent::web::client(FETCHED_WITHIN, None)?;
        Ok(Self { url: parsed, client, cache: Mutex::default() })
    }

    /// Keys among which the one called `id` is, if there is one. What was fetched before serves while
    /// the provider does not answer.
    pub async fn keys_for(&self, id: Option<&str>) -> Result<Arc<Vec<Named>>, String> {
        let mut cache = self.cache.lock().await;
        if cache.wants(id, Instant::now()) {
            cache.tried = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    tracing::info!(url = %self.url, keys = keys.len(), "fetched keys");
                    (cache.keys, cache.fetched) = (Some(Arc::new(keys)), Some(Instant::now()));
                }
                Err(why) => {
                    tracing::warn!(url = %self.url, why, "keys cannot be fetched");
                    cache.why = why;
                }
            }
        }
        cache.keys.clone().ok_or_else(|| format!("the keys to check it with cannot be fetched: {}", cache.why))
    }

    async fn fetch(&self) -> Result<Vec<Named>, String> {
        let failed = |error: reqwest::Error| squall_agent::dial::why(&error);
        let mut answer = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(format!("it answered {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > LARGEST {
                return Err(format!("it is larger than {LARGEST} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        keys(&body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encoded(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn keys_for_signatures_are_taken_and_others_passed_over() {
        let (n, half) = (encoded(&[0xab; 256]), encoded(&[7; 32]));
        let set = json!({"keys": [
            {"kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256", "n": n, "e": "AQAB"},
            {"kty": "EC", "kid": "b", "crv": "P-256", "x": half, "y": half},
            {"kty": "RSA", "kid": "c", "use": "enc", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "d", "alg": "PS256", "n": n, "e": "AQAB"},
            {"kty": "RSA", "kid": "e", "n": encoded(&[1; 64]), "e": "AQAB"},
            {"kty": "oct", "kid": "f", "k": half},
            {"kty": "EC", "kid": "g", "crv": "P-384", "x": half, "y": half},
        ]});
        let found = keys(set.to_string().as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|key| (key.id.as_deref().unwrap(), key.key.algorithm())).collect();
        assert_eq!(found, [("a", "RS256"), ("b", "ES256")]);
        assert!(keys(br#"{"keys": []}"#).is_err() && keys(b"{}").is_err() && keys(b"<html>").is_err());
    }

    #[test]
    fn an_unknown_key_is_looked_for_but_not_too_often() {
        let now = Instant::now();
        let named = Named { id: Some("a".to_owned()), key: Key::p256([vec![4], vec![7; 64]].concat()).unwrap() };
        let at = |tried, fetched| Cache {
            keys: Some(Arc::new(vec![named.clone()])),
            fetched: Some(fetched),
            tried: Some(tried),
            why: String::new(),
        };
        assert!(Cache::default().wants(None, now));
        assert!(!at(now, now).wants(Some("b"), now));
        assert!(at(now, now).wants(Some("b"), now + AT_MOST_EVERY));
        assert!(!at(now, now).wants(Some("a"), now + AT_MOST_EVERY));
        assert!(at(now, now).wants(Some("a"), now + AT_LEAST_EVERY));
        assert!(!at(now + AT_LEAST_EVERY, now).wants(Some("a"), now + AT_LEAST_EVERY), "it was tried just now");
    }

    #[test]
    fn keys_do_not_travel_in_the_clear() {
        assert!(Remote::new("http://id.example/keys").unwrap_err().contains("https://"));
        assert!(Remote::new("ftp://id.example/keys").is_err());
        assert!(Remote::new("http://127.0.0.1:1/keys").is_ok());
        assert!(Remote::new("https://id.example/keys").is_ok());
    }
}
