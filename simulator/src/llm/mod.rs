//! The endpoints of language models, and what is known of every answer.

pub(crate) mod account;
mod truth;

pub use truth::{DeploymentTruth, StreamTruth, TokenTruth};
