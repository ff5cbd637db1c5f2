//! An answer before it is given: how many tokens, what each of them says, and
//! why it ends. The same seed and prompt give the same draft.

use squall_common::random::{Random, mix};

use super::ask::{Ask, Form};
use crate::plain::lognormal;

/// Longer answers than any model gives are not given.
pub(crate) const MAX_COMPLETION_TOKENS: u32 = 1_000_000;

const WORDS: [&str; 16] = [
    " the", " wind", " rises", " over", " a", " grey", " sea", " and", " every", " sail", " is", " set", " before",
    " its", " first", " gust",
];

/// How long answers are by themselves, in tokens: median and 99th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lengths {
    pub(crate) completion_p50: f64,
    pub(crate) completion_p99: f64,
    /// 0: no reasoning.
    pub(crate) reasoning_p50: f64,
    pub(crate) reasoning_p99: f64,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// The request's limit came first.
    Length,
    ToolCalls,
    ContentFilter,
}

impl Finish {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// What a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Reasoning,
    Content,
    /// The head of a tool call, by its number.
    ToolName(u32),
    ToolArguments(u32),
}

/// One answer of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Seeds the text.
    words: u64,
    form: Form,
    pub(crate) reasoning: u32,
    /// Of all tokens, had no limit or stop come first.
    natural: u32,
    pub(crate) tokens: u32,
    pub(crate) finish: Finish,
    /// Where a stop or a filter cut the content, in bytes.
    content_end: Option<usize>,
}

impl Draft {
    /// Draws the answer. `filtered` are words that end it as content filters do.
    pub(crate) fn draw(ask: &Ask, lengths: &Lengths, filtered: &[String], seed: u64) -> Self {
        let mut random = Random::at(seed, &[]);
        let mut length = |p50: f64, p99: f64, least: u32| {
            let drawn = lognormal(p50, p99, &mut random).round().clamp(f64::from(least), 1e6 / 2.0);
            drawn as u32
        };
        let calls = if let Form::ToolCalls(tools) = &ask.form { tools.len() as u32 } else { 0 };
        // A call is its name and at least `{}`; an object needs its two ends.
        let least = (2 * calls).max(2 * u32::from(ask.form == Form::Json)).max(1);
        let visible = length(lengths.completion_p50, lengths.completion_p99, least);
        let reasoning_p50 = lengths.reasoning_p50 * ask.effort;
        let reasoning = match reasoning_p50 > 0.0 {
            true => length(reasoning_p50, (lengths.reasoning_p99 * ask.effort).max(reasoning_p50), 1),
            false => 0,
        };
        let natural = visible + reasoning;
        let limit = ask.limit.unwrap_or(MAX_COMPLETION_TOKENS);
        let ends = if calls > 0 { Finish::ToolCalls } else { Finish::Stop };
        let mut draft = Self {
            words: mix(seed, &[1]),
            form: ask.form.clone(),
            reasoning: reasoning.min(limit),
            natural,
            tokens: natural.min(limit),
            finish: if natural > limit { Finish::Length } else { ends },
            content_end: None,
        };
        if draft.form == Form::Text {
            draft.end_before(&ask.stop, Finish::Stop);
            draft.end_before(filtered, Finish::ContentFilter);
        }
        draft
    }

    /// Ends the content before the first of `needles` in it.
    fn end_before(&mut self, needles: &[String], finish: Finish) {
        if needles.is_empty() {
            return;
        }
        let text: String = (self.reasoning..self.tokens).map(|index| self.text(index)).collect();
        let Some(end) = needles.iter().filter_map(|needle| text.find(needle.as_str())).min() else { return };
        let mut bytes = 0;
        let whole = (self.reasoning..self.tokens).take_while(|index| {
            bytes += self.text(*index).len();
            bytes < end
        });
        self.tokens = self.reasoning + whole.count() as u32 + 1;
        self.content_end = Some(end);
        self.finish = finish;
    }

    fn word(&self, index: u32) -> &'static str {
        WORDS[Random::at(self.words, &[u64::from(index)]).below(WORDS.len() as u64) as usize]
    }

    /// Which call token `visible` is in, its place there, and how many tokens that call has.
    fn call_of(&self, visible: u32, calls: u32) -> (u32, u32, u32) {
        let all = self.natural - self.reasoning.min(self.natural);
        let each = (all / calls).max(2);
        let call = (visible / each).min(calls - 1);
        let length = if call == calls - 1 { all.saturating_sub(each * call).max(2) } else { each };
        (call, visible - each * call, length)
    }

    pub(crate) fn kind(&self, index: u32) -> Kind {
        if index < self.reasoning {
            return Kind::Reasoning;
        }
        let Form::ToolCalls(tools) = &self.form else { return Kind::Content };
        match self.call_of(index - self.reasoning, tools.len() as u32) {
            (call, 0, _) => Kind::ToolName(call),
            (call, ..) => Kind::ToolArguments(call),
        }
    }

    fn text(&self, index: u32) -> &'static str {
        if index < self.reasoning {
            return self.word(index);
        }
        let visible = index - self.reasoning;
        match &self.form {
            Form::Text => self.word(index),
            Form::Json => self.json_text(index, visible, self.natural - self.reasoning),
            Form::ToolCalls(tools) => match self.call_of(visible, tools.len() as u32) {
                (_, 0, _) => "",
                (_, place, length) => self.json_text(index, place - 1, length - 1),
            },
        }
    }

    /// `{"text": "…"}` in `length` tokens.
    fn json_text(&self, index: u32, place: u32, length: u32) -> &'static str {
        match place {
            0 if length == 1 => "{}",
            0 => "{\"text\": \"",
            last if last + 1 == length => "\"}",
            _ => self.word(index),
        }
    }

    /// Appends what token `index` says, as far as the content goes. `before`
    /// is how many bytes of content came before it.
    pub(crate) fn say(&self, index: u32, before: usize, to: &mut String) {
        let text = self.text(index);
        match self.content_end {
            Some(end) if index >= self.reasoning => {
                to.push_str(&text[..text.len().min(end.saturating_sub(before))]);
            }
            _ => to.push_str(text),
        }
    }

    /// The text of all tokens of one kind.
    pub(crate) fn whole(&self, kind: Kind) -> String {
        let mut text = String::new();
        for index in (0..self.tokens).filter(|index| self.kind(*index) == kind) {
            let before = text.len();
            self.say(index, before, &mut text);
        }
        text
    }

    /// The tools it began to call.
    pub(crate) fn calls(&self) -> &[String] {
        let Form::ToolCalls(tools) = &self.form else { return &[] };
        if self.tokens <= self.reasoning {
            return &[];
        }
        let (last, ..) = self.call_of(self.tokens - 1 - self.reasoning, tools.len() as u32);
        &tools[..=last as usize]
    }

    pub(crate) fn is_text(&self) -> bool {
        !matches!(self.form, Form::ToolCalls(_))
    }
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
