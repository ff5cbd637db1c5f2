use super::sse::SseReader;
use super::{FinishReason, Reading};
use crate::plan::{Api, Bound, Comparison, Metric, ModelCall, ScenarioId, StepId, TargetId};
use crate::sample::{Outcome, PhaseTimes, Sample};
use proptest::prelude::*;
use std::time::Duration;

fn events_of(pieces: &[&[u8]]) -> Vec<(String, String)> {
    let mut reader = SseReader::default();
    let mut events = Vec::new();
    for piece in pieces {
        reader.feed(piece, &mut |name, data| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            events.push((text(name), text(data)));
        });
    }
    events
}

fn data_of(bytes: &[u8]) -> Vec<String> {
    events_of(&[bytes]).into_iter().map(|(_, data)| data).collect()
}

#[test]
fn lines_end_with_any_of_three_endings() {
    assert_eq!(data_of(b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\r\n\n"), ["a", "b", "c", "d"]);
}

#[test]
fn comments_other_fields_and_a_byte_order_mark_are_passed_over() {
    assert_eq!(data_of(b"\xef\xbb\xbfdata: a\n\n: ping\n\nid: 7\nretry: 9\ndata:b\ndata:  c\n\n"), ["a", "b\n c"]);
    assert_eq!(events_of(&[b"event: x\ndata\n\n"]), [("x".to_owned(), String::new())]);
}

#[test]
fn line_separators_of_unicode_end_no_line() {
    assert_eq!(data_of("data: a\u{2028}b\u{85}c\n\n".as_bytes()), ["a\u{2028}b\u{85}c"]);
}

#[test]
fn an_event_without_its_empty_line_does_not_count() {
    let mut reader = SseReader::default();
    reader.feed(b"data: a\n\ndata: b\n", &mut |_, data| assert_eq!(data, b"a"));
    assert!(reader.is_inside_event());
    reader.clear();
    assert!(!reader.is_inside_event());
}

#[test]
fn an_endless_event_costs_no_endless_memory() {
    let mut reader = SseReader::default();
    let mut seen = 0;
    for _ in 0..100 {
        reader.feed(&[b'x'; 1 << 17], &mut |_, _| seen += 1);
    }
    reader.feed(b"\n\ndata: a\n\n", &mut |_, _| seen += 1);
    assert_eq!(seen, 1);
}

proptest! {
    #[test]
    fn a_stream_reads_the_same_however_it_is_split(
        lines in prop::collection::vec(("(data|event|id|)", "[ -~é]{0,12}", 0usize..3), 0..30),
        cuts in prop::collection::vec(0usize..400, 0..40),
    ) {
        let mut bytes = Vec::new();
        for (field, value, ending) in &lines {
            let line = if field.is_empty() && value.is_empty() { String::new() } else { format!("{field}:{value}") };
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice([&b"\n"[..], b"\r\n", b"\r"][*ending]);
            if value.len() % 3 == 0 {
                bytes.extend_from_slice(b"\n");
            }
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(events_of(&pieces), events_of(&[&bytes]));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), api in 0usize..4, is_streamed: bool) {
        let call = ModelCall { api: Api::ALL[api], is_streamed, ..streamed(Api::Chat) };
        let mut reading = Reading::default();
        reading.begin(&call);
        reading.feed(1, &bytes);
        reading.end(2, &bytes);
        reading.outcome(Outcome::Ok);
        reading.generation(&call, &sample(Outcome::Ok, 200, 3));
    }
}

fn streamed(api: Api) -> ModelCall {
    ModelCall {
        api,
        is_streamed: true,
        names_model: false,
        prompted: None,
        stall: Duration::from_millis(100),
        goodput: Vec::new(),
    }
}

fn sample(outcome: Outcome, status: u16, done_ms: u64) -> Sample {
    Sample {
        scenario: ScenarioId(0),
        step: StepId(0),
        target: TargetId(0),
        intended_ns: 0,
        sent_ns: Some(1_000_000),
        done_ns: done_ms * 1_000_000,
        outcome,
        status: Some(status),
        phases: PhaseTimes::default(),
        bytes_sent: 0,
        bytes_received: 0,
        body_bytes: 0,
        decoded_body_bytes: 0,
    }
}

/// Feeds events at given milliseconds.
fn read(call: &ModelCall, events: &[(u64, &str)]) -> Reading {
    let mut reading = Reading::default();
    reading.begin(call);
    for (at_ms, data) in events {
        reading.feed(at_ms * 1_000_000, format!("data: {data}\n\n").as_bytes());
    }
    reading.end(events.last().map_or(0, |(at_ms, _)| at_ms * 1_000_000), b"");
    reading
}

const FILTER: &str = r#"{"id":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#;
const ROLE: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}"#;
const HI: &str = r#"{"choices":[{"index":0,"delta":{"content":"Hi \"you\""}}]}"#;
const THINK: &str = r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#;
const TOOL: &str = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#;
const NOTE: &str = r#"{"choices":[{"index":0,"content_filter_offsets":{"check_offset":1}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}"#;

fn value(metrics: &[(Metric, Option<u64>)], metric: Metric) -> Option<u64> {
    metrics.iter().find(|(known, _)| *known == metric).and_then(|(_, value)| *value)
}

#[test]
fn tokens_are_timed_and_other_chunks_are_not() {
    let call = streamed(Api::Chat);
    let events = [
        (10, FILTER),
        (20, ROLE),
        (50, THINK),
        (70, HI),
        (71, NOTE),
        (190, TOOL),
        (195, STOP),
        (199, USAGE),
        (200, "[DONE]"),
    ];
    let reading = read(&call, &events);
    assert_eq!((reading.outcome(Outcome::Ok), reading.detail()), (Outcome::Ok, None));
    let sample = sample(Outcome::Ok, 200, 210);
    let generation = reading.generation(&call, &sample);
    let metrics = generation.metrics(&sample);
    assert_eq!(value(&metrics, Metric::FirstToken), Some(50_000));
    assert_eq!(value(&metrics, Metric::FirstTokenService), Some(49_000));
    assert_eq!(value(&metrics, Metric::FirstVisible), Some(70_000));
    assert_eq!(value(&metrics, Metric::SecondToken), Some(70_000));
    assert_eq!(value(&metrics, Metric::TimePerToken), Some(160_000 / 4));
    assert_eq!(generation.gaps_us, [20_000, 120_000]);
    let tokens = generation.tokens;
    assert_eq!((tokens.generations, tokens.with_usage, tokens.chunks, tokens.stalls), (1, 1, 3, 1));
    assert_eq!((tokens.input, tokens.output, tokens.cached, tokens.reasoning), (9, 5, 4, 2));
    assert_eq!(tokens.finish[FinishReason::Stop as usize], 1);
}

#[test]
fn without_usage_the_chunks_are_the_tokens() {
    let call = streamed(Api::Chat);
    let reading = read(&call, &[(10, HI), (20, HI), (30, STOP)]);
    let tokens = reading.generation(&call, &sample(Outcome::Ok, 200, 31)).tokens;
    assert_eq!((tokens.with_usage, tokens.output), (0, 2));
}

#[test]
fn a_stream_is_whole_only_with_a_finish_reason() {
    let call = streamed(Api::Chat);
    let outcome = |events: &[(u64, &str)]| read(&call, events).outcome(Outcome::Ok);
    assert_eq!(outcome(&[(1, HI), (2, STOP)]), Outcome::Ok, "`[DONE]` may be missing");
    assert_eq!(outcome(&[(1, HI), (2, "[DONE]")]), Outcome::Truncated);
    assert_eq!(outcome(&[(1, HI)]), Outcome::Truncated);
    assert_eq!(outcome(&[]), Outcome::Protocol);
    assert_eq!(outcome(&[(1, HI), (2, "{oops"), (3, STOP)]), Outcome::Protocol);
    assert_eq!(
        outcome(&[(1, HI), (2, r#"{"error":{"message":"gone","code":500}}"#), (3, "[DONE]")]),
        Outcome::StreamError
    );
    let late = r#"{"choices":[{"index":0,"finish_reason":"content_filter","delta":{}}]}"#;
    assert_eq!(outcome(&[(1, HI), (2, STOP), (3, late)]), Outcome::ContentFiltered);
}

#[test]
fn an_error_in_place_of_a_stream_is_heard() {
    let call = streamed(Api::Chat);
    let mut reading = Reading::default();
    reading.begin(&call);
    reading.feed(1, br#"{"error":{"code":"content_filter","message":"no"}}"#);
    reading.end(2, b"");
    assert_eq!(reading.outcome(Outcome::HttpClientError), Outcome::ContentFiltered);
    assert_eq!(reading.detail(), Some("content_filter"));
    let tokens = reading.generation(&call, &sample(Outcome::ContentFiltered, 400, 2)).tokens;
    assert_eq!((tokens.generations, tokens.prompts_filtered), (0, 1));
}

#[test]
fn an_empty_body_in_place_of_a_stream_is_told_apart_from_another_one() {
    let call = streamed(Api::Chat);
    let mut reading = Reading::default();
    for (body, detail) in
        [("", "a stream was asked for and nothing came"), ("<html>", "a stream was asked for and something else came")]
    {
        reading.begin(&call);
        reading.feed(1, body.as_bytes());
        reading.end(2, b"");
        assert_eq!((reading.outcome(Outcome::Ok), reading.detail()), (Outcome::Protocol, Some(detail)));
    }
}

#[test]
fn events_of_the_responses_api_are_read_by_their_type() {
    let call = streamed(Api::Responses);
    let delta = |kind: &str| format!(r#"{{"type":"response.{kind}.delta","sequence_number":3,"delta":"x"}}"#);
    let (think, text) = (delta("reasoning_summary_text"), delta("output_text"));
    let done = r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":3,"output_tokens":7,"output_tokens_details":{"reasoning_tokens":6}}}}"#;
    let events = [
        (5, r#"{"type":"response.created","response":{"status":"in_progress"}}"#),
        (10, &think),
        (20, &text),
        (30, done),
    ];
    let reading = read(&call, &events);
    assert_eq!(reading.outcome(Outcome::Ok), Outcome::Ok);
    let sample = sample(Outcome::Ok, 200, 30);
    let generation = reading.generation(&call, &sample);
    assert_eq!(value(&generation.metrics(&sample), Metric::FirstVisible), Some(20_000));
    assert_eq!((generation.tokens.input, generation.tokens.output, generation.tokens.reasoning), (3, 7, 6));
    let failed =
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}"#;
    assert_eq!(read(&call, &[(1, &text), (2, failed)]).outcome(Outcome::Ok), Outcome::StreamError);
    let cut = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#;
    let reading = read(&call, &[(1, &text), (2, cut)]);
    assert_eq!(reading.generation(&call, &sample).tokens.finish[FinishReason::Length as usize], 1);
}

#[test]
fn whole_bodies_say_what_their_streams_would() {
    let bodies = [
        (
            Api::Chat,
            r#"{"choices":[{"message":{"content":"a"},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        ),
        (
            Api::Completions,
            r#"{"choices":[{"text":"a","finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        ),
        (
            Api::Responses,
            r#"{"object":"response","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"error":null,"usage":{"input_tokens":1,"output_tokens":2}}"#,
        ),
    ];
    for (api, body) in bodies {
        let call = ModelCall { is_streamed: false, ..streamed(api) };
        let mut reading = Reading::default();
        reading.begin(&call);
        reading.end(5, body.as_bytes());
        assert_eq!(reading.outcome(Outcome::Ok), Outcome::Ok, "{api:?}");
        let tokens = reading.generation(&call, &sample(Outcome::Ok, 200, 5)).tokens;
        assert_eq!((tokens.input, tokens.output, tokens.finish[FinishReason::Length as usize]), (1, 2, 1), "{api:?}");
    }
}

#[test]
fn a_request_is_good_when_it_meets_every_bound() {
    let bound = |metric, limit_us| Bound { text: String::new(), metric, comparison: Comparison::Below, limit_us };
    let good = |goodput: Vec<Bound>, outcome| {
        let call = ModelCall { goodput, ..streamed(Api::Chat) };
        let reading = read(&call, &[(50, HI), (70, HI), (90, STOP)]);
        reading.generation(&call, &sample(outcome, 200, 90)).tokens.good
    };
    assert_eq!(good(vec![bound(Metric::FirstToken, 50_001.0), bound(Metric::InterToken, 20_001.0)], Outcome::Ok), 1);
    assert_eq!(good(vec![bound(Metric::FirstToken, 50_000.0), bound(Metric::InterToken, 20_001.0)], Outcome::Ok), 0);
    assert_eq!(good(vec![bound(Metric::InterToken, 20_000.0)], Outcome::Ok), 0);
    assert_eq!(good(vec![bound(Metric::ResponseTime, 1e9)], Outcome::CheckFailed), 0);
    assert_eq!(good(vec![bound(Metric::FirstVisible, 1e9)], Outcome::Ok), 0, "nothing came to be measured");
    assert_eq!(good(Vec::new(), Outcome::Ok), 0, "nobody asked");
}
