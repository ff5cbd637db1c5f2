//! A model's answer, read while it comes: events → tokens → times. Pure.
//!
//! - [`sse`]: bytes → events, split anywhere
//! - [`piece`]: one event (or one whole body) → what it says
//! - [`reading`]: one answer → when its tokens came, how it ended
//! - [`tokens`]: what a series counts of many answers
//!
//! Definitions (docs/llm.md has them beside those of other tools): the first token
//! is the first event with a non-empty content, reasoning or tool-call delta; a
//! role, filter or usage chunk is none. Gaps are between events that bring tokens;
//! an event with several tokens is one gap.

pub mod piece;
pub mod reading;
pub mod sse;
pub mod tokens;

pub use piece::{FinishReason, Usage};
pub use reading::{Generation, Reading};
pub use tokens::Tokens;

#[cfg(test)]
mod tests;
