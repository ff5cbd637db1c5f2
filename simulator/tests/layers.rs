//! Delays planted in one layer, prompt prefixes that are cached, content that is filtered.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall_simulator::DeploymentTruth;
use support::{Cloud, EAST, chunks, cloud_from, hello, joined};

const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions";
const UPSTREAM: &str = "x-envoy-upstream-service-time";
const QUICK: &str = "regions: [{name: azure/eastus, model: {step_ms: 0.2, step_ms_per_sequence: 0}}]";

async fn cloud_with(delays: Value) -> Cloud {
    let cloud = cloud_from(QUICK).await;
    cloud.fault(json!({"delays": delays})).await;
    cloud
}

fn upstream(response: &reqwest::Response) -> Duration {
    Duration::from_millis(response.headers()[UPSTREAM].to_str().unwrap().parse().unwrap())
}

async fn truth(cloud: &Cloud) -> DeploymentTruth {
    cloud.settled().await;
    cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone()
}

#[tokio::test]
async fn a_gateways_delay_is_not_in_the_time_upstream() {
    let cloud = cloud_with(json!({"gateway_ms": 150})).await;
    let start = Instant::now();
    let response = cloud.chat(CHAT, hello(2, false)).await;
    assert!(start.elapsed() >= Duration::from_millis(150) + upstream(&response));
}

#[tokio::test]
async fn a_prefill_delay_is_upstream_and_before_the_first_token() {
    let cloud = cloud_with(json!({"prefill_ms": 120})).await;
    let whole = cloud.chat(CHAT, hello(2, false)).await;
    assert!(upstream(&whole) >= Duration::from_millis(120));
    let streamed = cloud.chat(CHAT, hello(5, true)).await;
    assert!(upstream(&streamed) >= Duration::from_millis(120));
    streamed.text().await.unwrap();
    let streams = truth(&cloud).await.streams;
    assert!(streams.ttft.min_us >= 119_900, "to three digits: {streams:?}");
}

#[tokio::test]
async fn a_decode_delay_is_between_tokens() {
    let cloud = cloud_with(json!({"decode_ms": 15})).await;
    let start = Instant::now();
    cloud.chat(CHAT, hello(6, false)).await.text().await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(75));
    cloud.chat(CHAT, hello(6, true)).await.text().await.unwrap();
    let streams = truth(&cloud).await.streams;
    assert_eq!(streams.gap.count, 5);
    assert!(streams.ttft.mean_us + streams.gap.mean_us * 5.0 >= 75e3, "{streams:?}");
}

#[tokio::test]
async fn a_late_accept_is_before_the_request_is_seen() {
    let cloud = cloud_with(json!({"accept_ms": 130})).await;
    let start = Instant::now();
    cloud.get("/").await.unwrap();
    let took = start.elapsed();
    let seen = Duration::from_micros(cloud.settled().await.latency.min_us);
    assert!(took >= Duration::from_millis(130) + seen, "{took:?} outside, {seen:?} inside");
}

#[tokio::test]
async fn delays_that_name_nothing_or_run_backwards_are_refused() {
    let cloud = cloud_from(QUICK).await;
    let url = format!("{}/admin/faults", cloud.simulator.admin_url());
    for (delays, named) in [(json!({}), "delays"), (json!({"prefill_ms": -1}), "delays.prefill_ms")] {
        let response = cloud.client.post(&url).json(&json!({"delays": delays})).send().await.unwrap();
        assert_eq!(response.status(), 400);
        assert!(response.text().await.unwrap().contains(named));
    }
}

#[tokio::test]
async fn a_prompt_whose_head_was_read_before_is_cached_and_its_prefill_saved() {
    let cloud = cloud_from(
        "regions: [{name: azure/eastus, model: {step_ms: 0.2, step_ms_per_sequence: 0, prefill_tokens_per_s: 2000}}]",
    )
    .await;
    let ask = |question: &str| {
        let system = json!({"role": "system", "content": "sail".repeat(1_200)});
        json!({"messages": [system, {"role": "user", "content": question}], "max_tokens": 2, "stream": true,
               "stream_options": {"include_usage": true}})
    };
    let mut cached = Vec::new();
    for question in ["where to?", "how far?"] {
        let chunks = chunks(&cloud.chat(CHAT, ask(question)).await.text().await.unwrap());
        let details = &chunks.last().unwrap()["usage"]["prompt_tokens_details"];
        cached.push(details["cached_tokens"].as_u64().unwrap());
    }
    assert_eq!(cached, [0, 1_152], "1,204 tokens are shared: 1,024 and a step of 128");
    let truth = truth(&cloud).await;
    assert_eq!(truth.tokens.cached, 1_152);
    assert!(truth.streams.ttft.max_us > 600_000, "1,211 tokens at 2,000 a second");
    assert!(truth.streams.ttft.min_us < truth.streams.ttft.max_us / 2, "{:?}", truth.streams.ttft);
}

#[tokio::test]
async fn a_short_prompt_is_never_cached() {
    let cloud = cloud_from(QUICK).await;
    for _ in 0..2 {
        cloud.chat(CHAT, hello(1, false)).await.text().await.unwrap();
    }
    assert_eq!(truth(&cloud).await.tokens.cached, 0);
}

#[tokio::test]
async fn the_filter_refuses_a_prompt_and_ends_an_answer() {
    let cloud = cloud_from(
        "regions: [{name: azure/eastus, model: {step_ms: 0.2, step_ms_per_sequence: 0}, deployments: \
         [{name: gpt-4o, filtered_in_prompts: [mutiny], filtered_in_completions: [gust]}]}]",
    )
    .await;
    let ask =
        |text: &str| json!({"messages": [{"role": "user", "content": text}], "max_tokens": 5_000, "stream": true});
    let refused = cloud.chat(CHAT, ask("a mutiny at sea")).await;
    assert_eq!(refused.status(), 400);
    let error = refused.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(
        (&error["code"], &error["innererror"]["code"]),
        (&json!("content_filter"), &json!("ResponsibleAIPolicyViolation"))
    );
    assert_eq!(error["innererror"]["content_filter_result"]["violence"]["filtered"], true);
    let finishes = async {
        let mut finishes = Vec::new();
        for seed in 0..10 {
            let mut body = ask("calm");
            body["seed"] = json!(seed);
            let chunks = chunks(&cloud.chat(CHAT, body).await.text().await.unwrap());
            assert!(!joined(&chunks, 0, "content").contains("gust"));
            finishes.extend(
                chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str().map(str::to_owned)),
            );
        }
        finishes
    }
    .await;
    assert!(finishes.len() == 10 && finishes.iter().any(|finish| finish == "content_filter"), "{finishes:?}");
    let truth = truth(&cloud).await;
    assert_eq!((truth.admission.filtered_prompts, truth.admission.admitted, truth.streams.started), (1, 11, 10));
}

#[tokio::test]
async fn a_clients_request_id_comes_back() {
    let cloud = cloud_from(QUICK).await;
    let request = cloud.client.post(cloud.url(CHAT)).header("x-ms-client-request-id", "buoy-7").json(&hello(1, false));
    assert_eq!(request.send().await.unwrap().headers()["x-ms-client-request-id"], "buoy-7");
}
