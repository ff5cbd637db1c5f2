//! `POST /{tenant}/oauth2/v2.0/token`: the client credentials flow, with
//! errors in Entra's shape and codes.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use squall_common::random::Random;

use super::jwt::{Parts, PublicKey};
use super::{ClientConfig, Identity, now_s};
use crate::azure::request_id;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The audience of federated assertions; those of certificates name the token URL.
const EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";
const TOKEN_PATH: &str = "/oauth2/v2.0/token";
const KEYS_PATH: &str = "/discovery/v2.0/keys";

struct Refusal {
    status: StatusCode,
    error: &'static str,
    code: u32,
    message: String,
}

fn refusal(status: StatusCode, error: &'static str, code: u32, message: impl Into<String>) -> Refusal {
    Refusal { status, error, code, message: message.into() }
}

/// What an assertion is refused with.
fn bad_assertion(code: u32, message: &str) -> Refusal {
    refusal(StatusCode::UNAUTHORIZED, "invalid_client", code, message)
}

struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn needed(&self, name: &str) -> Result<&str, Refusal> {
        let message = format!("The request body must contain the following parameter: '{name}'.");
        self.get(name).ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "invalid_request", 900_144, message))
    }
}

/// Whether a path is one of the tenant's.
pub(crate) fn is_ours(path: &str) -> bool {
    path.ends_with(TOKEN_PATH) || path.ends_with(KEYS_PATH)
}

impl Identity {
    /// Answers on the tenant's paths.
    pub(crate) async fn answer(&self, path: &str, body: &[u8]) -> (StatusCode, Value) {
        if let Some(tenant) = path.strip_suffix(KEYS_PATH) {
            return match self.tenant(tenant) {
                Ok(()) => (StatusCode::OK, self.key_set()),
                Err(refused) => self.refused(refused),
            };
        }
        let behaviour = {
            let mut state = self.state();
            state.truth.asked += 1;
            state.truth.unavailable += u64::from(state.behaviour.is_unavailable);
            state.behaviour
        };
        tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        if behaviour.is_unavailable {
            return (StatusCode::SERVICE_UNAVAILABLE, json!({"error": "temporarily_unavailable"}));
        }
        let form = Form(form_urlencoded::parse(body).into_owned().collect());
        let granted =
            self.tenant(path.strip_suffix(TOKEN_PATH).unwrap_or_default()).and_then(|()| self.grant(&form, path));
        match granted {
            Ok(answer) => (StatusCode::OK, answer),
            Err(refused) => self.refused(refused),
        }
    }

    fn tenant(&self, path: &str) -> Result<(), Refusal> {
        let tenant = path.trim_start_matches('/');
        if tenant == self.config.tenant {
            return Ok(());
        }
        let message = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        Err(refusal(StatusCode::BAD_REQUEST, "invalid_request", 90_002, message))
    }

    fn grant(&self, form: &Form, path: &str) -> Result<Value, Refusal> {
        let grant_type = form.needed("grant_type")?;
        if grant_type != "client_credentials" {
            let message = format!("The app requested an unsupported grant type '{grant_type}'.");
            return Err(refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", 70_003, message));
        }
        let id = form.needed("client_id")?;
        let Some(client) = self.config.clients.iter().find(|client| client.id == id) else {
            let message =
                format!("Application with identifier '{id}' was not found in the directory '{}'.", self.config.tenant);
            return Err(refusal(StatusCode::BAD_REQUEST, "unauthorized_client", 700_016, message));
        };
        let scope = form.needed("scope")?;
        let Some(audience) = scope.strip_suffix("/.default").filter(|audience| !audience.contains(' ')) else {
            let message = format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a scope value \
                 with /.default suffixed to the resource identifier (application ID URI)."
            );
            return Err(refusal(StatusCode::BAD_REQUEST, "invalid_scope", 1_002_012, message));
        };
        authenticate(client, form, path)?;
        let (token, lifetime_s) = self.issue(id, audience).ok_or_else(|| {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 90_033, "A transient error has occurred.")
        })?;
        Ok(json!({
            "token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s, "access_token": token,
        }))
    }

    fn refused(&self, refused: Refusal) -> (StatusCode, Value) {
        let Refusal { status, error, code, message } = refused;
        let number = {
            let mut state = self.state();
            *state.truth.refused.entry(format!("AADSTS{code}")).or_default() += 1;
            state.truth.refused.values().sum()
        };
        let mut random = Random::at(u64::from(code), &[number]);
        let (trace_id, correlation_id) = (request_id(&mut random), request_id(&mut random));
        let body = json!({
            "error": error, "error_description": format!("AADSTS{code}: {message} Trace ID: {trace_id} Correlation ID: {correlation_id}"),
            "error_codes": [code], "timestamp": timestamp(now_s()), "trace_id": trace_id,
            "correlation_id": correlation_id, "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        (status, body)
    }
}

/// `2026-01-31 12:00:00Z`; the calendar is Howard Hinnant's `civil_from_days`.
fn timestamp(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

fn authenticate(client: &ClientConfig, form: &Form, path: &str) -> Result<(), Refusal> {
    if let Some(assertion) = form.get("client_assertion") {
        if form.get("client_assertion_type") != Some(ASSERTION_TYPE) {
            let message = format!("The 'client_assertion_type' must be '{ASSERTION_TYPE}'.");
            return Err(refusal(StatusCode::BAD_REQUEST, "invalid_request", 900_144, message));
        }
        return check_assertion(client, assertion, path);
    }
    let Some(secret) = form.get("client_secret") else {
        let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(refusal(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_218, message));
    };
    if client.secret.as_deref() == Some(secret) {
        return Ok(());
    }
    let message = format!(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not \
         the client secret ID, for a secret added to app '{}'.",
        client.id
    );
    Err(refusal(StatusCode::UNAUTHORIZED, "invalid_client", 7_000_215, message))
}

fn check_assertion(client: &ClientConfig, assertion: &str, path: &str) -> Result<(), Refusal> {
    let Some(parts) = Parts::of(assertion) else {
        return Err(bad_assertion(50_027, "JWT token is invalid or malformed."));
    };
    let is_signed = client.assertion_keys.iter().filter_map(PublicKey::of_jwk).any(|key| parts.is_signed_by(&key));
    if !is_signed {
        return Err(bad_assertion(700_027, "Client assertion failed signature validation."));
    }
    let now_s = now_s();
    let is_current = parts.seconds("exp").is_some_and(|exp_s| exp_s > now_s)
        && parts.seconds("nbf").is_none_or(|nbf_s| nbf_s <= now_s);
    if !is_current {
        return Err(bad_assertion(700_024, "Client assertion is not within its valid time range."));
    }
    let audience = parts.text("aud");
    if audience != EXCHANGE_AUDIENCE && !audience.ends_with(path) {
        let message =
            format!("No matching federated identity record found for presented assertion audience '{audience}'.");
        return Err(bad_assertion(700_212, &message));
    }
    let subject = client.assertion_subject.as_deref().unwrap_or(&client.id);
    if parts.text("sub") != subject {
        let message = format!(
            "No matching federated identity record found for presented assertion subject '{}'.",
            parts.text("sub")
        );
        return Err(bad_assertion(700_213, &message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_entra_writes_them() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00Z");
        assert_eq!(timestamp(1_709_210_096), "2024-02-29 12:34:56Z");
    }
}
