//! What others sent, and when: recorded times and lengths, with made-up text.

mod azure;
mod mooncake;

use crate::problems::{Findings, PromptProblems, of_plan, text};
use crate::prompt::{Prompt, PromptWriter};
use crate::tokens::{TokenCount, TokenCounter};
use crate::words::Words;
use squall_common::plan::prompts::{MAX_TOKENS, TraceReplay};
use squall_common::random::mix;

const TEXT: u64 = 0x11;
const BLOCK: u64 = 0x12;

/// Tokens of one block of a Mooncake trace.
const BLOCK_TOKENS: u32 = 512;

/// The requests of a trace, in the order of their times.
pub struct Trace {
    seed: u64,
    words: Words,
    exact: bool,
    entries: Vec<TraceEntry>,
}

/// One request of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// From the beginning of what is replayed, with the plan's speed applied.
    pub offset_ns: u64,
    pub input_tokens: u32,
    pub output_tokens: u32,
    /// Blocks of 512 tokens of the prompt, from its beginning: the same id, the
    /// same text. Empty where the trace tells none.
    pub hash_ids: Box<[u64]>,
}

/// One line of a trace as it is read.
struct Line {
    /// Nanoseconds from any one instant.
    at_ns: i128,
    input_tokens: u32,
    output_tokens: u32,
    hash_ids: Box<[u64]>,
}

impl Trace {
    /// Recognises the shape by the first line: a header of CSV, or JSON. Lines
    /// out of order are sorted by time; those of the same time stay as they are.
    pub(crate) fn read(spec: &TraceReplay, seed: u64, counter: &TokenCounter) -> Result<Self, PromptProblems> {
        if !spec.speed.is_finite() || spec.speed <= 0.0 {
            return Err(of_plan(format!("a speed of {} is not above 0", spec.speed)));
        }
        let mut findings = Findings::of(&spec.file.name);
        let text = text(&spec.file.bytes, &mut findings);
        let mut lines = match text.trim_start().starts_with('{') {
            true => mooncake::read(text, &mut findings),
            false => azure::read(text, &mut findings),
        };
        if lines.is_empty() && findings.is_empty() {
            findings.add_with_advice(0, "no requests in this trace", SHAPES);
        }
        let mut lines = findings.or(std::mem::take(&mut lines))?;
        lines.sort_by_key(|line| line.at_ns);
        let entries = cut(lines, spec);
        if entries.is_empty() {
            return Err(of_plan(format!(
                "no request of the trace `{}` lies within the time asked for",
                spec.file.name
            )));
        }
        let words = Words::new(counter).map_err(|error| of_plan(error.to_string()))?;
        Ok(Self { seed, words, exact: counter.is_exact(), entries })
    }

    /// Never empty, by their times.
    pub fn entries(&self) -> &[TraceEntry] {
        &self.entries
    }

    /// The text of the entry of this number, from the top again after the last.
    /// Without blocks it shares its beginning with no other.
    pub(crate) fn prompt(&self, number: u64) -> Prompt {
        let entry = &self.entries[(number % self.entries.len() as u64) as usize];
        let mut writer = PromptWriter::default();
        writer.user(|text| self.write(text, entry, number));
        let tokens = TokenCount { tokens: entry.input_tokens, exact: self.exact };
        writer.finish(tokens, Some(entry.output_tokens))
    }

    fn write(&self, text: &mut Vec<u8>, entry: &TraceEntry, number: u64) {
        let mut left = entry.input_tokens;
        let mut blocks = entry.hash_ids.iter();
        while left > 0 {
            let (tokens, key) = match blocks.next() {
                Some(&id) => (left.min(BLOCK_TOKENS), mix(self.seed, &[BLOCK, id])),
                None => (left, mix(self.seed, &[TEXT, number])),
            };
            self.words.write(text, tokens, key);
            left -= tokens;
            if left > 0 {
                text.push(b' ');
            }
        }
    }
}

const SHAPES: &str = "a CSV file with the header TIMESTAMP,ContextTokens,GeneratedTokens, or JSON lines with \
     timestamp, input_length, output_length and hash_ids";

/// The lines within the time asked for, with offsets from its beginning.
fn cut(lines: Vec<Line>, spec: &TraceReplay) -> Vec<TraceEntry> {
    let first = lines.first().map_or(0, |line| line.at_ns);
    let start = first + spec.start.as_nanos() as i128;
    let end = spec.length.map_or(i128::MAX, |length| start.saturating_add(length.as_nanos() as i128));
    let within = lines.into_iter().filter(|line| (start..end).contains(&line.at_ns));
    within
        .map(|line| TraceEntry {
            offset_ns: ((line.at_ns - start) as f64 / spec.speed).round() as u64,
            input_tokens: line.input_tokens,
            output_tokens: line.output_tokens,
            hash_ids: line.hash_ids,
        })
        .collect()
}

/// A number of tokens. 0 is read as 1: traces hold it for requests that failed,
/// and servers refuse it.
fn tokens(number: u64) -> Result<u32, String> {
    match u32::try_from(number) {
        Ok(tokens) if tokens <= MAX_TOKENS => Ok(tokens.max(1)),
        _ => Err(format!("{number} tokens are more than {MAX_TOKENS}")),
    }
}

#[cfg(test)]
mod tests;
