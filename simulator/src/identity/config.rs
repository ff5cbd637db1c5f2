//! Who may ask the tenant for tokens.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::jwt::PublicKey;

pub(super) const LIFETIMES_S: RangeInclusive<u64> = 1..=86_400;
pub(super) const MAX_DELAY_MS: u64 = 600_000;

/// A tenant that issues tokens, on the admin address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Its name in URLs.
    #[serde(default = "usual_tenant")]
    pub tenant: String,
    /// How long its tokens are valid.
    #[serde(default = "usual_lifetime")]
    pub lifetime_s: u64,
    /// How long it takes to answer for a token.
    #[serde(default)]
    pub delay_ms: u64,
    /// Who may ask.
    pub clients: Vec<ClientConfig>,
}

/// An application that may ask for tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its client id.
    pub id: String,
    /// Its secret, if it may use one.
    #[serde(default)]
    pub secret: Option<String>,
    /// Public keys (JWK, P-256 or RSA) its assertions may be signed with.
    #[serde(default)]
    pub assertion_keys: Vec<Value>,
    /// The `sub` of its assertions; its id when absent, as of certificates.
    #[serde(default)]
    pub assertion_subject: Option<String>,
}

fn usual_tenant() -> String {
    "squall".to_owned()
}
fn usual_lifetime() -> u64 {
    3_599
}

impl IdentityConfig {
    /// Fields that can't be, and what to write instead.
    pub(crate) fn problems(&self) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        let mut unless = |holds: bool, field: String, advice| {
            if !holds {
                problems.push((field, advice));
            }
        };
        let is_plain = |name: &str| !name.is_empty() && !name.contains(['/', '?', '#', ' ']);
        unless(is_plain(&self.tenant), "identity.tenant".to_owned(), "write a name that fits into a URL");
        unless(LIFETIMES_S.contains(&self.lifetime_s), "identity.lifetime_s".to_owned(), "write 1 to 86400 seconds");
        unless(self.delay_ms <= MAX_DELAY_MS, "identity.delay_ms".to_owned(), "write milliseconds up to 600000");
        for (index, client) in self.clients.iter().enumerate() {
            let at = format!("identity.clients[{index}]");
            unless(!client.id.is_empty(), format!("{at}.id"), "must not be empty");
            let has_means = client.secret.is_some() || !client.assertion_keys.is_empty();
            unless(has_means, at.clone(), "needs a secret or assertion_keys");
            let are_keys = client.assertion_keys.iter().all(|key| PublicKey::of_jwk(key).is_some());
            unless(are_keys, format!("{at}.assertion_keys"), "write public keys of P-256 or RSA as JWK");
        }
        problems
    }
}
