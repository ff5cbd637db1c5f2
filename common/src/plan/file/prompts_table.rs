//! The shape of `prompts`.

use super::shape::{Kind, Object};
use super::table::{field, with_default};
use crate::plan::prompts::{MAX_TOKENS, Role, SharedPrefix};
use Kind::{Count, Either, List, Text, Word};

const TOKENS: Kind = Count(1, MAX_TOKENS as u64);
const LENGTH_KIND: Kind = Either(&[TOKENS, Kind::Object(&LENGTH)]);

pub(super) static PROMPTS: Object = Object {
    name: "prompts",
    doc: "What requests ask a model: exactly one of `file`, `messages`, `texts`, `tokens`, `trace`.",
    shorthand: Some("file"),
    fields: &[
        field("file", Text, "Recorded prompts: JSON lines or a JSON array, in one of three shapes."),
        field("messages", List(&Kind::Object(&MESSAGE)), "One prompt, message by message."),
        field("texts", List(&Text), "Prompts of one message of the user each."),
        field("tokens", LENGTH_KIND, "Made-up prompts of this length: a number, or a distribution."),
        field("trace", Text, "A trace to replay: Azure LLM inference (CSV) or Mooncake (JSON lines)."),
        with_default(
            "order",
            Word(&["sequential", "random", "shuffled"]),
            "sequential",
            "Which record a request gets, by its number in the fleet (`file`, `texts`).",
        ),
        with_default(
            "take",
            Word(&["first_turn", "last_turn"]),
            "first_turn",
            "How much of a recorded conversation one prompt holds (`file`).",
        ),
        field("prefix", Kind::Object(&PREFIX), "Beginnings in common, for caches to find (`tokens`)."),
        with_default("turns", LENGTH_KIND, "1", "Messages of the user in a conversation (`tokens`)."),
        with_default("speed", Text, "1", "2 sends a trace in half the time (`trace`)."),
        with_default("start", Kind::DurationOrZero, "0s", "What comes before in the trace is left out (`trace`)."),
        field("length", Kind::Duration, "How much of the trace's own time is replayed (`trace`); default: all."),
        field(
            "output",
            Either(&[Word(&["recorded"]), TOKENS, Kind::Object(&LENGTH)]),
            "The longest answer: a number, a distribution, or as long as the `recorded` one. Default: the server's.",
        ),
        with_default(
            "tokenizer",
            Text,
            "estimate",
            "Who counts: `estimate`, an OpenAI model or vocabulary (`gpt-4o`), or a file `….json`.",
        ),
    ],
};

static MESSAGE: Object = Object {
    name: "message",
    doc: "One message of a prompt.",
    shorthand: None,
    fields: &[
        with_default("role", Word(&Role::WORDS), "user", "Who speaks."),
        field("content", Text, "What is said, as it is written."),
    ],
};

static PREFIX: Object = Object {
    name: "prefix",
    doc: "Beginnings that many prompts have in common, as the system's message.",
    shorthand: None,
    fields: &[
        field("tokens", TOKENS, "Their length, on top of the prompt's own."),
        with_default("count", Count(1, SharedPrefix::MOST as u64), "1", "How many different ones there are."),
        with_default("zipf", Text, "0", "The k-th is drawn in proportion to `k^-zipf`; 0 draws all alike."),
    ],
};

pub(super) static LENGTH: Object = Object {
    name: "length",
    doc: "A distribution of lengths: `min` and `max` alone (uniform), `mean` and `stddev`, `p50` and `p99`, or a `histogram`.",
    shorthand: None,
    fields: &[
        with_default("min", TOKENS, "1", "No shorter. The tails of a distribution are cut off."),
        with_default("max", TOKENS, "4000000", "No longer."),
        field("mean", TOKENS, "The mean, with `stddev`."),
        field("stddev", TOKENS, "The standard deviation, with `mean`."),
        field("p50", TOKENS, "The median of a log-normal distribution, with `p99`."),
        field("p99", TOKENS, "Its 99th percentile, with `p50`."),
        with_default("shape", Word(&["normal", "lognormal"]), "normal", "What `mean` and `stddev` are of."),
        field("histogram", List(&Kind::Object(&BAR)), "Lengths by their weights."),
    ],
};

static BAR: Object = Object {
    name: "bar",
    doc: "One length of a histogram.",
    shorthand: None,
    fields: &[
        field("tokens", TOKENS, "The length."),
        with_default("weight", Count(0, 1_000_000_000), "1", "How often."),
    ],
};
