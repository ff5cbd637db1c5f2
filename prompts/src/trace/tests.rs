use super::*;
use crate::tokens::testing;
use serde_json::Value;
use squall_common::plan::prompts::DataFile;
use std::sync::Arc;
use std::time::Duration;

const AZURE: &str = concat!(
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
    "2023-11-16 18:17:03.9799600,4808,10\r\n",
    "2023-11-16 18:17:04.0319600,3180,8\r\n",
    "2023-11-16 18:17:05.9799600,110,0\r\n",
);

const MOONCAKE: &str = concat!(
    "{\"timestamp\": 0, \"input_length\": 1500, \"output_length\": 52, \"hash_ids\": [46, 47, 48]}\n",
    "{\"timestamp\": 3000, \"input_length\": 1100, \"output_length\": 7, \"hash_ids\": [46, 47, 99]}\n",
    "{\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 9, \"hash_ids\": [47]}\n",
);

fn spec(text: &str) -> TraceReplay {
    let file = DataFile { name: "trace".to_owned(), bytes: text.to_owned().into() };
    TraceReplay { file, speed: 1.0, start: Duration::ZERO, length: None }
}

fn read(spec: &TraceReplay) -> Result<Trace, PromptProblems> {
    Trace::read(spec, 3, &TokenCounter::Exact(Arc::new(testing::Words)))
}

fn offsets(spec: &TraceReplay) -> Vec<u64> {
    read(spec).unwrap().entries().iter().map(|entry| entry.offset_ns).collect()
}

fn found(text: &str) -> Vec<(u32, u32, String)> {
    let problems = read(&spec(text)).map(drop).unwrap_err().problems;
    problems.into_iter().map(|problem| (problem.place.line, problem.place.column, problem.message)).collect()
}

fn words(trace: &Trace, number: u64) -> Vec<String> {
    let messages: Value = serde_json::from_slice(trace.prompt(number).messages_json()).unwrap();
    messages[0]["content"].as_str().unwrap().split(' ').map(str::to_owned).collect()
}

#[test]
fn an_azure_trace_is_replayed_to_the_nanosecond() {
    let trace = read(&spec(AZURE)).unwrap();
    let told: Vec<_> =
        trace.entries().iter().map(|entry| (entry.offset_ns, entry.input_tokens, entry.output_tokens)).collect();
    assert_eq!(told, [(0, 4808, 10), (52_000_000, 3180, 8), (2_000_000_000, 110, 1)]);
    for number in 0..3 {
        let prompt = trace.prompt(number);
        assert_eq!(words(&trace, number).len() as u32, told[number as usize].1);
        assert_eq!(
            (prompt.tokens().tokens, prompt.max_tokens()),
            (told[number as usize].1, Some(told[number as usize].2))
        );
    }
    assert_ne!(words(&trace, 0)[..16], words(&trace, 1)[..16]);
    assert_eq!(trace.prompt(3).tokens(), trace.prompt(0).tokens());
}

#[test]
fn columns_may_stand_in_any_order_with_others_between() {
    let trace = read(&spec("GeneratedTokens,x,ContextTokens,TIMESTAMP\n5,?,6,2024-05-10 00:00:00+00:00\n")).unwrap();
    assert_eq!((trace.entries()[0].input_tokens, trace.entries()[0].output_tokens), (6, 5));
}

#[test]
fn speed_and_cut_apply_to_the_traces_own_time() {
    assert_eq!(offsets(&TraceReplay { speed: 2.0, ..spec(AZURE) }), [0, 26_000_000, 1_000_000_000]);
    let late = TraceReplay { start: Duration::from_millis(50), ..spec(AZURE) };
    assert_eq!(offsets(&late), [2_000_000, 1_950_000_000]);
    let cut = TraceReplay { length: Some(Duration::from_secs(1)), speed: 0.5, ..late };
    assert_eq!(offsets(&cut), [4_000_000]);
    let nothing = TraceReplay { start: Duration::from_secs(60), ..spec(AZURE) };
    assert!(read(&nothing).map(drop).unwrap_err().to_string().contains("within the time asked for"));
    assert!(read(&TraceReplay { speed: 0.0, ..spec(AZURE) }).map(drop).unwrap_err().to_string().contains("above 0"));
}

#[test]
fn lines_out_of_order_are_sorted_and_ties_stay() {
    let mut lines: Vec<&str> = MOONCAKE.lines().collect();
    lines.rotate_left(1);
    let trace = read(&spec(&lines.join("\n"))).unwrap();
    let told: Vec<_> = trace.entries().iter().map(|entry| (entry.offset_ns, entry.input_tokens)).collect();
    assert_eq!(told, [(0, 1500), (3_000_000_000, 1100), (3_000_000_000, 600)]);
}

#[test]
fn the_same_hash_id_is_the_same_block_of_text() {
    let trace = read(&spec(MOONCAKE)).unwrap();
    let (first, second, third) = (words(&trace, 0), words(&trace, 1), words(&trace, 2));
    assert_eq!((first.len(), second.len(), third.len()), (1500, 1100, 600));
    assert_eq!(first[..1024], second[..1024]);
    assert_ne!(first[1024..1040], second[1024..1040]);
    // Block 47, at another place; after it the trace tells no block, and nothing is shared.
    assert_eq!(first[512..1024], third[..512]);
    assert_ne!(first[1024..1040], third[512..528]);
}

#[test]
fn every_bad_line_of_a_csv_is_told_with_its_column() {
    let text = concat!(
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
        "2023-11-16 18:17:03.9799600,4808,10\r\n",
        "yesterday,-1,10\r\n",
        "2023-11-16 18:17:03,1\r\n",
        "2023-11-16 18:17:03,1,9999999\r\n",
    );
    let expected = [
        (3, 1, "TIMESTAMP: `yesterday` is not a time such as `2023-11-16 18:17:03.9799600`"),
        (3, 11, "ContextTokens: `-1` is not a whole number"),
        (4, 1, "2 fields where the header names 3"),
        (5, 23, "GeneratedTokens: 9999999 tokens are more than 4000000"),
    ];
    assert_eq!(found(text), expected.map(|(line, column, message)| (line, column, message.to_owned())));
}

#[test]
fn every_bad_line_of_a_mooncake_trace_is_told_with_its_column() {
    let text = concat!(
        "{\"timestamp\": -5, \"input_length\": 1, \"output_length\": 1.5, \"hash_ids\": [1]}\n",
        "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [\"a\"]}\n",
        "{\"timestamp\": 0, \"input_length\": 1}\n",
        "{\"timestamp\": 0, oops}\n",
    );
    let expected = [
        (1, 2, "timestamp: `-5` is not a time in milliseconds"),
        (1, 38, "output_length: `1.5` is not a whole number"),
        (2, 57, "hash_ids: `\"a\"` is not a whole number"),
        (3, 1, "output_length: it is missing"),
        (4, 18, "this is not a JSON object"),
    ];
    assert_eq!(found(text), expected.map(|(line, column, message)| (line, column, message.to_owned())));
}

#[test]
fn a_trace_of_no_known_shape_says_what_is_known() {
    assert_eq!(found("when,what\n1,2\n")[0].2, "the header has no column TIMESTAMP, ContextTokens, GeneratedTokens");
    assert_eq!(found("")[0].2, "no requests in this trace");
    assert_eq!(found("TIMESTAMP,ContextTokens,GeneratedTokens\r\n")[0].2, "no requests in this trace");
}
