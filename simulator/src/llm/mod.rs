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
pub(crate) mod deployment;
pub(crate) mod dialect;
mod draft;
mod embeddings;
mod events;
mod peaks;
mod prompt;
mod responses;
pub(crate) mod serve;
mod sse;
mod stream;
mod truth;

pub use dialect::{Dialect, LineEnd};
pub use truth::{AdmissionTruth, DeploymentTruth, PeakTruth, StreamTruth, TokenTruth};
