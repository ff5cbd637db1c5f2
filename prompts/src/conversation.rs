//! Several turns with one model, which is told what it really answered.

use crate::prompt::{Prompt, write_message};
use crate::source::PromptSource;
use crate::tokens::{TokenCount, TokenCounter};
use squall_common::plan::prompts::Role;

/// One user's conversation: a script of what the user says, and all that was
/// said so far. What it sends is a pure function of its source, its number and
/// the answers it was given.
#[derive(Clone, Debug)]
pub struct Conversation {
    source: PromptSource,
    number: u64,
    turns: u32,
    next: u32,
    /// JSON objects joined by commas, after an opening bracket.
    context: Vec<u8>,
    tokens: TokenCount,
    prefix: Option<u32>,
}

/// What the model said to the turn before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'t> {
    pub text: &'t str,
    /// By the server's count, where it tells; otherwise the text is estimated.
    pub tokens: Option<u32>,
}

impl Conversation {
    pub(crate) fn new(source: PromptSource, number: u64) -> Self {
        let turns = source.turns(number);
        let tokens = TokenCount { tokens: 0, exact: true };
        Self { source, number, turns, next: 0, context: vec![b'['], tokens, prefix: None }
    }

    /// Messages of the user in the whole of it.
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// How many were said.
    pub fn turns_taken(&self) -> u32 {
        self.next
    }

    /// All that was said, with the next message of the user; `None` when the
    /// script is over. `previous_answer` is what the model said to the turn before:
    /// without one (its request failed) the next message follows the last one, which
    /// some models' templates refuse. Before the first turn it is ignored.
    pub fn next_turn(&mut self, previous_answer: Option<&str>) -> Option<Prompt> {
        self.next_turn_after(previous_answer.map(|text| Answer { text, tokens: None }))
    }

    /// The same with the answer's tokens by the server's count, so that the
    /// prompt's stay exact without tokenising anything.
    pub fn next_turn_after(&mut self, previous_answer: Option<Answer<'_>>) -> Option<Prompt> {
        if self.next == self.turns {
            return None;
        }
        if let Some(answer) = previous_answer.filter(|_| self.next > 0) {
            self.hear(answer);
        }
        let added = self.source.turn(self.number, self.next);
        self.separate();
        self.context.extend_from_slice(&added.messages);
        self.tokens = self.tokens.plus(added.tokens);
        self.prefix = self.prefix.or(added.prefix);
        self.next += 1;
        let mut messages = Vec::with_capacity(self.context.len() + 1);
        messages.extend_from_slice(&self.context);
        messages.push(b']');
        Some(Prompt::of_conversation(messages.into(), self.tokens, added.max_tokens, self.prefix))
    }

    fn hear(&mut self, answer: Answer<'_>) {
        self.separate();
        write_message(&mut self.context, Role::Assistant, answer.text);
        let tokens = match answer.tokens {
            Some(tokens) => TokenCount { tokens, exact: true },
            None => TokenCounter::Estimate.count(answer.text),
        };
        self.tokens = self.tokens.plus(tokens);
    }

    fn separate(&mut self) {
        if self.context.len() > 1 {
            self.context.push(b',');
        }
    }
}

#[cfg(test)]
mod tests;
