//! Prompts for language models, by the number of a request in the fleet.
//!
//! A [`PromptSource`] is built once from an entry of the plan and a seed; from
//! then on [`PromptSource::prompt`] is a pure function of the number, without a
//! lock and without a tokenizer, and what it gives goes into a request's body as it
//! is: [`Prompt::messages_json`]. Nothing here reads a file, a clock or a socket.
//!
//! In reading order:
//! - [`tokens`]: who counts, and how exactly
//! - `words`, `lengths`: text of an exact number of tokens; numbers drawn from distributions
//! - [`prompt`]: one prompt as bytes
//! - `records`, `given`: what was recorded, read once; `synthetic`: what is made up
//! - [`trace`]: what others sent, and when
//! - [`source`], [`conversation`]: one entry of the plan, by number and by turn
//!
//! ```
//! use squall_common::plan::prompts::{Length, Output, Prompts, PromptsFrom, Synthetic, TokenizerChoice};
//! use squall_prompts::PromptSource;
//!
//! let source = PromptSource::build(
//!     &Prompts {
//!         name: "short".to_owned(),
//!         from: PromptsFrom::Synthetic(Synthetic {
//!             tokens: Length::Uniform { min: 50, max: 100 },
//!             prefix: None,
//!             turns: Length::Fixed(1),
//!         }),
//!         output: Output::Drawn(Length::Fixed(64)),
//!         tokenizer: TokenizerChoice::Estimate,
//!     },
//!     7,
//! )?;
//! let prompt = source.prompt(12);
//! assert!(prompt.messages_json().starts_with(br#"[{"role":"user","content":""#));
//! assert_eq!((prompt, Some(64)), (source.prompt(12), source.prompt(12).max_tokens()));
//! # Ok::<(), squall_prompts::PromptProblems>(())
//! ```

pub mod conversation;
mod given;
mod lengths;
mod problems;
pub mod prompt;
mod records;
pub mod source;
mod synthetic;
pub mod tokens;
pub mod trace;
mod words;

pub use conversation::{Answer, Conversation};
pub use lengths::Lengths;
pub use problems::PromptProblems;
pub use prompt::Prompt;
pub use source::PromptSource;
pub use tokens::{TokenCount, TokenCounter};
pub use trace::{Trace, TraceEntry};
