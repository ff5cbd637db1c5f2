//! A tenant that issues tokens, as Microsoft Entra ID does: client credentials
//! with a secret or an assertion, a key set, revocation, and the truth of it.

mod config;
pub(crate) mod jwt;
mod token_endpoint;
mod truth;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};

pub use config::{ClientConfig, IdentityConfig};
use jwt::{Parts, SigningKey};
pub(crate) use token_endpoint::is_ours;
pub use truth::{BearerTruth, IdentityTruth};

/// The tenant.
pub(crate) struct Identity {
    config: IdentityConfig,
    key: SigningKey,
    issued: AtomicU64,
    /// Tokens up to this number are revoked.
    revoked: AtomicU64,
    state: Mutex<State>,
}

struct State {
    behaviour: Behaviour,
    truth: IdentityTruth,
}

/// What may be changed while it runs; `POST /admin/identity` takes it.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    lifetime_s: u64,
    delay_ms: u64,
    is_unavailable: bool,
}

/// A change of it; what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    lifetime_s: Option<u64>,
    delay_ms: Option<u64>,
    unavailable: Option<bool>,
}

/// What a presented token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearer {
    Valid,
    Missing,
    /// No token of ours.
    Invalid,
    WrongAudience,
    Expired,
    Revoked,
}

impl Identity {
    pub(crate) fn new(config: IdentityConfig) -> Self {
        let behaviour = Behaviour { lifetime_s: config.lifetime_s, delay_ms: config.delay_ms, is_unavailable: false };
        let state = Mutex::new(State { behaviour, truth: IdentityTruth::default() });
        Self { config, key: SigningKey::generate(), issued: AtomicU64::new(0), revoked: AtomicU64::new(0), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys its tokens are signed with.
    pub(crate) fn key_set(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }

    fn issue(&self, client: &str, audience: &str) -> Option<(String, u64)> {
        let lifetime_s = self.state().behaviour.lifetime_s;
        let now_s = now_s();
        let claims = json!({
            "aud": audience, "iss": format!("https://login.microsoftonline.com/{}/v2.0", self.config.tenant),
            "iat": now_s, "nbf": now_s, "exp": now_s + lifetime_s, "azp": client, "sub": client,
            "tid": self.config.tenant, "idtyp": "app", "ver": "2.0",
            "uti": self.issued.fetch_add(1, Ordering::AcqRel) + 1,
        });
        let token = self.key.sign(&claims)?;
        self.state().truth.issued += 1;
        Some((token, lifetime_s))
    }

    /// Judges a token that should be for `audience`.
    pub(crate) fn judge(&self, token: Option<&str>, audience: &str) -> Bearer {
        let Some(token) = token else { return Bearer::Missing };
        let Some(parts) = Parts::of(token).filter(|parts| parts.is_signed_by(&self.key.public())) else {
            return Bearer::Invalid;
        };
        if parts.text("aud").trim_end_matches('/') != audience.trim_end_matches('/') {
            Bearer::WrongAudience
        } else if parts.seconds("exp").is_none_or(|exp_s| exp_s <= now_s()) {
            Bearer::Expired
        } else if parts.seconds("uti").is_none_or(|number| number <= self.revoked.load(Ordering::Acquire)) {
            Bearer::Revoked
        } else {
            Bearer::Valid
        }
    }

    /// Every token issued so far is worth nothing from now on.
    pub(crate) fn revoke(&self) -> Value {
        let through = self.issued.load(Ordering::Acquire);
        self.revoked.fetch_max(through, Ordering::AcqRel);
        json!({"revoked": through})
    }

    /// Changes how it behaves, or says what is wrong.
    pub(crate) fn change(&self, body: &[u8]) -> Result<Value, String> {
        let change: Change = serde_json::from_slice(body).map_err(|cause| cause.to_string())?;
        if change.lifetime_s.is_some_and(|lifetime_s| !config::LIFETIMES_S.contains(&lifetime_s)) {
            return Err("lifetime_s: write 1 to 86400 seconds".to_owned());
        }
        if change.delay_ms.is_some_and(|delay_ms| delay_ms > config::MAX_DELAY_MS) {
            return Err("delay_ms: write milliseconds up to 600000".to_owned());
        }
        let behaviour = &mut self.state().behaviour;
        behaviour.lifetime_s = change.lifetime_s.unwrap_or(behaviour.lifetime_s);
        behaviour.delay_ms = change.delay_ms.unwrap_or(behaviour.delay_ms);
        behaviour.is_unavailable = change.unavailable.unwrap_or(behaviour.is_unavailable);
        Ok(json!({
            "lifetime_s": behaviour.lifetime_s, "delay_ms": behaviour.delay_ms,
            "unavailable": behaviour.is_unavailable,
        }))
    }

    pub(crate) fn truth(&self) -> IdentityTruth {
        self.state().truth.clone()
    }

    /// Starts the truth again; tokens stay what they are.
    pub(crate) fn reset(&self) {
        self.state().truth = IdentityTruth::default();
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
