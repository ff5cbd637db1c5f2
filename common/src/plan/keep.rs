//! Samples of what failed, that a plan asks its agents to keep.

use super::SecretId;

/// Off unless the plan asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepErrors {
    /// The most that one agent keeps of each scenario and target.
    pub per_target: u32,
    /// Bytes of a response's body told; 0: none.
    pub body_bytes: u32,
    pub pseudonymise: Option<Pseudonyms>,
}

/// By which key the strings of a body are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudonyms {
    /// Made by each agent for each run, and told to nobody.
    Random,
    /// The same wherever the secret is.
    Keyed(SecretId),
}

impl KeepErrors {
    pub const MOST_PER_TARGET: u32 = 100;
    pub const MOST_BODY_BYTES: u32 = 4_096;
}
