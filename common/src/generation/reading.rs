//! One answer, while it comes.

use super::piece::{FinishReason, Piece, Usage};
use super::sse::SseReader;
use super::tokens::Tokens;
use crate::plan::{Api, Bound, Metric, ModelCall};
use crate::sample::{Outcome, Sample};

/// Kept of a body that is no event stream: an error in place of one.
const RAW_KEPT: usize = 16 << 10;

/// Reads one answer after the other; keeps its buffers.
#[derive(Debug, Default)]
pub struct Reading {
    api: Api,
    is_streamed: bool,
    sse: SseReader,
    /// The body's beginning, until an event proves it a stream.
    raw: Vec<u8>,
    seen: Seen,
    /// Between events that brought tokens, in µs.
    gaps_us: Vec<u32>,
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    events: u64,
    /// Events that brought tokens.
    chunks: u64,
    first_ns: Option<u64>,
    second_ns: Option<u64>,
    first_visible_ns: Option<u64>,
    last_ns: u64,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    error: Option<String>,
    is_filter_error: bool,
    is_malformed: bool,
    has_terminator: bool,
}

/// What one answer adds to its series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generation<'a> {
    pub first_token_ns: Option<u64>,
    pub second_token_ns: Option<u64>,
    /// Where reasoning came before it: the first token that a reader sees.
    pub first_visible_ns: Option<u64>,
    pub gaps_us: &'a [u32],
    pub tokens: Tokens,
}

impl Reading {
    /// Makes ready for the next answer.
    pub fn begin(&mut self, call: &ModelCall) {
        (self.api, self.is_streamed) = (call.api, call.is_streamed);
        self.sse.clear();
        self.raw.clear();
        self.gaps_us.clear();
        self.seen = Seen::default();
    }

    /// Takes body bytes that were read at this instant.
    pub fn feed(&mut self, at_ns: u64, bytes: &[u8]) {
        if !self.is_streamed {
            return;
        }
        let Self { api, sse, raw, seen, gaps_us, .. } = self;
        if seen.events == 0 {
            raw.extend_from_slice(&bytes[..bytes.len().min(RAW_KEPT - raw.len())]);
        }
        sse.feed(bytes, &mut |_, data| seen.event(*api, at_ns, data, gaps_us));
    }

    /// The body is whole, or broke off. `body`: all of one that is not streamed.
    pub fn end(&mut self, at_ns: u64, body: &[u8]) {
        let whole = if self.is_streamed { if self.seen.events == 0 { &self.raw } else { return } } else { body };
        match Piece::read(self.api, whole) {
            Some(piece) => {
                self.seen.note(piece);
                self.seen.last_ns = at_ns;
            }
            None => self.seen.is_malformed = true,
        }
    }

    /// How the exchange ended, once the answer's own words are heard too.
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        let seen = &self.seen;
        match outcome {
            Outcome::HttpClientError if seen.is_filter_error => Outcome::ContentFiltered,
            Outcome::Ok if seen.error.is_some() => Outcome::StreamError,
            Outcome::Ok if seen.finish == Some(FinishReason::ContentFilter) => Outcome::ContentFiltered,
            Outcome::Ok if seen.is_malformed || (self.is_streamed && seen.events == 0) => Outcome::Protocol,
            // A terminator alone proves nothing: servers send it after a failure, too.
            Outcome::Ok if self.is_streamed && seen.finish.is_none() => Outcome::Truncated,
            outcome => outcome,
        }
    }

    /// The code of the answer's error, or why it can't be read.
    pub fn detail(&self) -> Option<&str> {
        let seen = &self.seen;
        match &seen.error {
            Some(error) => Some(error),
            None if self.is_streamed && seen.events == 0 && self.raw.is_empty() => {
                Some("a stream was asked for and nothing came")
            }
            None if self.is_streamed && seen.events == 0 => Some("a stream was asked for and something else came"),
            None if seen.is_malformed => Some("the answer holds something that is no JSON object"),
            None if self.is_streamed && seen.finish.is_none() && seen.has_terminator => {
                Some("the stream ended without a finish reason")
            }
            None if self.is_streamed && seen.finish.is_none() => Some("the stream broke off"),
            None => None,
        }
    }

    /// Everything heard so far, for comparing two readings of the same bytes.
    pub fn said(&self) -> impl std::fmt::Debug + PartialEq + '_ {
        (&self.seen, &self.gaps_us)
    }

    /// What it adds to its series. `sample`: the exchange with its final outcome.
    pub fn generation(&self, call: &ModelCall, sample: &Sample) -> Generation<'_> {
        let seen = &self.seen;
        let is_answer = sample.status.is_some_and(|status| (200..300).contains(&status));
        let usage = seen.usage.unwrap_or(Usage { output: seen.chunks, ..Usage::default() });
        let mut tokens = Tokens {
            generations: is_answer.into(),
            with_usage: (is_answer && seen.usage.is_some()).into(),
            input: usage.input,
            output: usage.output,
            cached: usage.cached,
            reasoning: usage.reasoning,
            chunks: seen.chunks,
            stalls: self.gaps_us.iter().filter(|gap| u128::from(**gap) > call.stall.as_micros()).count() as u64,
            prompts_filtered: (seen.is_filter_error && !is_answer).into(),
            ..Tokens::default()
        };
        if let Some(finish) = seen.finish {
            tokens.finish[finish as usize] = 1;
        }
        let hides = |visible_ns: &u64| seen.first_ns.is_some_and(|first_ns| first_ns < *visible_ns);
        let mut generation = Generation {
            first_token_ns: seen.first_ns,
            second_token_ns: seen.second_ns,
            first_visible_ns: seen.first_visible_ns.filter(hides),
            gaps_us: &self.gaps_us,
            tokens,
        };
        let is_good = sample.outcome == Outcome::Ok && call.goodput.iter().all(|bound| generation.meets(sample, bound));
        generation.tokens.good = (is_good && !call.goodput.is_empty()).into();
        generation
    }
}

impl Seen {
    fn event(&mut self, api: Api, at_ns: u64, data: &[u8], gaps_us: &mut Vec<u32>) {
        self.events += 1;
        if data == b"[DONE]" {
            self.has_terminator = true;
            return;
        }
        let Some(piece) = Piece::read(api, data) else {
            self.is_malformed = true;
            return;
        };
        if piece.has_token {
            match self.chunks {
                0 => self.first_ns = Some(at_ns),
                1 => self.second_ns = Some(at_ns),
                _ => {}
            }
            if self.chunks > 0 {
                let gap_us = at_ns.saturating_sub(self.last_ns) / 1_000;
                gaps_us.push(u32::try_from(gap_us).unwrap_or(u32::MAX));
            }
            self.chunks += 1;
            self.last_ns = at_ns;
            if piece.is_visible {
                self.first_visible_ns.get_or_insert(at_ns);
            }
        }
        self.note(piece);
    }

    fn note(&mut self, piece: Piece) {
        // A filter may object after the model has finished: the later word counts.
        self.finish = piece.finish.or(self.finish);
        self.usage = piece.usage.or(self.usage);
        self.error = piece.error.or_else(|| self.error.take());
        self.is_filter_error |= piece.is_filter_error;
        self.has_terminator |= piece.is_last;
    }
}

impl Generation<'_> {
    /// Each metric of this answer that has one value.
    pub fn metrics(&self, sample: &Sample) -> [(Metric, Option<u64>); 5] {
        let since = |from_ns: u64, at_ns: Option<u64>| at_ns.map(|at_ns| at_ns.saturating_sub(from_ns) / 1_000);
        let of_send = |at_ns: Option<u64>| sample.sent_ns.and_then(|sent_ns| since(sent_ns, at_ns));
        let tpot_us = self
            .first_token_ns
            .filter(|_| self.tokens.output > 1)
            .map(|first_ns| sample.done_ns.saturating_sub(first_ns) / 1_000 / (self.tokens.output - 1));
        [
            (Metric::FirstToken, since(sample.intended_ns, self.first_token_ns)),
            (Metric::FirstTokenService, of_send(self.first_token_ns)),
            (Metric::FirstVisible, since(sample.intended_ns, self.first_visible_ns)),
            (Metric::SecondToken, since(sample.intended_ns, self.second_token_ns)),
            (Metric::TimePerToken, tpot_us),
        ]
    }

    fn meets(&self, sample: &Sample, bound: &Bound) -> bool {
        let value_us = match bound.metric {
            Metric::ResponseTime => Some(sample.response_time_us()),
            Metric::ServiceTime => sample.service_time_us(),
            // Every gap has to meet it.
            Metric::InterToken => Some(self.gaps_us.iter().copied().max().unwrap_or(0).into()),
            // An answer of one token has no time per further token, and so none that is too long.
            Metric::TimePerToken if self.tokens.output <= 1 => Some(0),
            metric => self.metrics(sample).into_iter().find(|(known, _)| *known == metric).and_then(|(_, value)| value),
        };
        value_us.is_some_and(|value_us| bound.comparison.holds(value_us as f64, bound.limit_us))
    }
}
