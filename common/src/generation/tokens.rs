//! What is counted of many answers.

use super::FinishReason;

/// Sums over the answers of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Requests to a model that got an answer with a success status, whole or broken.
    pub generations: u64,
    /// Of these, whose tokens the server counted itself (`usage`).
    pub with_usage: u64,
    pub input: u64,
    /// The server's count; where it gave none, the events that brought tokens.
    pub output: u64,
    /// Of `input`: read from the server's prompt cache.
    pub cached: u64,
    /// Of `output`: not shown to the reader.
    pub reasoning: u64,
    /// Events that brought tokens.
    pub chunks: u64,
    /// Gaps above the plan's limit.
    pub stalls: u64,
    /// Requests that met every bound of the plan's `goodput`.
    pub good: u64,
    /// Prompts that the server's content filter refused.
    pub prompts_filtered: u64,
    /// By [`FinishReason`].
    pub finish: [u64; FinishReason::ALL.len()],
}

impl Tokens {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn add(&mut self, other: &Self) {
        self.generations += other.generations;
        self.with_usage += other.with_usage;
        self.input += other.input;
        self.output += other.output;
        self.cached += other.cached;
        self.reasoning += other.reasoning;
        self.chunks += other.chunks;
        self.stalls += other.stalls;
        self.good += other.good;
        self.prompts_filtered += other.prompts_filtered;
        self.finish.iter_mut().zip(other.finish).for_each(|(own, theirs)| *own += theirs);
    }
}
