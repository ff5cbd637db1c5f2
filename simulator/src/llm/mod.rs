//! The endpoints of language models.
//!
//! body → [`ask`] → [`draft`]s → admission → the model server's tokens →
//! [`events`] in a [`dialect`] → pieces of a body, noted in the [`account`].
//! The shapes of each API are alone in its file: [`chat`], [`completions`],
//! [`responses`], [`embeddings`].

pub(crate) mod account;
pub(crate) mod admission;
pub(crate) mod ask;
mod chat;
mod completions;
mod delays;
pub(crate) mod deployment;
pub(crate) mod dialect;
mod draft;
mod embeddings;
mod events;
mod peaks;
mod prefix_cache;
mod prompt;
mod responses;
pub(crate) mod serve;
mod sse;
mod stream;
mod truth;

pub use delays::Delays;
pub(crate) use delays::in_ms;
pub use dialect::{Dialect, LineEnd};
pub use truth::{AdmissionTruth, DeploymentTruth, PeakTruth, StreamTruth, TokenTruth};
