//! What drafts promise, whatever was asked.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::ask::Api;
use super::*;

const LENGTHS: Lengths =
    Lengths { completion_p50: 40.0, completion_p99: 200.0, reasoning_p50: 20.0, reasoning_p99: 60.0 };

fn ask(extra: Value) -> Ask {
    let mut body = json!({"messages": [{"role": "user", "content": "Hello"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    Ask::parse(Api::Chat, body.to_string().as_bytes()).unwrap_or_else(|_| panic!("refused: {body}"))
}

fn in_pieces(draft: &Draft) -> Vec<(Kind, String)> {
    let mut runs: Vec<(Kind, String)> = Vec::new();
    for index in 0..draft.tokens {
        let kind = draft.kind(index);
        if runs.last().is_none_or(|(last, _)| *last != kind) {
            runs.push((kind, String::new()));
        }
        let run = &mut runs.last_mut().unwrap().1;
        let before = run.len();
        draft.say(index, before, run);
    }
    runs
}

proptest! {
    /// Token by token or whole, the text is the same, and no limit is passed.
    #[test]
    fn pieces_make_the_whole(seed: u64, limit in 1..400u32, tools in 0..3usize, is_json: bool) {
        let names = ["sail", "moor", "reef"];
        let tools: Vec<Value> = names[..tools].iter().map(|name| json!({"function": {"name": name}})).collect();
        let format = if is_json { "json_object" } else { "text" };
        let ask = ask(json!({"max_tokens": limit, "tools": tools, "response_format": {"type": format}}));
        let draft = Draft::draw(&ask, &LENGTHS, &[], seed);
        prop_assert!((1..=limit).contains(&draft.tokens) && draft.reasoning <= draft.tokens);
        for (kind, text) in in_pieces(&draft) {
            prop_assert_eq!(draft.whole(kind), text);
        }
        if draft.finish != Finish::Length {
            for call in 0..draft.calls().len() as u32 {
                let arguments = draft.whole(Kind::ToolArguments(call));
                prop_assert!(serde_json::from_str::<Value>(&arguments).is_ok(), "{}", arguments);
            }
            if is_json && tools.is_empty() {
                prop_assert!(serde_json::from_str::<Value>(&draft.whole(Kind::Content)).is_ok());
            }
        }
    }

    /// A stop is never in the content, and the content is what came before it.
    #[test]
    fn a_stop_ends_the_content_before_it(seed: u64, stop in "(sea|gust| a gr|the wind|s set)") {
        let free = Draft::draw(&ask(json!({})), &LENGTHS, &[], seed).whole(Kind::Content);
        let draft = Draft::draw(&ask(json!({"stop": [stop]})), &LENGTHS, &[], seed);
        let content = draft.whole(Kind::Content);
        match free.find(&stop) {
            Some(end) => prop_assert_eq!((content.as_str(), draft.finish), (&free[..end], Finish::Stop)),
            None => prop_assert_eq!(content, free),
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_draft_and_another_another() {
    let draw = |seed| Draft::draw(&ask(json!({})), &LENGTHS, &[], seed);
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5).whole(Kind::Content), draw(6).whole(Kind::Content));
}

#[test]
fn a_filtered_word_ends_the_answer_as_the_filter_does() {
    let filtered = ["sea".to_owned()];
    let draft = Draft::draw(&ask(json!({"max_tokens": 100_000})), &LENGTHS, &filtered, 3);
    assert_eq!(draft.finish, Finish::ContentFilter);
    assert!(!draft.whole(Kind::Content).contains("sea"));
}

#[test]
fn effort_none_means_no_reasoning_and_high_means_more() {
    let reasoning = |effort: &str| {
        let ask = ask(json!({"reasoning_effort": effort}));
        (0..50).map(|seed| Draft::draw(&ask, &LENGTHS, &[], seed).reasoning).sum::<u32>()
    };
    assert_eq!(reasoning("none"), 0);
    assert!(reasoning("high") > reasoning("low"));
}
