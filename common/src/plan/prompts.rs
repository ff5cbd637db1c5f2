//! Where a scenario's prompts come from, as the plan says it. Nothing here is
//! text for a model yet: `squall-prompts` makes it, where the load is made.

use bytes::Bytes;
use std::time::Duration;

/// The longest prompt, and the longest answer, that a plan can ask for.
pub const MAX_TOKENS: u32 = 4_000_000;

/// One entry of the plan's `prompts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    pub name: String,
    pub from: PromptsFrom,
    /// How many tokens an answer may have. Traces bring their own.
    pub output: Output,
    pub tokenizer: TokenizerChoice,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PromptsFrom {
    /// Written in the plan. Never empty, and no prompt is.
    Inline { prompts: Vec<Vec<Message>>, order: PromptOrder },
    /// JSON lines or a JSON array, in any of the shapes that are recognised.
    File { file: DataFile, order: PromptOrder, take: Take },
    /// Made up, of given lengths.
    Synthetic(Synthetic),
    /// What others sent, at the times they sent it.
    Trace(TraceReplay),
}

/// A file that travels with the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// As the plan writes it; shown in problems.
    pub name: String,
    pub bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// Who speaks, by the names of the OpenAI API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

impl Role {
    pub const WORDS: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

    pub fn from_word(word: &str) -> Option<Self> {
        let roles = [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool];
        roles.into_iter().find(|role| role.word() == word)
    }

    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Which record a request gets; always by its number in the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptOrder {
    /// By number, from the top again at the end.
    #[default]
    Sequential,
    /// Any record each time, seeded.
    Random,
    /// Every record once in a seeded order, then again in another.
    Shuffled,
}

/// How much of a recorded conversation one prompt holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Take {
    /// Up to the first answer.
    #[default]
    FirstTurn,
    /// Up to the last message of the user, with the answers recorded before it.
    LastTurn,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The request says nothing about it.
    Unlimited,
    /// Drawn for each turn.
    Drawn(Length),
    /// As long as the answer in the record, where there is one.
    Recorded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerChoice {
    /// Characters divided by four.
    Estimate,
    /// The vocabulary of one of OpenAI's models, or by its own name (`o200k_base`).
    OpenAi(String),
    /// A Hugging Face `tokenizer.json`.
    File(DataFile),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// Of each message of the user.
    pub tokens: Length,
    /// Stands before the first message, as the system's, on top of `tokens`.
    pub prefix: Option<SharedPrefix>,
    /// Messages of the user in one conversation.
    pub turns: Length,
}

/// Beginnings that many prompts have in common, so that a cache of prompts has
/// something to find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedPrefix {
    /// At least 1.
    pub tokens: u32,
    /// How many different ones there are. From 1 to [`Self::MOST`].
    pub count: u32,
    /// The k-th is drawn in proportion to `k^-zipf`; 0 draws all alike.
    pub zipf: f64,
}

impl SharedPrefix {
    pub const MOST: u32 = 1_000_000;

    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        within("prefix tokens", self.tokens, 1, MAX_TOKENS)?;
        within("prefix count", self.count, 1, Self::MOST)?;
        if !(0.0..=10.0).contains(&self.zipf) {
            return Err(format!("a zipf exponent of {} is not from 0 to 10", self.zipf));
        }
        Ok(())
    }
}

/// A number of tokens (or turns) for each draw. What is drawn is a whole number;
/// the bell-shaped ones are cut at their bounds, not piled up on them.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    Fixed(u32),
    /// Both bounds included.
    Uniform {
        min: u32,
        max: u32,
    },
    Normal {
        mean: f64,
        stddev: f64,
        min: u32,
        max: u32,
    },
    LogNormal {
        by: LogNormalBy,
        min: u32,
        max: u32,
    },
    /// Lengths with their weights.
    Histogram(Vec<(u32, f64)>),
}

/// How a log-normal distribution is named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LogNormalBy {
    Percentiles {
        p50: f64,
        p99: f64,
    },
    /// Of the lengths themselves, not of their logarithms.
    Moments {
        mean: f64,
        stddev: f64,
    },
}

impl Length {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Fixed(tokens) => within("length", *tokens, 1, MAX_TOKENS),
            Self::Uniform { min, max } => bounds(*min, *max),
            Self::Normal { mean, stddev, min, max } => {
                above_zero("mean", *mean)?;
                above_zero("stddev", *stddev)?;
                bounds(*min, *max)?;
                reachable(*mean, *min, *max)
            }
            Self::LogNormal { by, min, max } => {
                let middle = match *by {
                    LogNormalBy::Percentiles { p50, p99 } => {
                        above_zero("p50", p50)?;
                        above_zero("p99", p99)?;
                        if p99 <= p50 {
                            return Err(format!("p99 ({p99}) is not above p50 ({p50})"));
                        }
                        p50
                    }
                    LogNormalBy::Moments { mean, stddev } => {
                        above_zero("mean", mean)?;
                        above_zero("stddev", stddev)?;
                        mean
                    }
                };
                bounds(*min, *max)?;
                reachable(middle, *min, *max)
            }
            Self::Histogram(bars) => {
                for &(tokens, weight) in bars {
                    within("length", tokens, 1, MAX_TOKENS)?;
                    if !weight.is_finite() || weight < 0.0 {
                        return Err(format!("a weight of {weight} is not a number from 0 up"));
                    }
                }
                let sum: f64 = bars.iter().map(|(_, weight)| weight).sum();
                if sum > 0.0 && sum.is_finite() { Ok(()) } else { Err("no length has a weight above 0".to_owned()) }
            }
        }
    }
}

fn within(what: &str, value: u32, min: u32, max: u32) -> Result<(), String> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(format!("{what}: {value} is not from {min} to {max}")) }
}

fn bounds(min: u32, max: u32) -> Result<(), String> {
    within("min", min, 1, MAX_TOKENS)?;
    within("max", max, 1, MAX_TOKENS)?;
    if min > max { Err(format!("min ({min}) is above max ({max})")) } else { Ok(()) }
}

fn above_zero(what: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("{what}: {value} is not above 0")) }
}

/// Bounds that leave out the middle would draw from a tail, which nobody means.
fn reachable(middle: f64, min: u32, max: u32) -> Result<(), String> {
    if (f64::from(min)..=f64::from(max)).contains(&middle) {
        Ok(())
    } else {
        Err(format!("the middle of the distribution, {middle}, is not within its bounds, {min} to {max}"))
    }
}

/// A trace in one of the shapes that are recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceReplay {
    pub file: DataFile,
    /// 2 sends in half the time. Above 0.
    pub speed: f64,
    /// Of the trace's own time: what comes before is left out, and times count from here.
    pub start: Duration,
    /// Of the trace's own time, from `start`; `None` is to the end.
    pub length: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_means_nothing_is_refused_with_its_figures() {
        let refused = |length: Length| length.check().unwrap_err();
        assert!(refused(Length::Fixed(0)).contains("0 is not from 1"));
        assert!(refused(Length::Uniform { min: 9, max: 3 }).contains("min (9) is above max (3)"));
        assert!(refused(Length::Normal { mean: f64::NAN, stddev: 1.0, min: 1, max: 9 }).contains("mean"));
        assert!(refused(Length::Normal { mean: 100.0, stddev: 1.0, min: 1, max: 9 }).contains("within its bounds"));
        let by = LogNormalBy::Percentiles { p50: 9.0, p99: 9.0 };
        assert!(refused(Length::LogNormal { by, min: 1, max: 9 }).contains("not above p50"));
        assert!(refused(Length::Histogram(vec![])).contains("no length has a weight"));
        assert!(refused(Length::Histogram(vec![(5, -1.0)])).contains("-1"));
        assert!(Length::Histogram(vec![(5, 0.0), (6, 1.0)]).check().is_ok());
    }

    #[test]
    fn roles_are_known_by_their_words() {
        for word in Role::WORDS {
            assert_eq!(Role::from_word(word).map(Role::word), Some(word));
        }
        assert_eq!(Role::from_word("human"), None);
    }
}
