//! One token: its pieces, its signature, its claims.

use super::{Key, Named};
use crate::identity::Role;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

/// Longer ones are not looked at.
const LONGEST: usize = 8 << 10;
/// Clocks of others may differ by so much.
const LEEWAY_S: i64 = 30;

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub subject: String,
    pub role: Role,
}

/// What every token must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `None`: any.
    pub issuer: Option<String>,
    pub audience: String,
}

/// A token that nobody has checked.
pub struct Unverified<'a> {
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
    algorithm: String,
    key_id: Option<String>,
}

fn json_in(piece: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(piece).ok()?).ok()
}

impl<'a> Unverified<'a> {
    pub fn read(token: &'a str) -> Result<Self, String> {
        let broken = || "it is no JWT".to_owned();
        if token.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(broken)?;
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.')).ok_or_else(broken)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| broken())?;
        let header = json_in(header).ok_or_else(broken)?;
        if header.get("crit").is_some() {
            return Err("it wants extensions (`crit`) that are not known here".to_owned());
        }
        let text = |key: &str| header.get(key).and_then(Value::as_str).map(str::to_owned);
        let algorithm = text("alg").ok_or_else(broken)?;
        Ok(Self { signed, claims, signature, algorithm, key_id: text("kid") })
    }

    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Its claims, once its signature and they are what they must be.
    pub fn verify(&self, keys: &[Named], expected: &Expected, now_unix_s: i64) -> Result<Claims, String> {
        let named = |key: &&Named| self.key_id.is_none() || key.id.is_none() || key.id == self.key_id;
        let candidates: Vec<&Key> = keys.iter().filter(named).map(|named| &named.key).collect();
        if candidates.is_empty() {
            return Err(format!(
                "no key here is called `{}`",
                self.key_id.as_deref().unwrap_or_default().escape_debug()
            ));
        }
        let mut fitting = candidates.iter().filter(|key| key.algorithm() == self.algorithm).peekable();
        if fitting.peek().is_none() {
            let taken = candidates[0].algorithm();
            return Err(format!("it is signed with `{}`, the key here is for {taken}", self.algorithm.escape_debug()));
        }
        if !fitting.any(|key| key.has_signed(self.signed.as_bytes(), &self.signature)) {
            return Err("its signature is not by a key of this controller".to_owned());
        }
        claims(&json_in(self.claims).ok_or("its claims are no JSON")?, expected, now_unix_s)
    }
}

/// Checks the claims of a token whose signature is good.
fn claims(claims: &Value, expected: &Expected, now_unix_s: i64) -> Result<Claims, String> {
    let seconds = |key: &str| claims.get(key).and_then(Value::as_f64).map(|seconds| seconds as i64);
    let expires = seconds("exp").ok_or("it never expires (`exp` is missing)")?;
    if expires.saturating_add(LEEWAY_S) < now_unix_s {
        return Err("it has expired".to_owned());
    }
    if claims.get("nbf").is_some() && seconds("nbf").is_none_or(|from| from.saturating_sub(LEEWAY_S) > now_unix_s) {
        return Err("it is not valid yet (`nbf`)".to_owned());
    }
    if !texts(claims.get("aud")).any(|audience| audience == expected.audience) {
        return Err(format!("it is not for `{}` (`aud`)", expected.audience));
    }
    if let Some(issuer) = &expected.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(format!("it is not issued by `{issuer}` (`iss`)"));
    }
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or("it does not say whose it is (`sub` is missing)")?.to_owned();
    let named = claims.get("squall_role").or_else(|| claims.get("roles"));
    let role = texts(named).filter_map(Role::from_name).max();
    let role = role.ok_or("it has no role: `squall_role` (or one of `roles`) is viewer, operator or admin")?;
    Ok(Claims { subject, role })
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    value.and_then(Value::as_str).into_iter().chain(list.iter().filter_map(Value::as_str))
}

/// Makes a token with a secret (HS256).
pub fn sign(secret: &hmac::Key, claims: &Value) -> String {
    let piece = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", piece(&json!({"alg": "HS256", "typ": "JWT"})), piece(claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
