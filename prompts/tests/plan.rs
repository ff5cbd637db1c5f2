//! From what a person writes to what a server is sent.

use proptest::prelude::*;
use serde_json::{Value, json};
use squall_common::plan::file::{PlanSource, load};
use squall_common::plan::prompts::{
    DataFile, Output, PromptOrder, Prompts, PromptsFrom, Take, TokenizerChoice, TraceReplay,
};
use squall_prompts::{PromptProblems, PromptSource};
use std::time::Duration;

const PLAN: &str = r#"
target: http://127.0.0.1
rate: 1/s
hold_for: 10s
prompts:
  chats: {file: chats.jsonl, output: recorded}
  long: {tokens: {p50: 80, p99: 800}, prefix: {tokens: 100, count: 5, zipf: 1}, turns: 2, output: 64}
  monday: {trace: azure.csv, speed: 2}
"#;

#[test]
fn a_plans_prompts_become_what_is_sent() {
    let files = [
        ("chats.jsonl", "{\"prompt\": \"Say \\\"hello\\\"\", \"completion\": \"Hello, hello\"}\n"),
        (
            "azure.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,7,5\r\n2023-11-16 18:17:05.9799600,9,6\r\n",
        ),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.into())).into();
    let plan = load(&PlanSource { name: "plan.yaml".into(), text: PLAN.into(), files, ..PlanSource::default() });
    let plan = plan.unwrap().plan;
    let [chats, long, monday] = plan.prompts.as_slice() else { panic!("{:?}", plan.prompts) };
    let built = |prompts| PromptSource::build(prompts, plan.seed).unwrap();

    let chat = built(chats).prompt(0);
    let body = [b"{\"messages\":".as_slice(), chat.messages_json(), b",\"stream\":true}"].concat();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({"messages": [{"role": "user", "content": "Say \"hello\""}], "stream": true}));
    assert_eq!(chat.max_tokens(), Some(3));

    let mut talk = built(long).conversation(3);
    assert!(talk.next_turn(None).unwrap().tokens().tokens > 100);
    assert_eq!(talk.next_turn(Some("yes")).unwrap().max_tokens(), Some(64));
    assert_eq!(talk.next_turn(Some("no")), None);

    let monday = built(monday);
    let offsets: Vec<u64> = monday.trace().unwrap().entries().iter().map(|entry| entry.offset_ns).collect();
    assert_eq!((offsets, monday.prompt(1).tokens().tokens), (vec![0, 1_000_000_000], 9));
}

fn read(bytes: &[u8], is_trace: bool) -> Result<PromptSource, PromptProblems> {
    let file = DataFile { name: "x".to_owned(), bytes: bytes.to_vec().into() };
    let from = match is_trace {
        true => PromptsFrom::Trace(TraceReplay { file, speed: 1.0, start: Duration::ZERO, length: None }),
        false => PromptsFrom::File { file, order: PromptOrder::Sequential, take: Take::LastTurn },
    };
    let tokenizer = TokenizerChoice::Estimate;
    PromptSource::build(&Prompts { name: "p".to_owned(), from, output: Output::Recorded, tokenizer }, 1)
}

const RECORDS: &[&str] = &[
    "{\"prompt\": \"a\"}",
    "{\"messages\": [{\"role\": \"assistant\", \"content\": \"b\"}, {\"role\": \"user\", \"content\": []}]}",
    "{\"messages\": [{\"role\": \"user\", \"content\": \"\"}, {\"role\": \"assistant\", \"tool_calls\": 1}]}",
    "[{\"role\": \"user\", \"content\": \"\\ud83d\\ude00\"}, {\"role\": \"tool\", \"content\": \"c\"}]",
    "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"d\"}, {\"from\": \"human\", \"value\": \"e\"}]}",
    "",
];
const AZURE: &[&str] =
    &["2023-11-16 18:17:03.9799600,7,5", "9999-12-31 23:59:60.999999999-23:59,0,0", "0000-01-01 00:00:00,4000,1", ""];
const MOONCAKE: &[&str] = &[
    "{\"timestamp\": 18446744073709551615, \"input_length\": 600, \"output_length\": 9, \"hash_ids\": [47]}",
    "{\"timestamp\": 0.5, \"input_length\": 0, \"output_length\": 0}",
    "{\"timestamp\": 3, \"input_length\": 1, \"output_length\": 2, \"hash_ids\": [18446744073709551615, 1, 2]}",
];
const BROKEN: &[&str] = &["[", "]}", ",", "null", "18446744073709551616", "-1.5e300,", "{\"prompt\"", "é", "\u{feff}"];

/// Lines of real files, some with something broken in them.
fn any_file() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let of = |head: &'static str, lines: &'static [&'static str], is_trace: bool| {
        let broken = prop_oneof![
            20 => Just(Vec::new()),
            1 => prop::sample::select(BROKEN).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..6),
        ];
        let line = (prop::sample::select(lines), broken, prop::sample::select(&["\n", "\r\n"][..]))
            .prop_map(|(line, broken, end)| [&broken, line.as_bytes(), end.as_bytes()].concat());
        prop::collection::vec(line, 0..8).prop_map(move |lines| ([head.as_bytes(), &lines.concat()].concat(), is_trace))
    };
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";
    prop_oneof![of("", RECORDS, false), of("\u{feff}", RECORDS, false), of(header, AZURE, true), of("", MOONCAKE, true)]
}

proptest! {
    /// What is read can be asked for; what is not has its reason.
    #[test]
    fn no_file_makes_a_reader_panic((bytes, is_trace) in any_file()) {
        match read(&bytes, is_trace) {
            Ok(source) => {
                for number in [0, 1, u64::MAX] {
                    prop_assert!(serde_json::from_slice::<Value>(source.prompt(number).messages_json()).is_ok());
                    let mut talk = source.conversation(number);
                    prop_assert!(talk.turns() > 0);
                    while let Some(prompt) = talk.next_turn(Some("x")) {
                        prop_assert!(serde_json::from_slice::<Value>(prompt.messages_json()).is_ok());
                    }
                }
            }
            Err(problems) => prop_assert!(!problems.problems.is_empty() && problems.to_string().contains("problem")),
        }
    }
}
