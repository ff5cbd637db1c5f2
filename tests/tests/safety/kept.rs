//! Samples of failed requests: none unless asked for, never more, and no data that is not.

use crate::fleet::{Fleet, contains, echo};
use serde_json::Value;
use squall_tests::machine;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// 40 requests with a user's data, all of which fail, and their answers repeat it.
fn plan(target: std::net::SocketAddr, keep: &str) -> String {
    format!(
        "
name: kept
{keep}
targets: {{t: {{url: 'http://{target}', headers: {{traceparent: {TRACEPARENT}}}}}}}
scenarios:
  s:
    steps: [{{name: ask, post: /fails/ask, json: {{user: '{{{{$randomEmail}}}}', tries: 3}}}}]
    load: {{rate: 20/s, for: 2s}}
"
    )
}

fn errors(fleet: &Fleet) -> Vec<Value> {
    let text = std::fs::read_to_string(fleet.dir.path().join("out/errors.jsonl")).expect("the kept errors");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn left_the_region(stdout: &str) -> Vec<String> {
    let summary: Value = serde_json::from_str(stdout).expect("a summary");
    let left = summary["data"]["left_the_region"].as_array().expect("a list").clone();
    left.iter().map(|what| what.as_str().expect("a word").to_owned()).collect()
}

/// A user as the target was told of it.
fn a_user_of(seen: &str) -> String {
    let from = seen.find(r#""user":""#).expect("a user was sent") + 8;
    seen[from..].split('"').next().expect("its end").to_owned()
}

#[test]
fn without_the_plans_asking_nothing_of_a_failed_request_leaves_the_agent() {
    let _place = machine::shared();
    let (target, seen) = echo();
    let fleet = Fleet::start(&[], &[], &[]);
    let ran = fleet.run(&plan(target, ""), &[]);
    assert!(!fleet.dir.path().join("out/errors.jsonl").exists());
    assert!(!left_the_region(&ran.stdout).contains(&"error_samples".to_owned()));
    let user = a_user_of(&seen.lock().expect("requests"));
    assert!(!fleet.wire.holds(&user) && !fleet.wire.holds("of-the-gateway"), "{user}");
}

#[test]
fn kept_errors_are_as_many_as_asked_for_and_hold_what_finds_them_again() {
    let _place = machine::shared();
    let (target, seen) = echo();
    let fleet = Fleet::start(&[], &["--region", "azure/eastus"], &[]);
    let ran = fleet.run(&plan(target, "keep_errors: 7"), &[]);
    assert_eq!(ran.exit_code, 0, "{}", ran.stderr);
    let errors = errors(&fleet);
    assert_eq!(errors.len(), 7, "{errors:#?}");
    for error in &errors {
        let place = ["region", "scenario", "step", "target", "outcome"].map(|key| error[key].as_str().expect("a name"));
        assert_eq!(place, ["azure/eastus", "s", "ask", "t", "http_5xx"]);
        assert_eq!((error["status"].as_u64(), error["traceparent"].as_str()), (Some(500), Some(TRACEPARENT)));
        let headers = serde_json::json!({"apim-request-id": "of-the-gateway", "x-ms-region": "East US"});
        assert_eq!(error["headers"], headers, "those that name a request, and no other");
        assert!(error["phases"]["wait_us"].is_u64() && error["response_time_us"].is_u64(), "{error}");
        assert_eq!(error["body"], Value::Null);
        assert!(error["at_us"].as_u64().expect("an instant") < 40_000_000, "{error}");
    }
    let left = left_the_region(&ran.stdout);
    assert!(left.contains(&"error_samples".to_owned()) && !left.iter().any(|what| what.contains("bodies")), "{left:?}");
    assert!(!fleet.wire.holds(&a_user_of(&seen.lock().expect("requests"))));
}

#[test]
fn pseudonyms_leave_the_agent_in_place_of_what_users_said() {
    let _place = machine::shared();
    let (target, seen) = echo();
    let fleet = Fleet::start(&[], &[], &[("KEPT_KEY", "0123456789abcdef0123456789abcdef")]);
    let keep = "keep_errors: {per_target: 100, body_bytes: 512, pseudonymise: true, key: '${env:KEPT_KEY}'}";
    let ran = fleet.run(&plan(target, keep), &[]);
    assert_eq!(ran.exit_code, 0, "{}", ran.stderr);
    let errors = errors(&fleet);
    assert_eq!(errors.len(), 40);
    for error in &errors {
        let body: Value = serde_json::from_str(error["body"].as_str().expect("a body")).expect("JSON");
        assert_eq!(body["tries"], 3);
        let user = body["user"].as_str().expect("a pseudonym");
        assert!(user.starts_with("hmac:") && user.len() == 29, "{user}");
    }
    let user = a_user_of(&seen.lock().expect("requests"));
    assert!(user.contains('@') && !fleet.wire.holds(&user), "{user}");
    let kept = std::fs::read(fleet.dir.path().join("out/errors.jsonl")).expect("the kept errors");
    assert!(!contains(&kept, &user) && !contains(&kept, "@"));
    assert!(left_the_region(&ran.stdout).contains(&"pseudonymised_response_bodies".to_owned()));
}

#[test]
fn bodies_leave_only_as_far_as_the_plan_says() {
    let _place = machine::shared();
    let (target, _) = echo();
    let fleet = Fleet::start(&[], &[], &[]);
    let ran = fleet.run(&plan(target, "keep_errors: {per_target: 3, body_bytes: 9}"), &[]);
    for error in errors(&fleet) {
        assert_eq!(error["body"].as_str().map(str::len), Some(9), "{error}");
    }
    assert!(left_the_region(&ran.stdout).contains(&"response_bodies".to_owned()));
}
