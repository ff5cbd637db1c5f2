use super::*;
use crate::tokens::testing::Words;
use serde_json::{Value, json};
use squall_common::plan::prompts::{
    DataFile, Length, Output, PromptOrder, Prompts, PromptsFrom, SharedPrefix, Synthetic, Take, TokenizerChoice,
};
use std::sync::Arc;

fn source(from: PromptsFrom, output: Output) -> PromptSource {
    let spec = Prompts { name: "p".to_owned(), from, output, tokenizer: TokenizerChoice::Estimate };
    PromptSource::build_with(&spec, 7, TokenCounter::Exact(Arc::new(Words))).unwrap()
}

fn recorded(text: &str) -> PromptSource {
    let file = DataFile { name: "chats.jsonl".to_owned(), bytes: text.to_owned().into() };
    source(PromptsFrom::File { file, order: PromptOrder::Sequential, take: Take::FirstTurn }, Output::Recorded)
}

fn made_up(turns: Length) -> PromptSource {
    let prefix = SharedPrefix { tokens: 12, count: 2, zipf: 0.0 };
    let from = Synthetic { tokens: Length::Uniform { min: 3, max: 9 }, prefix: Some(prefix), turns };
    source(PromptsFrom::Synthetic(from), Output::Drawn(Length::Uniform { min: 1, max: 100 }))
}

fn messages(prompt: &Prompt) -> Value {
    serde_json::from_slice(prompt.messages_json()).unwrap()
}

fn roles(prompt: &Prompt) -> Vec<String> {
    messages(prompt).as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap().to_owned()).collect()
}

const TALK: &str = concat!(
    r#"{"conversations": [{"from": "system", "value": "be brief"}, {"from": "human", "value": "one two"}, "#,
    r#"{"from": "gpt", "value": "recorded answer here"}, {"from": "human", "value": "three"}, {"from": "gpt", "value": "x"}]}"#,
);

#[test]
fn the_models_real_answer_takes_the_place_of_the_recorded_one() {
    let mut talk = recorded(TALK).conversation(0);
    assert_eq!(talk.turns(), 2);
    let first = talk.next_turn(None).unwrap();
    assert_eq!(
        messages(&first),
        json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two"}])
    );
    assert_eq!((first.tokens().tokens, first.max_tokens()), (4, Some(3)));
    let second = talk.next_turn_after(Some(Answer { text: "so \"it\" is", tokens: Some(6) })).unwrap();
    let expected = json!([
        {"role": "system", "content": "be brief"}, {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "so \"it\" is"}, {"role": "user", "content": "three"},
    ]);
    assert_eq!(messages(&second), expected);
    assert_eq!((second.tokens(), second.max_tokens()), (TokenCount { tokens: 11, exact: true }, Some(1)));
    assert_eq!(second.input_json(), "\"be brief\\none two\\nso \\\"it\\\" is\\nthree\"");
    assert_eq!((talk.next_turn(Some("more")), talk.turns_taken()), (None, 2));
}

#[test]
fn the_first_turn_of_a_conversation_is_the_prompt_of_its_number() {
    for source in [recorded(TALK), made_up(Length::Fixed(4))] {
        for number in 0..5 {
            let (turn, prompt) = (source.conversation(number).next_turn(None).unwrap(), source.prompt(number));
            assert_eq!(turn.messages_json(), prompt.messages_json());
            let told = |prompt: &Prompt| (prompt.tokens(), prompt.max_tokens(), prompt.prefix());
            assert_eq!(told(&turn), told(&prompt));
        }
    }
}

#[test]
fn an_answer_without_a_count_makes_the_tokens_an_estimate() {
    let mut talk = recorded(TALK).conversation(0);
    assert!(talk.next_turn(None).unwrap().tokens().exact);
    let second = talk.next_turn(Some("twelve chars")).unwrap();
    assert_eq!(second.tokens(), TokenCount { tokens: 8, exact: false });
}

#[test]
fn a_turn_without_an_answer_goes_on_and_an_answer_to_nothing_is_ignored() {
    let mut talk = recorded(TALK).conversation(0);
    assert_eq!(roles(&talk.next_turn(Some("to nothing")).unwrap()), ["system", "user"]);
    assert_eq!(roles(&talk.next_turn(None).unwrap()), ["system", "user", "user"]);
}

#[test]
fn made_up_conversations_have_their_prefix_once_and_their_turns_from_the_distribution() {
    let source = made_up(Length::Uniform { min: 2, max: 5 });
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..40 {
        let mut talk = source.conversation(number);
        seen.insert(talk.turns());
        let mut last = talk.next_turn(None).unwrap();
        while let Some(prompt) = talk.next_turn(Some("yes")) {
            assert!(messages(&prompt).as_array().unwrap().starts_with(messages(&last).as_array().unwrap()));
            last = prompt;
        }
        let roles = roles(&last);
        assert_eq!(roles.iter().filter(|role| *role == "system").count(), 1);
        assert_eq!(roles.iter().filter(|role| *role == "user").count() as u32, talk.turns());
        let words: usize = messages(&last)
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["content"].as_str().unwrap().split(' ').count())
            .sum();
        // "yes" is one word and one estimated token.
        assert_eq!(last.tokens().tokens as usize, words);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[test]
fn what_tools_said_to_the_recorded_answers_is_not_said_again() {
    let mut talk = recorded(concat!(
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}, "#,
        r#"{"role": "tool", "tool_call_id": "1", "content": "42"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}"#,
    ))
    .conversation(0);
    talk.next_turn(None).unwrap();
    let last = talk.next_turn(Some("x")).unwrap();
    assert_eq!((roles(&last), talk.turns()), (["user", "assistant", "user"].map(str::to_owned).to_vec(), 2));
}
