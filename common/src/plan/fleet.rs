//! What a plan asks of the fleet that carries it.

use super::Region;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What becomes of a run that loses an agent after its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnAgentLoss {
    /// The others are stopped; the result is kept, with a hole, and is invalid.
    #[default]
    Fail,
    /// The others go on. The hole is named, and SLOs must hold with and without its seconds.
    Continue,
    /// As `Continue`, and the others take the lost share over as far as they have headroom.
    Redistribute,
}

impl OnAgentLoss {
    pub const WORDS: [&str; 3] = ["fail", "continue", "redistribute"];

    pub fn from_word(word: &str) -> Option<Self> {
        let place = Self::WORDS.iter().position(|known| *known == word)?;
        Some([Self::Fail, Self::Continue, Self::Redistribute][place])
    }
}

/// Which agents must be there before a run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartWhen {
    pub agents: usize,
    /// At least so many in each.
    pub regions: Vec<(Region, usize)>,
    /// How long they are waited for.
    pub within: Duration,
}
