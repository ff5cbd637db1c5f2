//! The truth about streams is what their clients count, exactly.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use futures_util::future::join_all;
use serde_json::{Value, json};
use squall_simulator::StreamTruth;
use support::{Cloud, EAST, cloud_from, hello};

const AZURE: &str = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
const STEPS_OF_5_MS: &str = "regions: [{name: azure/eastus, model: {capacity: 200, step_ms: 5, \
                             step_ms_per_sequence: 0, prefill_tokens_per_s: 1000000000}}]";

#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    chunks: u64,
    output: u64,
    prompt: u64,
}

async fn count(cloud: &Cloud, tokens: u32) -> Counted {
    let mut request = hello(tokens, true);
    request["stream_options"] = json!({"include_usage": true});
    let text = cloud.chat(AZURE, request).await.text().await.unwrap();
    let mut counted = Counted::default();
    for data in text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(data).unwrap();
        let content = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        counted.chunks += u64::from(!content.is_empty());
        counted.output += event["usage"]["completion_tokens"].as_u64().unwrap_or(0);
        counted.prompt += event["usage"]["prompt_tokens"].as_u64().unwrap_or(0);
    }
    counted
}

fn streams(cloud: &Cloud) -> StreamTruth {
    cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().streams.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_chunks_and_tokens_are_what_a_hundred_clients_count() {
    let cloud = cloud_from(STEPS_OF_5_MS).await;
    let counted = join_all((0..100).map(|number| count(&cloud, 10 + number))).await;
    let sum = |of: fn(&Counted) -> u64| counted.iter().map(of).sum::<u64>();
    cloud.settled().await;
    let truth = cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone();
    let streams = &truth.streams;
    assert_eq!((streams.started, streams.completed, streams.in_flight), (100, 100, 0));
    assert_eq!(streams.output_chunks, sum(|counted| counted.chunks));
    assert_eq!(streams.output_chunk_tokens, sum(|counted| counted.output));
    assert_eq!(truth.tokens.output, sum(|counted| counted.output));
    assert_eq!(truth.tokens.prompt, sum(|counted| counted.prompt));
    assert_eq!((streams.ttft.count, streams.first_visible.count), (100, 100));
    assert_eq!(streams.gap.count, streams.output_chunks - 100, "every chunk but a stream's first ends a gap");
    assert_eq!(streams.gap.latencies().unwrap().percentile_us(99.0), streams.gap.p99_us);
    assert_eq!(cloud.truth_over_http().await, cloud.simulator.truth());
}

#[tokio::test]
async fn a_streams_ttft_and_gaps_add_up_to_its_steps() {
    let cloud = cloud_from(STEPS_OF_5_MS).await;
    count(&cloud, 40).await;
    cloud.settled().await;
    let streams = streams(&cloud);
    // 40 tokens leave at the ends of 40 steps; nothing leaves early.
    let whole_us = streams.ttft.mean_us + streams.gap.mean_us * streams.gap.count as f64;
    assert!(whole_us >= 40.0 * 5_000.0, "{streams:?}");
    assert!(streams.ttft.min_us >= 5_000, "{streams:?}");
}

#[tokio::test]
async fn whole_answers_have_tokens_but_are_no_streams() {
    let cloud = cloud_from(STEPS_OF_5_MS).await;
    cloud.chat(AZURE, hello(7, false)).await.text().await.unwrap();
    cloud.settled().await;
    let truth = cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone();
    assert_eq!((truth.whole_answers, truth.tokens.output, truth.tokens.prompt), (1, 7, 6));
    assert_eq!(truth.streams, StreamTruth::default());
}

#[tokio::test]
async fn a_stream_its_client_leaves_is_aborted_and_keeps_the_chunks_it_gave() {
    let cloud = cloud_from(STEPS_OF_5_MS).await;
    let mut response = cloud.chat(AZURE, hello(10_000, true)).await;
    response.chunk().await.unwrap();
    drop(response);
    cloud.settled().await;
    let truth = cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone();
    assert_eq!((truth.streams.started, truth.streams.aborted_by_client, truth.streams.in_flight), (1, 1, 0));
    assert!((1..10_000).contains(&truth.streams.output_chunks), "{:?}", truth.streams);
    assert_eq!(truth.tokens.output, 0, "no usage was given");
}

#[tokio::test]
async fn a_stream_a_fault_breaks_off_is_cut() {
    let cloud = cloud_from(STEPS_OF_5_MS).await;
    cloud.fault(json!({"truncate_rate": 1.0})).await;
    assert!(cloud.chat(AZURE, hello(100, true)).await.text().await.is_err());
    cloud.settled().await;
    let streams = streams(&cloud);
    assert_eq!((streams.started, streams.cut_by_fault, streams.completed), (1, 1, 0));
    assert_eq!(streams.output_chunks, 1, "the second was cut in half");
}

#[tokio::test]
async fn a_reset_starts_the_truth_of_streams_again() {
    let cloud = cloud_from(STEPS_OF_5_MS).await;
    count(&cloud, 3).await;
    cloud.settled().await;
    cloud.client.post(format!("{}/admin/reset", cloud.simulator.admin_url())).send().await.unwrap();
    assert_eq!(streams(&cloud), StreamTruth::default());
    count(&cloud, 4).await;
    cloud.settled().await;
    assert_eq!(streams(&cloud).output_chunks, 4);
}
