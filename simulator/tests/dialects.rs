//! Streams as other servers write them, and as they break.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use serde_json::{Value, json};
use squall_simulator::StreamTruth;
use support::{Cloud, EAST, chunks, cloud_from, events, hello, joined};

const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions";
const QUICK: &str = "regions: [{name: azure/eastus, model: {step_ms: 0.2, step_ms_per_sequence: 0}}]";

async fn cloud_with(dialect: Value) -> Cloud {
    let cloud = cloud_from(QUICK).await;
    cloud.fault(json!({"region": EAST, "dialect": dialect})).await;
    cloud
}

async fn stream(cloud: &Cloud) -> String {
    let mut request = hello(12, true);
    request["stream_options"] = json!({"include_usage": true});
    cloud.chat(CHAT, request).await.text().await.unwrap()
}

async fn truth(cloud: &Cloud) -> StreamTruth {
    cloud.settled().await;
    cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().streams.clone()
}

fn words(chunks: &[Value]) -> usize {
    joined(chunks, 0, "content").split_whitespace().count()
}

#[tokio::test]
async fn bundled_tokens_come_several_in_a_chunk() {
    let cloud = cloud_with(json!({"tokens_per_chunk": 5})).await;
    let chunks = chunks(&stream(&cloud).await);
    assert_eq!((words(&chunks), chunks.last().unwrap()["usage"]["completion_tokens"].as_u64()), (12, Some(12)));
    let truth = truth(&cloud).await;
    assert_eq!((truth.output_chunks, truth.output_chunk_tokens), (3, 12));
}

#[tokio::test]
async fn lines_may_end_otherwise_and_mean_the_same() {
    for (line_end, text_of_it) in [("crlf", "\r\n\r\n"), ("cr", "\r\r")] {
        let cloud = cloud_with(json!({"line_end": line_end, "byte_order_mark": true, "multi_line_data": true})).await;
        let text = stream(&cloud).await;
        assert!(text.starts_with("\u{feff}data: {") && text.ends_with(text_of_it) && !text.contains("\n\n"));
        let events = events(&text);
        assert!(events[..events.len() - 1].iter().all(|event| event.data.starts_with("{\n")), "two data lines each");
        assert_eq!(words(&chunks(&text)), 12);
    }
}

#[tokio::test]
async fn pings_and_chunks_without_choices_or_delta_are_no_output() {
    let cloud = cloud_with(json!({"ping_every": 3, "no_choices_every": 4, "no_delta_every": 6})).await;
    let text = stream(&cloud).await;
    assert_eq!(text.matches(": ping\n\n").count(), 4);
    let chunks = chunks(&text);
    let empty = chunks.iter().filter(|chunk| chunk["choices"] == json!([]));
    assert_eq!(empty.count(), 3 + 2, "and the filter's chunk and the usage");
    let without_delta =
        chunks.iter().filter(|chunk| chunk["choices"][0].is_object() && chunk["choices"][0].get("delta").is_none());
    assert_eq!(without_delta.count(), 2);
    assert_eq!(words(&chunks), 12);
    assert_eq!(truth(&cloud).await.output_chunks, 12);
}

#[tokio::test]
async fn an_error_event_ends_a_stream_that_began_well() {
    let cloud = cloud_with(json!({"error_after": 4})).await;
    let text = stream(&cloud).await;
    let events = events(&text);
    assert_eq!(events.last().unwrap().json()["error"]["code"], "server_error");
    let truth = truth(&cloud).await;
    assert_eq!((truth.failed, truth.completed, truth.output_chunks), (1, 0, 4));
    assert_eq!(cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().tokens.output, 0);
}

#[tokio::test]
async fn a_stream_may_end_without_its_terminator() {
    let cloud = cloud_with(json!({"no_done": true})).await;
    let text = stream(&cloud).await;
    assert!(!text.contains("[DONE]"));
    assert_eq!(events(&text).last().unwrap().json()["usage"]["completion_tokens"], 12);
    assert_eq!(truth(&cloud).await.completed, 1);
    let body = json!({"model": "gpt-4o", "input": "a", "stream": true});
    let text = cloud.chat("/v1/responses", body).await.text().await.unwrap();
    assert_eq!(events(&text).last().unwrap().name.as_deref(), Some("response.output_item.done"));
}

#[tokio::test]
async fn a_truncated_stream_breaks_off_in_the_middle_of_an_event() {
    let cloud = cloud_with(json!({"truncate_after": 3})).await;
    let mut response = cloud.chat(CHAT, hello(12, true)).await;
    let mut text = String::new();
    let broke = loop {
        match response.chunk().await {
            Ok(Some(piece)) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broke && !text.ends_with("\n\n"), "{text}");
    let whole: Vec<Value> = events(&text).iter().map(support::Event::json).collect();
    assert_eq!(words(&whole), 3);
    let truth = truth(&cloud).await;
    assert_eq!((truth.output_chunks, truth.cut_by_fault, truth.completed), (3, 1, 0));
}

#[tokio::test]
async fn the_asynchronous_filter_annotates_even_after_the_finish() {
    let cloud = cloud_with(json!({"async_filter_every": 5})).await;
    let chunks = chunks(&stream(&cloud).await);
    let is_annotation = |chunk: &Value| chunk["choices"][0]["content_filter_results"].is_object();
    let finish = chunks.iter().position(|chunk| chunk["choices"][0]["finish_reason"] == "length").unwrap();
    assert!(is_annotation(&chunks[finish + 1]) && chunks[finish + 1]["choices"][0].get("delta").is_none());
    assert_eq!(chunks.iter().filter(|chunk| is_annotation(chunk)).count(), 3);
    assert_eq!(truth(&cloud).await.output_chunks, 12);
}

#[tokio::test]
async fn a_late_filter_ends_the_answer_and_its_usage_is_what_was_produced() {
    let cloud = cloud_with(json!({"content_filter_after": 7})).await;
    let chunks = chunks(&stream(&cloud).await);
    let finishes: Vec<&Value> =
        chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).filter(|finish| finish.is_string()).collect();
    assert_eq!(finishes, [&json!("content_filter")]);
    assert_eq!((words(&chunks), chunks.last().unwrap()["usage"]["completion_tokens"].as_u64()), (7, Some(7)));
    let truth = cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone();
    assert_eq!(truth.tokens.output, 7);
}

#[tokio::test]
async fn a_dialect_can_strike_a_share_of_streams() {
    let cloud = cloud_with(json!({"rate": 0.5, "line_end": "crlf"})).await;
    let mut struck = 0;
    for _ in 0..60 {
        struck += u32::from(stream(&cloud).await.contains("\r\n"));
    }
    assert!((12..=48).contains(&struck), "{struck} of 60");
    cloud.heal().await;
    assert!(!stream(&cloud).await.contains('\r'));
}

#[tokio::test]
async fn a_dialect_that_says_nothing_is_refused_by_name() {
    let cloud = cloud_from(QUICK).await;
    let url = format!("{}/admin/faults", cloud.simulator.admin_url());
    for (dialect, named) in [(json!({}), "dialect"), (json!({"ping_every": 0}), "dialect.ping_every")] {
        let response = cloud.client.post(&url).json(&json!({"dialect": dialect})).send().await.unwrap();
        assert_eq!(response.status(), 400);
        assert!(response.text().await.unwrap().contains(named));
    }
}
