//! Quotas and provisioned throughput, as clients meet them.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use futures_util::future::join_all;
use squall_simulator::AdmissionTruth;
use support::{Cloud, EAST, cloud_from, hello};

const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions";

async fn cloud_with(deployment: &str) -> Cloud {
    cloud_from(&format!(
        "regions: [{{name: azure/eastus, model: {{step_ms: 0.2, step_ms_per_sequence: 0}}, \
         deployments: [{{name: gpt-4o, {deployment}}}]}}]"
    ))
    .await
}

async fn admission(cloud: &Cloud) -> AdmissionTruth {
    cloud.settled().await;
    cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().admission.clone()
}

fn header(response: &reqwest::Response, name: &str) -> String {
    response.headers().get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_algorithm_lets_in_what_its_limit_allows_and_the_truth_counts_it() {
    for algorithm in ["fixed_window", "token_bucket", "sliding_window"] {
        let cloud = cloud_with(&format!("quota_algorithm: {algorithm}, requests_per_min: 5")).await;
        let responses = join_all((0..12).map(|_| cloud.chat(CHAT, hello(2, false)))).await;
        let let_in = responses.iter().filter(|response| response.status() == 200).count() as u64;
        assert_eq!(let_in, 5, "{algorithm}");
        let truth = admission(&cloud).await;
        assert_eq!((truth.admitted, truth.throttled_by_requests), (5, 7), "{algorithm}");
        assert_eq!((truth.offered_peak.requests_in_60_s, truth.admitted_peak.requests_in_60_s), (12, 5));
        assert_eq!((truth.admitted_tokens, truth.admitted_peak.tokens_in_60_s), (5 * 8, 5 * 8));
    }
}

#[tokio::test]
async fn headers_tell_limits_what_is_left_and_when_to_come_back() {
    let cloud = cloud_with("requests_per_min: 120, requests_slice_s: 10, tokens_per_min: 50").await;
    let first = cloud.chat(CHAT, hello(14, false)).await;
    assert_eq!(header(&first, "x-ratelimit-limit-requests"), "120");
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), "19", "of its slice of 10 s");
    assert_eq!(header(&first, "x-ratelimit-limit-tokens"), "50");
    assert_eq!(header(&first, "x-ratelimit-remaining-tokens"), "30");
    assert!((1..=10).contains(&header(&first, "x-ratelimit-reset-requests").parse().unwrap()));
    assert!((50..=60).contains(&header(&first, "x-ratelimit-reset-tokens").parse().unwrap()));
    let second = cloud.chat(CHAT, hello(30, false)).await;
    assert_eq!(second.status(), 429);
    assert_eq!(header(&second, "x-ratelimit-remaining-tokens"), "30");
    let (seconds, ms) = (header(&second, "retry-after"), header(&second, "retry-after-ms"));
    assert_eq!(seconds.parse::<u64>().unwrap(), ms.parse::<u64>().unwrap().div_ceil(1_000));
    assert_eq!(admission(&cloud).await.throttled_by_tokens, 1);
}

#[tokio::test]
async fn provisioned_throughput_tells_its_utilisation_and_settles_what_was_not_used() {
    let cloud = cloud_with("ptu_tokens_per_min: 1000, completion_tokens_p50: 10, completion_tokens_p99: 10").await;
    let first = cloud.chat(CHAT, hello(900, false)).await;
    assert_eq!(header(&first, "azure-openai-deployment-utilization"), "90.6%", "6 of prompt and 900 it may produce");
    assert!(first.headers().get("x-ratelimit-remaining-tokens").is_none());
    cloud.settled().await;
    let second = cloud.chat(CHAT, hello(2_000, false)).await;
    let percent: f64 = header(&second, "azure-openai-deployment-utilization").trim_end_matches('%').parse().unwrap();
    assert!(percent <= 202.2, "the first used 16 of its 906 in the end: {percent} %");
}

#[tokio::test]
async fn above_100_percent_provisioned_throughput_throttles() {
    let cloud = cloud_with("ptu_tokens_per_min: 60").await;
    let mut stream = cloud.chat(CHAT, hello(100_000, true)).await;
    stream.chunk().await.unwrap();
    let refused = cloud.chat(CHAT, hello(1, false)).await;
    assert_eq!(refused.status(), 429);
    assert!(header(&refused, "retry-after-ms").parse::<u64>().unwrap() > 60_000);
    let percent: f64 = header(&refused, "azure-openai-deployment-utilization").trim_end_matches('%').parse().unwrap();
    assert!(percent > 100.0);
    drop(stream);
    let truth = admission(&cloud).await;
    assert_eq!((truth.admitted, truth.throttled_by_utilization), (1, 1));
    assert!(truth.utilization_percent_max > 100.0);
}
