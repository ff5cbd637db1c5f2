//! What models read and wrote, and how their answers came: the `models` blocks of
//! `summary.json`, and a table and lines for people.

use super::RunRecord;
use super::numbers::{count, percent, rate};
use super::tables::latency_table;
use super::terminal::labelled;
use crate::terminal::{Paint, Tone};
use serde_json::{Map, Value, json};
use squall_common::generation::{FinishReason, Tokens};
use squall_common::interval::Series;
use squall_common::plan::{Metric, ModelCall};

const ROWS: [(Metric, Tone, &str); 6] = [
    (Metric::FirstToken, Tone::Strong, "first token"),
    (Metric::FirstTokenService, Tone::Plain, "  from send"),
    (Metric::FirstVisible, Tone::Quiet, "  visible"),
    (Metric::SecondToken, Tone::Quiet, "  second token"),
    (Metric::InterToken, Tone::Plain, "inter-token"),
    (Metric::TimePerToken, Tone::Plain, "per token"),
];

/// Who counted the tokens.
fn source(tokens: &Tokens) -> &'static str {
    match tokens.with_usage {
        0 => "chunks",
        with_usage if with_usage == tokens.generations => "server",
        _ => "mixed",
    }
}

fn finishes(tokens: &Tokens) -> impl Iterator<Item = (&'static str, u64)> {
    FinishReason::ALL.into_iter().zip(tokens.finish).filter(|(_, n)| *n > 0).map(|(reason, n)| (reason.name(), n))
}

/// The block of a part; `None` where no model was called. `time_s`: what rates are of.
/// `latency`: how a block of latencies is written.
pub fn block(
    series: &Series,
    time_s: f64,
    latency: impl Fn(&squall_common::histogram::Latencies) -> Value,
) -> Option<Value> {
    let tokens = &series.tokens;
    if tokens.is_empty() {
        return None;
    }
    let per_s = |n: u64| if time_s > 0.0 { n as f64 / time_s } else { 0.0 };
    let latencies: Map<String, Value> = Metric::OF_MODELS
        .into_iter()
        .filter_map(|metric| Some((metric.name().to_owned(), latency(series.latencies(metric)?))))
        .collect();
    let finish: Map<String, Value> = finishes(tokens).map(|(name, n)| (name.to_owned(), json!(n))).collect();
    Some(json!({
        "answers": tokens.generations,
        "tokens": {
            "counted_by": source(tokens),
            "answers_with_usage": tokens.with_usage,
            "input": tokens.input,
            "cached": tokens.cached,
            "output": tokens.output,
            "reasoning": tokens.reasoning,
            "input_per_s": per_s(tokens.input),
            "output_per_s": per_s(tokens.output),
        },
        "chunks": tokens.chunks,
        "stalls": tokens.stalls,
        "good": {"requests": tokens.good, "ratio": tokens.good as f64 / series.count().max(1) as f64, "per_s": per_s(tokens.good)},
        "prompts_filtered": tokens.prompts_filtered,
        "finish": finish,
        "latency": latencies,
    }))
}

/// When tokens came, for people.
pub fn table(series: &Series, width: usize, paint: Paint) -> Vec<String> {
    let rows: Vec<_> = ROWS
        .into_iter()
        .filter_map(|(metric, tone, name)| {
            let latencies = series.latencies(metric).filter(|latencies| !latencies.is_empty())?;
            Some((tone, name.to_owned(), Some(latencies)))
        })
        .collect();
    if rows.is_empty() { Vec::new() } else { latency_table("tokens", rows, width, paint) }
}

/// How many tokens, how the answers ended, how many were good.
pub fn lines(record: &RunRecord, series: &Series, width: usize, paint: Paint) -> Vec<String> {
    let tokens = &series.tokens;
    if tokens.is_empty() {
        return Vec::new();
    }
    let time_s = record.duration.as_secs_f64();
    let per_s = |n: u64| rate(if time_s > 0.0 { n as f64 / time_s } else { 0.0 });
    let of = |n: u64, what: &str| if n > 0 { format!(" ({} {what})", count(n)) } else { String::new() };
    let counted = match source(tokens) {
        "server" => "counted by the server".to_owned(),
        "chunks" => "the server counts none: chunks stand for tokens".to_owned(),
        _ => format!("{} of {} answers counted by the server", count(tokens.with_usage), count(tokens.generations)),
    };
    let text = format!(
        "in {}{} · out {}{} · out {} · {counted}",
        count(tokens.input),
        of(tokens.cached, "cached"),
        count(tokens.output),
        of(tokens.reasoning, "reasoning"),
        per_s(tokens.output),
    );
    let mut lines = labelled("tokens", &text, width, paint, Tone::Quiet);
    let mut parts = vec![count(tokens.generations)];
    if tokens.chunks > 0 {
        parts.push(format!("{} chunks with tokens", count(tokens.chunks)));
    }
    parts.extend(finishes(tokens).map(|(name, n)| format!("{name} {}", count(n))));
    if tokens.stalls > 0 {
        parts.push(format!("{} stalls", count(tokens.stalls)));
    }
    if tokens.prompts_filtered > 0 {
        parts.push(format!("{} prompts filtered", count(tokens.prompts_filtered)));
    }
    lines.extend(labelled("answers", &parts.join(" · "), width, paint, Tone::Quiet));
    let bounds = bounds(record);
    if !bounds.is_empty() {
        let share = percent(tokens.good as f64 / series.count().max(1) as f64);
        let text = format!("{share} · {} · {}", per_s(tokens.good), bounds.join(", "));
        lines.extend(labelled("goodput", &text, width, paint, Tone::Quiet));
    }
    lines
}

/// Every bound that some step holds its requests to.
fn bounds(record: &RunRecord) -> Vec<&str> {
    let calls = record.merge.plan().scenarios.iter().flat_map(|scenario| &scenario.steps);
    let mut bounds: Vec<&str> = Vec::new();
    for bound in calls.filter_map(|step| step.model_call.as_ref()).flat_map(|call: &ModelCall| &call.goodput) {
        if !bounds.contains(&bound.text.as_str()) {
            bounds.push(&bound.text);
        }
    }
    bounds
}
