//! How a stream is written: what real servers do differently, and wrongly.

use serde::{Deserialize, Serialize};

/// The ways in which streams differ from the plain form; the field `dialect` of a fault.
/// A number that counts chunks counts output chunks; absent, the thing doesn't happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dialect {
    /// Share of streams it befalls, 0 to 1; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Tokens bundled in one chunk, in place of the deployment's `tokens_per_chunk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_chunk: Option<u32>,
    /// How lines end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_end: Option<LineEnd>,
    /// The stream opens with a byte order mark.
    pub byte_order_mark: bool,
    /// The JSON of every event stands on two `data:` lines.
    pub multi_line_data: bool,
    /// A comment (`: ping`) before the first and then every so many chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_every: Option<u32>,
    /// An event whose `choices` is empty, likewise (chat and completions).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_choices_every: Option<u32>,
    /// An event whose choice has no `delta`, likewise (chat).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_delta_every: Option<u32>,
    /// Azure's asynchronous filter: annotations, whose choice has no `delta`, every so many
    /// chunks and after the finish (chat).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub async_filter_every: Option<u32>,
    /// The filter ends the answer after so many chunks, in an annotation with `finish_reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_filter_after: Option<u32>,
    /// An error event after so many chunks ends the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_after: Option<u32>,
    /// The connection breaks off in the middle of the event after so many chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate_after: Option<u32>,
    /// The stream ends well, but without its terminator: `[DONE]`, or `response.completed`.
    pub no_done: bool,
}

/// How lines of a stream end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnd {
    /// `\n`
    #[default]
    Lf,
    /// `\r\n`
    Crlf,
    /// `\r`
    Cr,
}

impl LineEnd {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Lf => "\n",
            Self::Crlf => "\r\n",
            Self::Cr => "\r",
        }
    }
}

impl Dialect {
    /// What is wrong with it, naming the field.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Some("dialect.rate: write a share from 0 to 1".to_owned());
        }
        let counts = [
            ("tokens_per_chunk", self.tokens_per_chunk),
            ("ping_every", self.ping_every),
            ("no_choices_every", self.no_choices_every),
            ("no_delta_every", self.no_delta_every),
            ("async_filter_every", self.async_filter_every),
        ];
        let zero = counts.into_iter().find(|(_, count)| *count == Some(0));
        if let Some((field, _)) = zero {
            return Some(format!("dialect.{field}: must be at least 1"));
        }
        let plain = Self { rate: self.rate, ..Self::default() };
        (*self == plain).then(|| "dialect: names nothing that differs; see docs/simulator.md".to_owned())
    }

    /// Lays `other` over it: what `other` says counts, the rest stays.
    pub(crate) fn and(&mut self, other: &Self) {
        let Self { rate, tokens_per_chunk, line_end, byte_order_mark, multi_line_data, .. } = other.clone();
        self.rate = rate.or(self.rate);
        self.tokens_per_chunk = tokens_per_chunk.or(self.tokens_per_chunk);
        self.line_end = line_end.or(self.line_end);
        self.byte_order_mark |= byte_order_mark;
        self.multi_line_data |= multi_line_data;
        self.no_done |= other.no_done;
        self.ping_every = other.ping_every.or(self.ping_every);
        self.no_choices_every = other.no_choices_every.or(self.no_choices_every);
        self.no_delta_every = other.no_delta_every.or(self.no_delta_every);
        self.async_filter_every = other.async_filter_every.or(self.async_filter_every);
        self.content_filter_after = other.content_filter_after.or(self.content_filter_after);
        self.error_after = other.error_after.or(self.error_after);
        self.truncate_after = other.truncate_after.or(self.truncate_after);
    }
}
