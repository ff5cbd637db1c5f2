use super::*;
use crate::tokens::testing::Words;
use proptest::prelude::*;
use serde_json::{Value, json};
use squall_common::plan::prompts::{
    DataFile, Length, Message, PromptOrder, Role, SharedPrefix, Synthetic, TokenizerChoice,
};
use std::collections::{BTreeMap, BTreeSet};

fn spec(from: PromptsFrom, output: Output) -> Prompts {
    Prompts { name: "p".to_owned(), from, output, tokenizer: TokenizerChoice::Estimate }
}

fn file(text: &str, order: PromptOrder, take: Take) -> PromptsFrom {
    let file = DataFile { name: "chats.jsonl".to_owned(), bytes: text.to_owned().into() };
    PromptsFrom::File { file, order, take }
}

fn synthetic(tokens: Length, prefix: Option<SharedPrefix>) -> PromptsFrom {
    PromptsFrom::Synthetic(Synthetic { tokens, prefix, turns: Length::Fixed(1) })
}

fn source(from: PromptsFrom, output: Output) -> PromptSource {
    PromptSource::build_with(&spec(from, output), 7, TokenCounter::Exact(Arc::new(Words))).unwrap()
}

fn messages(prompt: &Prompt) -> Value {
    serde_json::from_slice(prompt.messages_json()).unwrap()
}

fn input(prompt: &Prompt) -> String {
    serde_json::from_slice(&prompt.input_json()).unwrap()
}

const TALK: &str = concat!(
    r#"{"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a b c"}, "#,
    r#"{"role": "assistant", "content": "d e"}, {"role": "user", "content": "f"}, {"role": "assistant", "content": "g h i j"}]}"#,
);

#[test]
fn a_recorded_prompt_ends_before_the_first_answer_or_after_the_last_question() {
    let first = source(file(TALK, PromptOrder::Sequential, Take::FirstTurn), Output::Recorded).prompt(0);
    let expected = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "a b c"}]);
    assert_eq!((messages(&first), input(&first).as_str()), (expected, "be brief\na b c"));
    assert_eq!((first.tokens(), first.max_tokens()), (TokenCount { tokens: 5, exact: true }, Some(2)));

    let last = source(file(TALK, PromptOrder::Sequential, Take::LastTurn), Output::Recorded).prompt(0);
    assert_eq!(messages(&last).as_array().unwrap().len(), 4);
    assert_eq!((last.tokens().tokens, last.max_tokens()), (8, Some(4)));
}

#[test]
fn a_recorded_answer_that_is_not_there_limits_nothing() {
    let source = source(file("{\"prompt\": \"x\"}", PromptOrder::Sequential, Take::FirstTurn), Output::Recorded);
    assert_eq!(source.prompt(0).max_tokens(), None);
}

#[test]
fn messages_in_the_plan_are_sent_as_they_are_written() {
    let said = |role, content: &str| Message { role, content: content.to_owned() };
    let prompts = vec![
        vec![
            said(Role::System, "s"),
            said(Role::User, "say \"hi\"\n"),
            said(Role::Assistant, "hi"),
            said(Role::User, "b"),
        ],
        vec![said(Role::User, "c")],
    ];
    let source = source(PromptsFrom::Inline { prompts, order: PromptOrder::Sequential }, Output::Unlimited);
    let first = messages(&source.prompt(0));
    assert_eq!(first[1], json!({"role": "user", "content": "say \"hi\"\n"}));
    assert_eq!(first.as_array().unwrap().len(), 4);
    assert_eq!(
        (messages(&source.prompt(1)), source.prompt(3)),
        (json!([{"role": "user", "content": "c"}]), source.prompt(1))
    );
    assert_eq!((source.records(), source.prompt(0).max_tokens()), (Some(2), None));
}

#[test]
fn what_cannot_be_built_says_why() {
    let problem = |from, output| PromptSource::build(&spec(from, output), 1).unwrap_err().to_string();
    let nothing = PromptsFrom::Inline { prompts: vec![], order: PromptOrder::Random };
    assert_eq!(problem(nothing, Output::Unlimited), "prompts `p`: no prompt is given\n1 problem");
    let prefix = SharedPrefix { tokens: 5, count: 0, zipf: 1.0 };
    let shown = problem(synthetic(Length::Fixed(5), Some(prefix)), Output::Unlimited);
    assert!(shown.contains("prefix count: 0 is not from 1"), "{shown}");
    let shown = problem(synthetic(Length::Uniform { min: 2, max: 1 }, None), Output::Unlimited);
    assert!(shown.contains("prompts `p`: tokens: min (2) is above max (1)"), "{shown}");
    let shown = problem(synthetic(Length::Fixed(5), None), Output::Drawn(Length::Fixed(0)));
    assert!(shown.contains("output: length: 0"), "{shown}");
    let shown = problem(file("{}\n\n7", PromptOrder::Random, Take::FirstTurn), Output::Unlimited);
    assert!(shown.contains("chats.jsonl:1:1") && shown.contains("chats.jsonl:3:1"), "{shown}");
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("{{\"prompt\": \"{n}\"}}\n")).collect()
}

fn any_source() -> impl Strategy<Value = PromptsFrom> {
    let order = prop_oneof![Just(PromptOrder::Sequential), Just(PromptOrder::Random), Just(PromptOrder::Shuffled)];
    let prefix = prop::option::of(Just(SharedPrefix { tokens: 20, count: 9, zipf: 1.0 }));
    prop_oneof![
        (1usize..40, order).prop_map(|(count, order)| file(&lines(count), order, Take::FirstTurn)),
        (1u32..200, prefix).prop_map(|(max, prefix)| synthetic(Length::Uniform { min: 1, max }, prefix)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two agents with sources of their own, asked in different orders.
    #[test]
    fn agents_never_disagree_about_a_number(from in any_source(), numbers in prop::collection::vec(any::<u64>(), 1..20)) {
        let output = Output::Drawn(Length::Uniform { min: 1, max: 1_000 });
        let (here, there) = (source(from.clone(), output.clone()), source(from, output));
        let mut told: BTreeMap<u64, Prompt> = numbers.iter().map(|&number| (number, here.prompt(number))).collect();
        for number in numbers.iter().rev() {
            prop_assert_eq!(told.remove(number).unwrap_or_else(|| here.prompt(*number)), there.prompt(*number));
        }
    }

    #[test]
    fn a_shuffled_round_has_every_record_once(count in 1usize..60, round in 0u64..3) {
        let source = source(file(&lines(count), PromptOrder::Shuffled, Take::FirstTurn), Output::Unlimited);
        let first = round * count as u64;
        let drawn: BTreeSet<String> = (first..first + count as u64).map(|number| input(&source.prompt(number))).collect();
        prop_assert_eq!(drawn.len(), count);
    }

    #[test]
    fn a_made_up_prompt_is_as_long_as_it_says(from in (1u32..3_000, 1u32..500, any::<bool>()), number in any::<u64>()) {
        let (tokens, prefix, prefixed) = from;
        let prefix = prefixed.then_some(SharedPrefix { tokens: prefix, count: 10, zipf: 0.5 });
        let prompt = source(synthetic(Length::Fixed(tokens), prefix), Output::Unlimited).prompt(number);
        let asked = tokens + prefix.map_or(0, |prefix| prefix.tokens);
        prop_assert_eq!(prompt.tokens(), TokenCount { tokens: asked, exact: true });
        let said: u32 = messages(&prompt).as_array().unwrap().iter()
            .map(|message| message["content"].as_str().unwrap().split(' ').count() as u32)
            .sum();
        prop_assert_eq!((said, input(&prompt).split(' ').count() as u32), (asked, asked));
    }
}

#[cfg(feature = "tiktoken")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_drawn_length_is_the_length_tiktoken_counts(max in 1u32..2_000, number in any::<u64>(), seed in any::<u64>()) {
        let prefix = SharedPrefix { tokens: 128, count: 10, zipf: 1.0 };
        let mut spec = spec(synthetic(Length::Uniform { min: 1, max }, Some(prefix)), Output::Unlimited);
        spec.tokenizer = TokenizerChoice::OpenAi("gpt-4o".to_owned());
        let source = PromptSource::build(&spec, seed).unwrap();
        prop_assert_eq!(source.counter().name(), "o200k_base");
        let prompt = source.prompt(number);
        let tokenizer = source.counter().tokenizer().unwrap();
        let said: usize = messages(&prompt).as_array().unwrap().iter()
            .map(|message| tokenizer.encode(message["content"].as_str().unwrap()).unwrap().len())
            .sum();
        prop_assert_eq!(prompt.tokens(), TokenCount { tokens: said as u32, exact: true });
        prop_assert_eq!(tokenizer.encode(&input(&prompt)).unwrap().len(), said);
    }
}

#[test]
fn prompts_of_one_prefix_begin_alike_and_part_after_it() {
    let prefix = SharedPrefix { tokens: 64, count: 3, zipf: 1.0 };
    let source = source(synthetic(Length::Fixed(30), Some(prefix)), Output::Unlimited);
    let mut beginnings: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut own = BTreeSet::new();
    for number in 0..300 {
        let prompt = source.prompt(number);
        let said = messages(&prompt);
        beginnings.entry(prompt.prefix().unwrap()).or_default().insert(said[0]["content"].to_string());
        own.insert(said[1]["content"].to_string());
    }
    let all: BTreeSet<&String> = beginnings.values().flatten().collect();
    assert_eq!((beginnings.len(), all.len(), own.len()), (3, 3, 300));
    assert!(beginnings.values().all(|texts| texts.len() == 1));
}

/// What a cache that forgets nothing would find: steered by `zipf` alone.
#[test]
fn a_steeper_popularity_makes_the_first_prefix_more_common() {
    let share_of_first = |zipf| {
        let prefix = SharedPrefix { tokens: 2, count: 50, zipf };
        let source = source(synthetic(Length::Fixed(2), Some(prefix)), Output::Unlimited);
        (0..20_000).filter(|&number| source.prompt(number).prefix() == Some(0)).count() as f64 / 20_000.0
    };
    for zipf in [0.0, 1.0, 2.0] {
        let sum: f64 = (1..=50).map(|k| f64::from(k).powf(-zipf)).sum();
        let (is, wanted) = (share_of_first(zipf), 1.0 / sum);
        // Four standard deviations of a share of 20,000 draws.
        let by = 4.0 * (wanted * (1.0 - wanted) / 20_000.0).sqrt();
        assert!((is - wanted).abs() < by, "zipf {zipf}: {is}, wanted {wanted} ± {by}");
    }
}

#[test]
fn seeds_and_names_part_sources() {
    let built = |name: &str, seed| {
        let spec = Prompts { name: name.to_owned(), ..spec(synthetic(Length::Fixed(9), None), Output::Unlimited) };
        PromptSource::build(&spec, seed).unwrap().prompt(0)
    };
    assert_eq!(built("a", 1), built("a", 1));
    assert_ne!(built("a", 1), built("a", 2));
    assert_ne!(built("a", 1), built("b", 1));
}

#[test]
fn the_estimate_is_stated_and_never_called_exact() {
    let source = PromptSource::build(&spec(synthetic(Length::Fixed(40), None), Output::Unlimited), 1).unwrap();
    let prompt = source.prompt(0);
    assert_eq!(prompt.tokens(), TokenCount { tokens: 40, exact: false });
    assert_eq!(input(&prompt).len().div_ceil(4), 40);
    assert_eq!(source.counter().name(), "estimate (characters / 4)");
}
