//! Prompts made up: of drawn lengths, some with beginnings in common.

use crate::lengths::{Lengths, Weights};
use crate::prompt::{Prompt, PromptWriter};
use crate::tokens::{TokenCount, TokenCounter};
use crate::words::{NoWords, Words};
use squall_common::plan::prompts::Synthetic;
use squall_common::random::{Random, mix};

/// Which random numbers are drawn for what; part of what a seed means.
const LENGTH: u64 = 1;
const TEXT: u64 = 2;
const PREFIX: u64 = 3;
const PREFIX_TEXT: u64 = 4;
const TURNS: u64 = 5;

/// More would be a loop, not a conversation.
const MOST_TURNS: u32 = 1_000;

pub(crate) struct Maker {
    seed: u64,
    words: Words,
    /// Whether the lengths are a real tokenizer's.
    exact: bool,
    tokens: Lengths,
    prefixes: Option<Prefixes>,
    turns: Lengths,
}

struct Prefixes {
    tokens: u32,
    popularity: Weights,
}

impl Maker {
    pub(crate) fn new(spec: &Synthetic, seed: u64, counter: &TokenCounter) -> Result<Self, String> {
        let turns = Lengths::new(&spec.turns).map_err(|problem| format!("turns: {problem}"))?;
        let tokens = Lengths::new(&spec.tokens).map_err(|problem| format!("tokens: {problem}"))?;
        if let Some(prefix) = &spec.prefix {
            prefix.check()?;
        }
        let prefixes = spec
            .prefix
            .map(|prefix| Prefixes { tokens: prefix.tokens, popularity: Weights::zipf(prefix.count, prefix.zipf) });
        let words = Words::new(counter).map_err(|error: NoWords| error.to_string())?;
        Ok(Self { seed, words, exact: counter.is_exact(), tokens, prefixes, turns })
    }

    /// Messages of the user in the conversation of this number.
    pub(crate) fn turns(&self, number: u64) -> u32 {
        self.turns.draw(&mut Random::at(self.seed, &[TURNS, number])).min(MOST_TURNS)
    }

    /// One message of a conversation; `turn` is from 0, and the first brings the prefix.
    pub(crate) fn turn(&self, number: u64, turn: u32, max_tokens: Option<u32>) -> Prompt {
        let own = self.tokens.draw(&mut Random::at(self.seed, &[LENGTH, number, turn.into()]));
        let mut count = TokenCount { tokens: own, exact: self.exact };
        let mut writer = PromptWriter::default();
        if let Some(prefixes) = self.prefixes.as_ref().filter(|_| turn == 0) {
            let which = prefixes.popularity.draw(&mut Random::at(self.seed, &[PREFIX, number])) as u32;
            let key = mix(self.seed, &[PREFIX_TEXT, which.into()]);
            writer.system(which, |text| self.words.write(text, prefixes.tokens, key));
            count = count.plus(TokenCount { tokens: prefixes.tokens, exact: self.exact });
        }
        let key = mix(self.seed, &[TEXT, number, turn.into()]);
        writer.user(|text| self.words.write(text, own, key));
        writer.finish(count, max_tokens)
    }
}
