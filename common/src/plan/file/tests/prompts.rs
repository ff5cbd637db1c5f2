//! Every way to write prompts, and the plan it becomes.

use super::*;
use crate::plan::prompts::*;

fn built(text: &str, files: &[&str]) -> Prompts {
    let text = format!("target: http://h\nrate: 1/s\nhold_for: 10s\nprompts: {{p: {text}}}\n");
    assert_eq!(referenced_files(&text, &[]), files);
    let files = files.iter().map(|file| ((*file).to_owned(), Bytes::from_static(b"content"))).collect();
    match load(&PlanSource { files, ..source(&text) }) {
        Ok(mut loaded) => {
            let again = load(&PlanSource {
                text: loaded.resolved_yaml.clone(),
                files: referenced_files(&text, &[]).into_iter().map(|file| (file, "content".into())).collect(),
                ..source("")
            });
            assert_eq!(again.unwrap().plan.prompts, loaded.plan.prompts);
            loaded.plan.prompts.remove(0)
        }
        Err(problems) => panic!("{problems}"),
    }
}

fn file(name: &str) -> DataFile {
    DataFile { name: name.to_owned(), bytes: Bytes::from_static(b"content") }
}

fn length(text: &str) -> Length {
    match built(&format!("{{tokens: {text}}}"), &[]).from {
        PromptsFrom::Synthetic(Synthetic { tokens, .. }) => tokens,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_alone_is_recorded_prompts() {
    let expected = Prompts {
        name: "p".to_owned(),
        from: PromptsFrom::File { file: file("c.jsonl"), order: PromptOrder::Sequential, take: Take::FirstTurn },
        output: Output::Unlimited,
        tokenizer: TokenizerChoice::Estimate,
    };
    assert_eq!(built("c.jsonl", &["c.jsonl"]), expected);
    let all = "{file: c.jsonl, order: shuffled, take: last_turn, output: recorded, tokenizer: t.json}";
    let expected = Prompts {
        from: PromptsFrom::File { file: file("c.jsonl"), order: PromptOrder::Shuffled, take: Take::LastTurn },
        output: Output::Recorded,
        tokenizer: TokenizerChoice::File(file("t.json")),
        ..expected
    };
    assert_eq!(built(all, &["c.jsonl", "t.json"]), expected);
}

#[test]
fn prompts_may_stand_in_the_plan() {
    let said = |role, content: &str| Message { role, content: content.to_owned() };
    let prompts = built("{messages: [{role: system, content: s}, {content: u}], tokenizer: gpt-4o}", &[]);
    let expected = vec![vec![said(Role::System, "s"), said(Role::User, "u")]];
    assert_eq!(prompts.from, PromptsFrom::Inline { prompts: expected, order: PromptOrder::Sequential });
    assert_eq!(prompts.tokenizer, TokenizerChoice::OpenAi("gpt-4o".to_owned()));
    let expected = vec![vec![said(Role::User, "a")], vec![said(Role::User, "b")]];
    let from = built("{texts: [a, b], order: random}", &[]).from;
    assert_eq!(from, PromptsFrom::Inline { prompts: expected, order: PromptOrder::Random });
}

#[test]
fn every_distribution_of_lengths_can_be_written() {
    assert_eq!(length("4k"), Length::Fixed(4_000));
    assert_eq!(length("{min: 5, max: 9}"), Length::Uniform { min: 5, max: 9 });
    let max = MAX_TOKENS;
    assert_eq!(length("{mean: 5, stddev: 2, min: 3}"), Length::Normal { mean: 5.0, stddev: 2.0, min: 3, max });
    let by = LogNormalBy::Moments { mean: 5.0, stddev: 2.0 };
    assert_eq!(length("{mean: 5, stddev: 2, shape: lognormal}"), Length::LogNormal { by, min: 1, max });
    let by = LogNormalBy::Percentiles { p50: 5.0, p99: 20.0 };
    assert_eq!(length("{p50: 5, p99: 20, max: 30}"), Length::LogNormal { by, min: 1, max: 30 });
    let bars = Length::Histogram(vec![(5, 3.0), (9, 1.0)]);
    assert_eq!(length("{histogram: [{tokens: 5, weight: 3}, {tokens: 9}]}"), bars);
}

#[test]
fn made_up_prompts_have_prefixes_turns_and_output() {
    let all =
        "{tokens: 5, prefix: {tokens: 1k, count: 50, zipf: 1.1}, turns: {min: 1, max: 4}, output: {min: 1, max: 9}}";
    let prompts = built(all, &[]);
    let expected = Synthetic {
        tokens: Length::Fixed(5),
        prefix: Some(SharedPrefix { tokens: 1_000, count: 50, zipf: 1.1 }),
        turns: Length::Uniform { min: 1, max: 4 },
    };
    assert_eq!(prompts.from, PromptsFrom::Synthetic(expected));
    assert_eq!(prompts.output, Output::Drawn(Length::Uniform { min: 1, max: 9 }));
}

#[test]
fn a_trace_has_its_speed_and_its_cut() {
    let expected = |speed, start, length| {
        PromptsFrom::Trace(TraceReplay { file: file("t.csv"), speed, start: Duration::from_secs(start), length })
    };
    assert_eq!(built("{trace: t.csv}", &["t.csv"]).from, expected(1.0, 0, None));
    let cut = built("{trace: t.csv, speed: 2.5, start: 5m, length: 10m}", &["t.csv"]).from;
    assert_eq!(cut, expected(2.5, 300, Some(Duration::from_secs(600))));
}
