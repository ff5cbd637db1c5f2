//! A model server with continuous batching, as a pure state machine.
//!
//! It works in steps, as real engines do. Each step gives every decoding
//! sequence one token and prefills up to a budget of prompt tokens; the more
//! sequences share it, the longer it lasts. So tokens per second level off,
//! each request gets slower as others join, and once every place is taken time
//! to first token grows with the queue until the queue, too, is full.
//!
//! Time is what the caller says it is, in µs since any start. No clock, no
//! task: `engine` performs it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// How fast a model server is, and how much it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelParams {
    /// Sequences served together; the batch never exceeds it.
    pub capacity: u32,
    /// Requests that may wait for a place; one more is refused.
    pub queue_limit: u32,
    /// Prompt tokens read per second.
    pub prefill_tokens_per_s: f64,
    /// Most prompt tokens read in one step, so a long prompt can't stop everyone.
    pub prefill_chunk_tokens: u32,
    /// How long a step lasts at the least.
    pub step_ms: f64,
    /// What each sequence in the batch adds to a step.
    pub step_ms_per_sequence: f64,
}

impl Default for ModelParams {
    fn default() -> Self {
        Self {
            capacity: 32,
            queue_limit: 64,
            prefill_tokens_per_s: 10_000.0,
            prefill_chunk_tokens: 2_048,
            step_ms: 8.0,
            step_ms_per_sequence: 0.4,
        }
    }
}

impl ModelParams {
    /// How long a step lasts that decodes for `decoding` sequences and reads `prefill_tokens`.
    pub fn step_us(&self, decoding: u32, prefill_tokens: u32) -> u64 {
        let decode_ms = self.step_ms + self.step_ms_per_sequence * f64::from(decoding);
        let prefill_ms = f64::from(prefill_tokens) / self.prefill_tokens_per_s * 1e3;
        ((decode_ms + prefill_ms) * 1e3).round().max(1.0) as u64
    }
}

/// What one request asks of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens to read before the first answer token; 0 counts as 1.
    pub prompt_tokens: u32,
    /// Tokens to produce; 0 counts as 1.
    pub completion_tokens: u32,
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has a place in the batch from the next step on.
    Running,
    /// It waits; `ahead` wait before it.
    Queued {
        /// How many wait before it.
        ahead: u32,
    },
    /// The queue is full; a place should be free after this long.
    Refused {
        /// When to try again.
        retry_after_us: u64,
    },
}

/// One token produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub id: u64,
    /// When its step ended.
    pub at_us: u64,
    /// 0 for the first.
    pub index: u32,
    /// Nothing follows it; the sequence's place is free again.
    pub last: bool,
}

#[derive(Clone, Debug)]
struct Sequence {
    id: u64,
    prefill_left: u32,
    produced: u32,
    wanted: u32,
    /// What the step under way does for it; nothing if it joined since the step began.
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    Prefill(u32),
    Decode,
}

/// The state of one model server.
#[derive(Clone, Debug)]
pub struct ModelServer {
    params: ModelParams,
    running: Vec<Sequence>,
    queue: VecDeque<Sequence>,
    step_ends_us: Option<u64>,
}

impl ModelServer {
    /// An idle server.
    pub fn new(params: ModelParams) -> Self {
        Self { params, running: Vec::new(), queue: VecDeque::new(), step_ends_us: None }
    }

    /// A request arrives. Call [`Self::advance`] up to `now_us` first.
    pub fn arrive(&mut self, now_us: u64, id: u64, work: Work) -> Admission {
        let sequence = Sequence {
            id,
            prefill_left: work.prompt_tokens.max(1),
            produced: 0,
            wanted: work.completion_tokens.max(1),
            part: Part::Nothing,
        };
        if self.running.len() < self.params.capacity as usize {
            self.running.push(sequence);
            if self.step_ends_us.is_none() {
                self.begin_step(now_us);
            }
            return Admission::Running;
        }
        if self.queue.len() < self.params.queue_limit as usize {
            self.queue.push_back(sequence);
            return Admission::Queued { ahead: self.queue.len() as u32 - 1 };
        }
        Admission::Refused { retry_after_us: self.until_a_place_us() }
    }

    /// The requester went away. Its place is free from the next step on. False if it was not here.
    pub fn abandon(&mut self, id: u64) -> bool {
        let before = self.running.len() + self.queue.len();
        self.running.retain(|sequence| sequence.id != id);
        self.queue.retain(|sequence| sequence.id != id);
        self.fill();
        self.running.len() + self.queue.len() < before
    }

    /// When something happens next, if anything will.
    pub fn next_us(&self) -> Option<u64> {
        self.step_ends_us
    }

    /// Everything that happened up to `now_us`, in order.
    pub fn advance(&mut self, now_us: u64) -> Vec<Token> {
        let mut tokens = Vec::new();
        while let Some(ends_us) = self.step_ends_us.filter(|ends_us| *ends_us <= now_us) {
            self.end_step(ends_us, &mut tokens);
            self.begin_step(ends_us);
        }
        tokens
    }

    /// Sequences in the batch.
    pub fn in_service(&self) -> usize {
        self.running.len()
    }

    /// Requests waiting for a place.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    fn fill(&mut self) {
        while self.running.len() < self.params.capacity as usize
            && let Some(next) = self.queue.pop_front()
        {
            self.running.push(next);
        }
    }

    fn begin_step(&mut self, now_us: u64) {
        self.fill();
        let mut budget = self.params.prefill_chunk_tokens;
        let mut decoding = 0;
        for sequence in &mut self.running {
            sequence.part = if sequence.prefill_left == 0 {
                decoding += 1;
                Part::Decode
            } else {
                let taken = sequence.prefill_left.min(budget);
                budget -= taken;
                if taken > 0 { Part::Prefill(taken) } else { Part::Nothing }
            };
        }
        let prefill = self.params.prefill_chunk_tokens - budget;
        self.step_ends_us =
            (!self.running.is_empty()).then(|| now_us.saturating_add(self.params.step_us(decoding, prefill)));
    }

    fn end_step(&mut self, at_us: u64, tokens: &mut Vec<Token>) {
        for sequence in &mut self.running {
            match sequence.part {
                Part::Nothing => continue,
                Part::Prefill(taken) => {
                    sequence.prefill_left -= taken;
                    if sequence.prefill_left > 0 {
                        continue;
                    }
                }
                Part::Decode => {}
            }
            let index = sequence.produced;
            sequence.produced += 1;
            tokens.push(Token { id: sequence.id, at_us, index, last: sequence.produced >= sequence.wanted });
        }
        self.running.retain(|sequence| sequence.produced < sequence.wanted);
    }

    /// The shortest sequence leaves first; steps go on as long as they are now.
    fn until_a_place_us(&self) -> u64 {
        let steps = self.running.iter().map(|sequence| sequence.wanted - sequence.produced).min().unwrap_or(1);
        u64::from(steps) * self.params.step_us(self.running.len() as u32, 0)
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
