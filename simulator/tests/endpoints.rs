//! Every endpoint of models in each of its URLs, whole and streamed.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use base64::Engine as _;
use serde_json::{Value, json};
use support::{Cloud, EAST, chunks, cloud_from, events, joined};

const QUICK: &str = "regions: [{name: azure/eastus, model: {step_ms: 0.2, step_ms_per_sequence: 0}, \
                     deployments: [{name: gpt-4o}, {name: o4, reasoning_tokens_p50: 6, \
                     model: {step_ms: 1, step_ms_per_sequence: 0}}, \
                     {name: o4-hidden, reasoning_tokens_p50: 6, reasoning_field: hidden}]}]";
const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions";

async fn post(cloud: &Cloud, path: &str, body: &Value) -> String {
    let response = cloud.chat(path, body.clone()).await;
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    text
}

async fn whole(cloud: &Cloud, path: &str, body: Value) -> Value {
    serde_json::from_str(&post(cloud, path, &body).await).unwrap()
}

async fn streamed(cloud: &Cloud, path: &str, mut body: Value) -> Vec<Value> {
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    chunks(&post(cloud, path, &body).await)
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

#[tokio::test]
async fn each_endpoint_answers_in_azures_form_v1_and_plain() {
    let cloud = cloud_from(QUICK).await;
    let bodies = [
        ("chat/completions", json!({"messages": user("Hello"), "max_tokens": 2})),
        ("completions", json!({"prompt": "Hello", "max_tokens": 2})),
        ("responses", json!({"input": "Hello", "max_output_tokens": 2})),
        ("embeddings", json!({"input": "Hello"})),
    ];
    for (endpoint, mut body) in bodies {
        whole(&cloud, &format!("/openai/deployments/gpt-4o/{endpoint}?api-version=1"), body.clone()).await;
        body["model"] = json!("gpt-4o");
        whole(&cloud, &format!("/openai/v1/{endpoint}"), body.clone()).await;
        whole(&cloud, &format!("/v1/{endpoint}"), body).await;
    }
    whole(&cloud, "/openai/responses?api-version=1", json!({"model": "gpt-4o", "input": "Hello"})).await;
    let paths = cloud.settled().await;
    assert_eq!(paths.completed, 13);
    let truth = cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone();
    assert_eq!(truth.whole_answers, 13);
}

#[tokio::test]
async fn completions_have_text_and_no_role() {
    let cloud = cloud_from(QUICK).await;
    let body = json!({"model": "gpt-4o", "prompt": ["one", "two"], "n": 2, "max_tokens": 5, "seed": 3});
    let answer = whole(&cloud, "/v1/completions", body.clone()).await;
    assert_eq!((&answer["object"], answer["choices"].as_array().unwrap().len()), (&json!("text_completion"), 4));
    assert_eq!(answer["usage"]["completion_tokens"], 20);
    let chunks = streamed(&cloud, "/v1/completions", body).await;
    assert!(chunks[0]["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()), "{}", chunks[0]);
    assert!(chunks.iter().all(|chunk| chunk["choices"][0].get("delta").is_none()));
    for choice in 0..4 {
        let text = answer["choices"][choice as usize]["text"].as_str().unwrap();
        assert_eq!(joined(&chunks, choice, "text"), text, "the same seed gives the same text");
    }
    assert_eq!(chunks.last().unwrap()["usage"], answer["usage"]);
    let default = whole(&cloud, "/v1/completions", json!({"model": "gpt-4o", "prompt": "a"})).await;
    assert!(default["usage"]["completion_tokens"].as_u64().unwrap() <= 16, "OpenAI's default limit");
}

#[tokio::test]
async fn embeddings_are_unit_vectors_as_floats_or_base64() {
    let cloud = cloud_from(QUICK).await;
    let mut body = json!({"model": "gpt-4o", "input": ["grey sea", "first gust"], "dimensions": 8});
    let answer = whole(&cloud, "/v1/embeddings", body.clone()).await;
    let usage = &answer["usage"];
    assert_eq!((usage, answer["data"].as_array().unwrap().len()), (&json!({"prompt_tokens": 5, "total_tokens": 5}), 2));
    let floats: Vec<f32> = serde_json::from_value(answer["data"][1]["embedding"].clone()).unwrap();
    let length: f32 = floats.iter().map(|part| part * part).sum();
    assert!(floats.len() == 8 && (length - 1.0).abs() < 1e-3, "{floats:?}");
    body["encoding_format"] = json!("base64");
    let packed = whole(&cloud, "/v1/embeddings", body).await;
    let text = packed["data"][1]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let unpacked: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(unpacked, floats);
}

#[tokio::test]
async fn responses_are_numbered_events_that_build_what_the_last_one_holds() {
    let cloud = cloud_from(QUICK).await;
    let body = json!({"model": "o4", "input": "Hello", "stream": true, "max_output_tokens": 200});
    let text = post(&cloud, "/openai/v1/responses", &body).await;
    let events = events(&text);
    let mut built = String::new();
    for (number, event) in events.iter().enumerate() {
        let json = event.json();
        assert_eq!(
            (json["type"].as_str(), json["sequence_number"].as_u64()),
            (event.name.as_deref(), Some(number as u64))
        );
        if json["type"] == "response.output_text.delta" {
            built.push_str(json["delta"].as_str().unwrap());
        }
    }
    let kinds: Vec<&str> = events.iter().map(|event| event.name.as_deref().unwrap()).collect();
    assert_eq!(kinds[..3], ["response.created", "response.in_progress", "response.output_item.added"]);
    assert!(kinds.contains(&"response.reasoning_summary_text.delta"), "{kinds:?}");
    let last = events.last().unwrap().json();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"][1]["content"][0]["text"], built.as_str());
    let usage = &last["response"]["usage"];
    assert!(usage["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0, "{usage}");
    assert_eq!(
        usage["total_tokens"],
        usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap()
    );
    cloud.settled().await;
    let truth = cloud.simulator.truth().deployment(EAST, "o4").unwrap().clone();
    let deltas = kinds.iter().filter(|kind| kind.ends_with(".delta")).count() as u64;
    assert_eq!((truth.streams.output_chunks, truth.tokens.output), (deltas, usage["output_tokens"].as_u64().unwrap()));
}

#[tokio::test]
async fn a_response_that_meets_its_limit_is_incomplete() {
    let cloud = cloud_from(QUICK).await;
    let body = json!({"model": "gpt-4o", "input": user("Hello"), "max_output_tokens": 2});
    let answer = whole(&cloud, "/v1/responses", body).await;
    assert_eq!(
        (&answer["status"], &answer["incomplete_details"]),
        (&json!("incomplete"), &json!({"reason": "max_output_tokens"}))
    );
}

#[tokio::test]
async fn tools_are_called_in_deltas_whose_arguments_are_json() {
    let cloud = cloud_from(QUICK).await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {}}});
    let mut body = json!({"messages": user("Hello"), "tools": [tool("sail"), tool("moor")], "seed": 5});
    let streamed = streamed(&cloud, CHAT, body.clone()).await;
    let mut calls = [(String::new(), String::new()), (String::new(), String::new())];
    let deltas = streamed.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array());
    for call in deltas.flatten() {
        let (name, arguments) = &mut calls[call["index"].as_u64().unwrap() as usize];
        name.push_str(call["function"]["name"].as_str().unwrap_or_default());
        arguments.push_str(call["function"]["arguments"].as_str().unwrap());
    }
    let answer = whole(&cloud, CHAT, body.clone()).await;
    for (call, (name, arguments)) in calls.iter().enumerate() {
        let function = &answer["choices"][0]["message"]["tool_calls"][call]["function"];
        assert_eq!((function["name"].as_str(), function["arguments"].as_str()), (Some(&**name), Some(&**arguments)));
        serde_json::from_str::<Value>(arguments).unwrap();
    }
    assert_eq!([&*calls[0].0, &*calls[1].0], ["sail", "moor"]);
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    cloud.settled().await;
    let truth = cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().clone();
    assert_eq!(
        truth.streams.output_chunk_tokens,
        streamed.last().unwrap()["usage"]["completion_tokens"].as_u64().unwrap()
    );

    body["messages"].as_array_mut().unwrap().push(json!({"role": "tool", "tool_call_id": "c", "content": "done"}));
    let after = whole(&cloud, CHAT, body).await;
    assert_eq!(after["choices"][0]["finish_reason"], "stop", "a tool's result is answered in words");
}

#[tokio::test]
async fn reasoning_comes_before_content_and_is_counted() {
    let cloud = cloud_from(QUICK).await;
    let body = json!({"model": "o4", "messages": user("Hello"), "seed": 1});
    let streamed = streamed(&cloud, "/v1/chat/completions", body.clone()).await;
    let has =
        |chunk: &Value, field: &str| chunk["choices"][0]["delta"][field].as_str().is_some_and(|text| !text.is_empty());
    let reasoning: Vec<usize> = (0..streamed.len()).filter(|at| has(&streamed[*at], "reasoning_content")).collect();
    let content = (0..streamed.len()).find(|at| has(&streamed[*at], "content")).unwrap();
    assert!(!reasoning.is_empty() && reasoning.iter().all(|at| *at < content));
    let details = &streamed.last().unwrap()["usage"]["completion_tokens_details"];
    assert_eq!(details["reasoning_tokens"], reasoning.len());
    cloud.settled().await;
    let truth = cloud.simulator.truth().deployment(EAST, "o4").unwrap().clone();
    assert_eq!(truth.tokens.reasoning, reasoning.len() as u64);
    let steps_us = (reasoning.len() as f64 + 1.0) * 1_000.0;
    assert!(truth.streams.first_visible.mean_us >= steps_us, "{:?}", truth.streams);

    let hidden = json!({"model": "o4-hidden", "messages": user("Hello"), "seed": 1});
    let answer = whole(&cloud, "/v1/chat/completions", hidden).await;
    assert!(answer["choices"][0]["message"].get("reasoning_content").is_none());
    assert!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn several_answers_differ_and_a_seed_repeats_them() {
    let cloud = cloud_from(QUICK).await;
    let body = json!({"messages": user("Hello"), "n": 3, "seed": 11, "max_tokens": 30});
    let first = streamed(&cloud, CHAT, body.clone()).await;
    let again = streamed(&cloud, CHAT, body).await;
    let texts = |chunks: &[Value]| [0, 1, 2].map(|choice| joined(chunks, choice, "content"));
    assert_eq!(texts(&first), texts(&again));
    assert_ne!(texts(&first)[0], texts(&first)[1]);
    let finishes = first.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
    assert_eq!(finishes, 3, "each answer ends once");
    let tokens: usize = texts(&first).iter().map(|text| text.split_whitespace().count()).sum();
    assert_eq!(first.last().unwrap()["usage"]["completion_tokens"], tokens);
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_before_it() {
    let cloud = cloud_from(QUICK).await;
    let body = |stop: Value| json!({"messages": user("Hello"), "seed": 2, "stop": stop, "max_tokens": 300});
    let free = whole(&cloud, CHAT, body(Value::Null)).await;
    let text = free["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let word = text.split_whitespace().nth(4).unwrap();
    let stopped = streamed(&cloud, CHAT, body(json!([word]))).await;
    assert_eq!(joined(&stopped, 0, "content"), text[..text.find(word).unwrap()]);
    let finish = stopped.iter().find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(finish, Some("stop"));
}

#[tokio::test]
async fn fields_that_can_not_be_are_refused_by_name() {
    let cloud = cloud_from(QUICK).await;
    let wrong = [
        (CHAT, json!({"messages": [], "n": 0}), "n"),
        (CHAT, json!({"messages": [], "stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (CHAT, json!({"messages": [], "reasoning_effort": "vast"}), "reasoning_effort"),
        ("/v1/completions", json!({"model": "gpt-4o"}), "prompt"),
        ("/v1/embeddings", json!({"model": "gpt-4o", "input": []}), "input"),
        ("/v1/embeddings", json!({"model": "gpt-4o", "input": "a", "encoding_format": "hex"}), "encoding_format"),
        ("/v1/responses", json!({"model": "gpt-4o", "input": 5}), "input"),
    ];
    for (path, body, param) in wrong {
        let response = cloud.chat(path, body).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["param"], param);
    }
}

#[tokio::test]
async fn models_are_the_deployments() {
    let cloud = cloud_from(QUICK).await;
    let models: Value = cloud.get("/v1/models").await.unwrap().json().await.unwrap();
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gpt-4o", "o4", "o4-hidden"]);
}
