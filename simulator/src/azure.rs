//! Azure's error shapes and headers.

use http::StatusCode;
use serde_json::json;
use squall_common::random::Random;

use crate::body::Answer;

/// `{"error": {"code", "message"}}`.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({"error": {"code": code, "message": message}}))
}

/// OpenAI's four-field shape, which Azure uses for what the model server itself refuses.
pub(crate) fn invalid(message: &str, param: Option<&str>) -> Answer {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": null}});
    Answer::json(StatusCode::BAD_REQUEST, &body)
}

/// 429 with `retry-after` (whole seconds) and `retry-after-ms`.
pub(crate) fn throttled(message: &str, retry_after_us: u64) -> Answer {
    let seconds = retry_after_us.div_ceil(1_000_000).max(1);
    error(StatusCode::TOO_MANY_REQUESTS, "429", &format!("{message} Please retry after {seconds} seconds."))
        .with("retry-after", seconds.to_string())
        .with("retry-after-ms", retry_after_us.div_ceil(1_000).to_string())
}

/// What a fault answers in the service's place.
pub(crate) fn failure(status: u16) -> Answer {
    match status {
        429 => throttled("The service is under high demand.", 1_000_000),
        408 => error(StatusCode::REQUEST_TIMEOUT, "Timeout", "The operation was timeout."),
        401 => unauthorized(),
        _ => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let code = match status.as_u16() {
                500 => "InternalServerError".to_owned(),
                503 => "ServiceUnavailable".to_owned(),
                other => other.to_string(),
            };
            error(status, &code, "The server had an error while processing your request.")
        }
    }
}

pub(crate) fn unauthorized() -> Answer {
    let message = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid \
                   key for an active subscription and use a correct regional API endpoint for your resource.";
    error(StatusCode::UNAUTHORIZED, "401", message)
}

/// The content filter refuses the prompt.
pub(crate) fn filtered_prompt(severities: &serde_json::Value) -> Answer {
    let message = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. \
                   Please modify your prompt and retry.";
    let innererror = json!({"code": "ResponsibleAIPolicyViolation", "content_filter_result": severities});
    let error = json!({
        "message": message, "type": null, "param": "prompt", "code": "content_filter", "status": 400,
        "innererror": innererror,
    });
    Answer::json(StatusCode::BAD_REQUEST, &json!({"error": error}))
}

/// The deployment wants a token, and got none that counts.
pub(crate) fn bad_token(audience: &str) -> Answer {
    let message = format!("Access token is missing, invalid, audience is incorrect ({audience}), or have expired.");
    error(StatusCode::UNAUTHORIZED, "Unauthorized", &message).with("www-authenticate", "Bearer error=\"invalid_token\"")
}

pub(crate) fn no_deployment() -> Answer {
    let message = "The API deployment for this resource does not exist. If you created the deployment within the last \
                   5 minutes, please wait a moment and try again.";
    error(StatusCode::NOT_FOUND, "DeploymentNotFound", message)
}

pub(crate) fn timed_out() -> Answer {
    failure(408)
}

/// A random id in the shape of a version 4 UUID.
pub(crate) fn request_id(random: &mut Random) -> String {
    let (high, low) = (random.next_u64(), random.next_u64());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}
