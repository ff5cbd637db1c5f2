//! Does a response say what the plan expects?

use super::compiled::CompiledStep;
use crate::http::Response;
use squall_common::plan::{Check, StatusMatch, TextMatch};
use squall_common::sample::Outcome;

/// Judges a whole response by its status, then by the other checks.
pub fn judge(step: &CompiledStep, response: &Response) -> Result<(), Outcome> {
    judge_status(&step.accepts, response.status())?;
    if step.checks.iter().all(|check| holds(check, response)) { Ok(()) } else { Err(Outcome::CheckFailed) }
}

fn judge_status(accepts: &[StatusMatch], status: u16) -> Result<(), Outcome> {
    let usual = Outcome::of_status(status);
    if accepts.is_empty() {
        return if usual == Outcome::Ok { Ok(()) } else { Err(usual) };
    }
    let accepted = accepts.iter().any(|accepted| match accepted {
        StatusMatch::Exactly(wanted) => *wanted == status,
        StatusMatch::Class(class) => *class == status / 100,
    });
    match (accepted, usual) {
        (true, _) => Ok(()),
        (false, Outcome::Ok) => Err(Outcome::CheckFailed),
        (false, unusual) => Err(unusual),
    }
}

fn holds(check: &Check, response: &Response) -> bool {
    match check {
        Check::Status(_) => true,
        Check::Header { name, matches } => match (response.header(name), matches) {
            (None, _) => false,
            (Some(_), TextMatch::Present) => true,
            (Some(value), TextMatch::Equals(wanted)) => value == wanted.as_bytes(),
            (Some(value), TextMatch::Contains(wanted)) => contains(value, wanted.as_bytes()),
        },
        Check::BodyContains(wanted) => contains(response.body(), wanted.as_bytes()),
        Check::JsonEquals { pointer, value } => serde_json::from_slice::<serde_json::Value>(response.body())
            .is_ok_and(|body| body.pointer(pointer).is_some_and(|found| same_json(found, value))),
    }
}

/// Equal as JSON values; numbers by value, so that `1` in YAML meets `1.0`.
fn same_json(found: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    found == wanted || found.as_f64().zip(wanted.as_f64()).is_some_and(|(found, wanted)| found == wanted)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}

/// What stands at an RFC 6901 pointer in a JSON body: strings as their text, the rest as JSON.
pub fn json_text_at(body: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    match body.pointer(pointer)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_the_plan_accepts_is_ok_and_one_it_does_not_is_named() {
        assert_eq!(judge_status(&[], 404), Err(Outcome::HttpClientError));
        assert_eq!(judge_status(&[], 302), Ok(()));
        assert_eq!(judge_status(&[StatusMatch::Exactly(404)], 404), Ok(()));
        assert_eq!(judge_status(&[StatusMatch::Exactly(404)], 200), Err(Outcome::CheckFailed));
        assert_eq!(judge_status(&[StatusMatch::Class(2)], 503), Err(Outcome::HttpServerError));
        assert_eq!(judge_status(&[StatusMatch::Class(2)], 429), Err(Outcome::Throttled));
    }

    #[test]
    fn a_pointer_gives_text_without_quotes_and_nothing_for_null() {
        let body = br#"{"a": {"b": ["x", 2, null]}}"#;
        assert_eq!(json_text_at(body, "/a/b/0"), Some(b"x".to_vec()));
        assert_eq!(json_text_at(body, "/a/b/1"), Some(b"2".to_vec()));
        assert_eq!(json_text_at(body, "/a/b/2"), None);
        assert_eq!(json_text_at(b"not json", "/a"), None);
    }
}
