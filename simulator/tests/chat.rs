//! Chat completions over real sockets: shapes, headers, errors, saturation.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{cloud, cloud_from, hello};

const AZURE: &str = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";

/// The JSON of each event; the text must be nothing but events, `[DONE]` last.
fn events(text: &str) -> Vec<Value> {
    let lines: Vec<&str> = text.strip_suffix("\n\n").unwrap().split("\n\n").collect();
    let (done, lines) = lines.split_last().unwrap();
    assert_eq!(*done, "data: [DONE]");
    lines.iter().map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

fn contents(events: &[Value]) -> Vec<&str> {
    let content = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    content.filter(|content| !content.is_empty()).collect()
}

#[tokio::test]
async fn a_whole_answer_has_the_tokens_asked_for_and_azures_headers() {
    let cloud = cloud().await;
    let response = cloud.chat(AZURE, hello(12, false)).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    for name in [
        "apim-request-id",
        "x-request-id",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-envoy-upstream-service-time",
        "openai-processing-ms",
    ] {
        assert!(headers.contains_key(name), "{name} is missing");
    }
    assert_eq!(headers["x-ms-region"], "eastus");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "gpt-4o");
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["choices"][0]["message"]["content"].as_str().unwrap().split_whitespace().count(), 12);
    // "Hello" is two tokens of four characters, and a message's frame is four.
    let usage = &answer["usage"];
    let counts = ["prompt_tokens", "completion_tokens", "total_tokens"].map(|field| usage[field].as_u64());
    assert_eq!(counts, [Some(6), Some(12), Some(18)]);
}

#[tokio::test]
async fn a_stream_opens_with_the_role_and_ends_with_finish_usage_and_done() {
    let cloud = cloud().await;
    let mut request = hello(5, true);
    request["stream_options"] = json!({"include_usage": true});
    let response = cloud.chat(AZURE, request).await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let events = events(&response.text().await.unwrap());
    assert_eq!(events[0]["choices"], json!([]), "Azure opens with its filter's results");
    assert!(events[0]["prompt_filter_results"].is_array());
    assert_eq!(events[1]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(contents(&events).len(), 5);
    let [finish, usage] = &events[events.len() - 2..] else { panic!("too short") };
    assert_eq!(
        (&finish["choices"][0]["finish_reason"], &finish["choices"][0]["delta"]),
        (&json!("length"), &json!({}))
    );
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(5)));
    assert!(events[1..].iter().all(|event| event["id"] == events[1]["id"]));
}

#[tokio::test]
async fn a_stream_without_options_has_no_usage_and_v1_no_filter_chunk() {
    let cloud = cloud().await;
    let mut request = hello(3, true);
    request["model"] = json!("gpt-4o-mini");
    request["max_completion_tokens"] = json!(2);
    let text = cloud.chat("/v1/chat/completions", request).await.text().await.unwrap();
    let events = events(&text);
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(contents(&events).len(), 2, "max_completion_tokens comes first");
    assert_eq!(events[0]["model"], "gpt-4o-mini");
}

#[tokio::test]
async fn tokens_arrive_one_by_one_and_not_all_at_the_end() {
    let cloud = cloud_from("regions: [{name: azure/eastus, model: {step_ms: 20}}]").await;
    let mut response = cloud.chat(AZURE, hello(8, true)).await;
    let start = std::time::Instant::now();
    let (mut pieces, mut first_ms) = (0, None);
    while response.chunk().await.unwrap().is_some() {
        pieces += 1;
        first_ms.get_or_insert(start.elapsed().as_millis());
    }
    assert!(pieces >= 8, "{pieces} pieces");
    assert!(start.elapsed().as_millis() >= first_ms.unwrap() + 100, "spread over 7 steps of 20 ms");
}

#[tokio::test]
async fn answers_without_a_limit_end_by_themselves_and_vary() {
    let cloud = cloud_from(
        "regions: [{name: azure/eastus, model: {step_ms: 0.1, step_ms_per_sequence: 0}, \
         deployments: [{name: gpt-4o, completion_tokens_p50: 20, completion_tokens_p99: 60, tokens_per_chunk: 4}]}]",
    )
    .await;
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let request = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "stream": true,
                             "stream_options": {"include_usage": true}});
        let events = events(&cloud.chat(AZURE, request).await.text().await.unwrap());
        let tokens = events.last().unwrap()["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!(contents(&events).len() as u64, tokens.div_ceil(4), "four tokens a chunk");
        assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
        lengths.insert(tokens);
    }
    assert!(lengths.len() > 3, "{lengths:?}");
}

#[tokio::test]
async fn errors_have_azures_shape() {
    let cloud = cloud_from("regions: [{name: azure/eastus, api_key: s3cret}]").await;
    let keyless = cloud.chat(AZURE, hello(1, false)).await;
    assert_eq!(keyless.status(), 401);
    assert_eq!(keyless.json::<Value>().await.unwrap()["error"]["code"], "401");

    let send = |path: &str, body: &'static str| {
        let url = cloud.url(path);
        let request = cloud.client.post(url).header("api-key", "s3cret").body(body);
        async move {
            let response = request.send().await.unwrap();
            assert!(response.headers().contains_key("apim-request-id"));
            (response.status().as_u16(), response.json::<Value>().await.unwrap()["error"].clone())
        }
    };
    let (status, error) = send("/openai/deployments/none/chat/completions", r#"{"messages": []}"#).await;
    assert_eq!((status, &error["code"]), (404, &json!("DeploymentNotFound")));
    let (status, error) = send(AZURE, "{not json").await;
    assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")));
    let (status, error) = send(AZURE, "{}").await;
    assert_eq!((status, &error["param"]), (400, &json!("messages")));
    let (status, error) = send("/v1/chat/completions", r#"{"messages": []}"#).await;
    assert_eq!((status, &error["param"]), (400, &json!("model")));

    let bearer = cloud.client.post(cloud.url(AZURE)).bearer_auth("s3cret").json(&hello(1, false));
    assert_eq!(bearer.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_full_queue_throttles_and_says_when_to_come_back() {
    let cloud = cloud_from("regions: [{name: azure/eastus, model: {capacity: 2, queue_limit: 3, step_ms: 20}}]").await;
    let responses = join_all((0..12).map(|_| cloud.chat(AZURE, hello(5, false)))).await;
    let (served, throttled): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status() == 200);
    assert_eq!((served.len(), throttled.len()), (5, 7));
    for response in throttled {
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        assert!(response.headers()["retry-after-ms"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "429");
    }
    assert_eq!(cloud.settled().await.status[&429], 7);
}

#[tokio::test]
async fn a_spent_quota_throttles_and_the_headers_count_down() {
    let cloud = cloud_from("regions: [{name: azure/eastus, deployments: [{name: gpt-4o, tokens_per_min: 30}]}]").await;
    let first = cloud.chat(AZURE, hello(10, false)).await;
    assert_eq!(first.headers()["x-ratelimit-remaining-tokens"], "14", "30 less 6 of prompt and 10 of max_tokens");
    let second = cloud.chat(AZURE, hello(10, false)).await;
    assert_eq!(second.status(), 429);
    let message = second.json::<Value>().await.unwrap()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("exceeded token rate limit"), "{message}");
}

#[tokio::test]
async fn a_late_first_token_is_a_timeout() {
    let cloud = cloud_from(
        "regions: [{name: azure/eastus, model: {step_ms: 500}, \
         deployments: [{name: gpt-4o, first_token_timeout_ms: 50}]}]",
    )
    .await;
    let response = cloud.chat(AZURE, hello(1, false)).await;
    assert_eq!(response.status(), 408);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "Timeout");
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let cloud = cloud_from("regions: [{name: azure/eastus, model: {capacity: 1, queue_limit: 1, step_ms: 5}}]").await;
    for _ in 0..5 {
        let mut response = cloud.chat(AZURE, hello(100_000, true)).await;
        assert_eq!(response.status(), 200, "the place is free again");
        response.chunk().await.unwrap();
        drop(response);
        cloud.settled().await;
    }
    let total = cloud.settled().await;
    assert!(total.aborted_by_client >= 4 && total.in_flight == 0, "{total:?}");
}
