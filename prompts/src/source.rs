//! The prompts of one entry of the plan, by the numbers of requests.

use crate::conversation::Conversation;
use crate::given::Given;
use crate::lengths::Lengths;
use crate::problems::{PromptProblems, of_plan};
use crate::prompt::Prompt;
use crate::records;
use crate::synthetic::Maker;
use crate::tokens::{TokenCount, TokenCounter};
use crate::trace::Trace;
use bytes::Bytes;
use squall_common::plan::prompts::{Output, Prompts, PromptsFrom, Take};
use squall_common::random::{Random, mix};
use std::sync::Arc;

const OUTPUT: u64 = 0x0007;

/// All prompts of one source. Cheap to clone; clones share their texts.
///
/// What a number gets is a pure function of the plan's entry, the seed and the
/// number: agents that divide the numbers of a fleet among them never disagree,
/// and a number asked twice is answered alike. Nothing is tokenised after
/// [`build`](Self::build).
#[derive(Clone)]
pub struct PromptSource {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    seed: u64,
    counter: TokenCounter,
    output: OutputLengths,
    kind: Kind,
}

enum OutputLengths {
    Unlimited,
    Recorded,
    Drawn(Lengths),
}

enum Kind {
    Given(Given),
    Made(Maker),
    Trace(Trace),
}

impl PromptSource {
    /// Reads, checks, serialises and counts everything: work for the time before
    /// a run, some seconds for tens of megabytes.
    ///
    /// Fails with every problem of the entry's file, or with what is wrong with
    /// the entry; also when its tokenizer is not built in (see [`TokenCounter`]).
    pub fn build(prompts: &Prompts, seed: u64) -> Result<Self, PromptProblems> {
        let counter = TokenCounter::from_choice(&prompts.tokenizer)
            .map_err(|error| of_plan(format!("prompts `{}`: {error}", prompts.name)))?;
        Self::build_with(prompts, seed, counter)
    }

    /// With another tokenizer than the plan's, e.g. the estimate where the real
    /// one is not needed.
    pub fn build_with(prompts: &Prompts, seed: u64, counter: TokenCounter) -> Result<Self, PromptProblems> {
        let wrong = |problem: String| of_plan(format!("prompts `{}`: {problem}", prompts.name));
        let seed = mix(seed, &prompts.name.bytes().map(u64::from).collect::<Vec<_>>());
        let output = match &prompts.output {
            Output::Unlimited => OutputLengths::Unlimited,
            Output::Recorded => OutputLengths::Recorded,
            Output::Drawn(length) => {
                OutputLengths::Drawn(Lengths::new(length).map_err(|problem| wrong(format!("output: {problem}")))?)
            }
        };
        let kind = match &prompts.from {
            PromptsFrom::Inline { prompts, .. } if prompts.is_empty() => {
                return Err(wrong("no prompt is given".to_owned()));
            }
            PromptsFrom::Inline { prompts, order } => {
                let records = records::inline(prompts).map_err(wrong)?;
                Kind::Given(Given::new(records, *order, Take::LastTurn, seed, &counter))
            }
            PromptsFrom::File { file, order, take } => {
                Kind::Given(Given::new(records::read(file)?, *order, *take, seed, &counter))
            }
            PromptsFrom::Synthetic(spec) => Kind::Made(Maker::new(spec, seed, &counter).map_err(wrong)?),
            PromptsFrom::Trace(spec) => Kind::Trace(Trace::read(spec, seed, &counter)?),
        };
        Ok(Self { inner: Arc::new(Inner { name: prompts.name.clone(), seed, counter, output, kind }) })
    }

    /// As the plan calls it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Who counted the tokens, for results.
    pub fn counter(&self) -> &TokenCounter {
        &self.inner.counter
    }

    /// Records or trace entries, after which numbers begin again; `None` for
    /// made-up prompts, which never repeat.
    pub fn records(&self) -> Option<u64> {
        match &self.inner.kind {
            Kind::Given(given) => Some(given.len()),
            Kind::Trace(trace) => Some(trace.entries().len() as u64),
            Kind::Made(_) => None,
        }
    }

    /// When each request of a trace is sent; `None` for other sources.
    pub fn trace(&self) -> Option<&Trace> {
        match &self.inner.kind {
            Kind::Trace(trace) => Some(trace),
            _ => None,
        }
    }

    /// What the request of this number in the fleet asks.
    pub fn prompt(&self, number: u64) -> Prompt {
        match &self.inner.kind {
            Kind::Given(given) => {
                let record = given.of_number(number);
                record.prompt.clone().with_max_tokens(self.max_tokens(number, 0, record.answer_tokens))
            }
            Kind::Made(maker) => maker.turn(number, 0, self.max_tokens(number, 0, None)),
            Kind::Trace(trace) => trace.prompt(number),
        }
    }

    /// The conversation that the user of this number has. Its turns are the
    /// record's, or made up; a trace's have one.
    pub fn conversation(&self, number: u64) -> Conversation {
        Conversation::new(self.clone(), number)
    }

    pub(crate) fn turns(&self, number: u64) -> u32 {
        match &self.inner.kind {
            Kind::Given(given) => given.of_number(number).turns.len() as u32,
            Kind::Made(maker) => maker.turns(number),
            Kind::Trace(_) => 1,
        }
    }

    /// What the user adds with this turn (from 0, below [`turns`](Self::turns)):
    /// JSON objects joined by commas.
    pub(crate) fn turn(&self, number: u64, turn: u32) -> Added {
        let prompt = match &self.inner.kind {
            Kind::Given(given) => {
                let said = &given.of_number(number).turns[turn as usize];
                let max_tokens = self.max_tokens(number, turn, said.answer_tokens);
                return Added { messages: said.messages.clone(), tokens: said.tokens, max_tokens, prefix: None };
            }
            Kind::Made(maker) => maker.turn(number, turn, self.max_tokens(number, turn, None)),
            Kind::Trace(trace) => trace.prompt(number),
        };
        let messages = prompt.messages_json();
        Added {
            messages: messages.slice(1..messages.len() - 1),
            tokens: prompt.tokens(),
            max_tokens: prompt.max_tokens(),
            prefix: prompt.prefix(),
        }
    }

    fn max_tokens(&self, number: u64, turn: u32, recorded: Option<u32>) -> Option<u32> {
        match &self.inner.output {
            OutputLengths::Unlimited => None,
            // Servers refuse 0.
            OutputLengths::Recorded => recorded.map(|tokens| tokens.max(1)),
            OutputLengths::Drawn(lengths) => {
                Some(lengths.draw(&mut Random::at(self.inner.seed, &[OUTPUT, number, turn.into()])))
            }
        }
    }
}

/// What one turn adds to a conversation.
pub(crate) struct Added {
    pub(crate) messages: Bytes,
    pub(crate) tokens: TokenCount,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) prefix: Option<u32>,
}

impl std::fmt::Debug for PromptSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PromptSource({}, {:?})", self.inner.name, self.inner.counter)
    }
}

#[cfg(test)]
mod tests;
