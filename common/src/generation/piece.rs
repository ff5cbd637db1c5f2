//! What one event of a stream, or one whole body, says. Fields that no figure
//! needs are passed over without being kept.

use crate::plan::Api;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    /// The limit of tokens was reached.
    Length,
    ToolCalls,
    ContentFilter,
    Other,
}

impl FinishReason {
    pub const ALL: [Self; 5] = [Self::Stop, Self::Length, Self::ToolCalls, Self::ContentFilter, Self::Other];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other => "other",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "stop" | "completed" => Self::Stop,
            "length" | "max_output_tokens" => Self::Length,
            "tool_calls" | "function_call" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            _ => Self::Other,
        }
    }
}

/// Tokens as the server counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    pub reasoning: u64,
}

/// What one event says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// It brings at least one token: content, reasoning or a part of a tool call.
    pub has_token: bool,
    /// …and one that a reader of the answer would see.
    pub is_visible: bool,
    pub finish: Option<FinishReason>,
    pub usage: Option<Usage>,
    /// An error object, by its code.
    pub error: Option<String>,
    pub is_filter_error: bool,
    /// The stream's own last word (`response.completed` and its like).
    pub is_last: bool,
}

impl Piece {
    /// Reads one event's data, or a whole body: the same fields. `None`: it is no JSON object.
    pub fn read(api: Api, data: &[u8]) -> Option<Self> {
        match api {
            Api::Responses => serde_json::from_slice::<ResponsesEvent<'_>>(data).ok().map(Self::from),
            Api::Chat | Api::Completions | Api::Embeddings => {
                serde_json::from_slice::<Chunk>(data).ok().map(Self::from)
            }
        }
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Choices>,
    #[serde(default)]
    usage: Option<RawUsage>,
    #[serde(default)]
    error: Option<RawError>,
}

impl From<Chunk> for Piece {
    fn from(chunk: Chunk) -> Self {
        let choices = chunk.choices.unwrap_or_default();
        Self {
            has_token: choices.has_token,
            is_visible: choices.is_visible,
            finish: choices.finish,
            usage: chunk.usage.and_then(RawUsage::known),
            is_filter_error: chunk.error.as_ref().is_some_and(RawError::is_filter),
            error: chunk.error.map(|error| error.code),
            is_last: false,
        }
    }
}

/// All choices of a chunk, folded while they are read.
#[derive(Default)]
struct Choices {
    has_token: bool,
    is_visible: bool,
    finish: Option<FinishReason>,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut choices: A) -> Result<Choices, A::Error> {
                let mut folded = Choices::default();
                while let Some(choice) = choices.next_element::<Choice<'de>>()? {
                    let text = choice.text.is_some_and(|text| text.0);
                    let delta = choice.delta.or(choice.message).unwrap_or_default();
                    let visible = text || delta.is_visible();
                    folded.is_visible |= visible;
                    folded.has_token |= visible || delta.is_reasoning();
                    if let Some(reason) = choice.finish_reason {
                        folded.finish = Some(FinishReason::of(&reason));
                    }
                }
                Ok(folded)
            }
        }
        from.deserialize_seq(Fold)
    }
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    message: Option<Delta>,
    #[serde(default)]
    text: Option<Filled>,
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<Filled>,
    #[serde(default)]
    refusal: Option<Filled>,
    #[serde(default)]
    reasoning_content: Option<Filled>,
    #[serde(default)]
    reasoning: Option<Filled>,
    #[serde(default)]
    tool_calls: Option<Filled>,
    #[serde(default)]
    function_call: Option<Filled>,
}

impl Delta {
    fn is_visible(&self) -> bool {
        [&self.content, &self.refusal, &self.tool_calls, &self.function_call].into_iter().any(is_filled)
    }

    fn is_reasoning(&self) -> bool {
        [&self.reasoning_content, &self.reasoning].into_iter().any(is_filled)
    }
}

fn is_filled(value: &Option<Filled>) -> bool {
    value.as_ref().is_some_and(|filled| filled.0)
}

/// Whether a text, list or map holds anything; its content is not kept.
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
                Ok(Filled(true))
            }

            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Filled, A::Error> {
                let mut any = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Filled(any))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                let mut any = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    any = true;
                }
                Ok(Filled(any))
            }
        }
        from.deserialize_any(Look)
    }
}

/// `usage` under the names of all four APIs.
#[derive(Default, Deserialize)]
struct RawUsage {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(default, alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
    #[serde(default, alias = "output_tokens_details")]
    completion_tokens_details: Option<Details>,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl RawUsage {
    /// `None` when no field of it was known.
    fn known(self) -> Option<Usage> {
        if self.prompt_tokens.is_none() && self.completion_tokens.is_none() {
            return None;
        }
        Some(Usage {
            input: self.prompt_tokens.unwrap_or(0),
            output: self.completion_tokens.unwrap_or(0),
            cached: self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0),
            reasoning: self.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0),
        })
    }
}

/// An error object by its code. Its message may quote the prompt, which is to stay on the agent.
struct RawError {
    code: String,
}

impl<'de> Deserialize<'de> for RawError {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Errors are rare: what they cost does not matter.
        let value = serde_json::Value::deserialize(from)?;
        let word = |key: &str| match value.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Null => None,
            other => Some(other.to_string()),
        };
        Ok(Self { code: word("code").or_else(|| word("type")).unwrap_or_else(|| "an error without a code".to_owned()) })
    }
}

impl RawError {
    fn is_filter(&self) -> bool {
        self.code == "content_filter"
    }
}

/// An event of the Responses API, or its whole body: told apart by `type`.
#[derive(Deserialize)]
struct ResponsesEvent<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    delta: Option<Filled>,
    #[serde(default, borrow)]
    response: Option<ResponseObject<'a>>,
    #[serde(default)]
    code: Option<String>,
    // The whole body of an answer that is not streamed.
    #[serde(default, borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<RawUsage>,
    #[serde(default, borrow)]
    incomplete_details: Option<Incomplete<'a>>,
    #[serde(default)]
    error: Option<RawError>,
}

#[derive(Default, Deserialize)]
struct ResponseObject<'a> {
    #[serde(default, borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<RawUsage>,
    #[serde(default, borrow)]
    incomplete_details: Option<Incomplete<'a>>,
    #[serde(default)]
    error: Option<RawError>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(default, borrow)]
    reason: Option<Cow<'a, str>>,
}

impl ResponseObject<'_> {
    fn piece(self) -> Piece {
        let finish = match (self.status.as_deref(), &self.incomplete_details) {
            (Some("completed"), _) => Some(FinishReason::Stop),
            (Some("incomplete"), Some(Incomplete { reason: Some(reason) })) => Some(FinishReason::of(reason)),
            (Some("incomplete"), _) => Some(FinishReason::Other),
            _ => None,
        };
        Piece {
            finish,
            usage: self.usage.and_then(RawUsage::known),
            is_filter_error: self.error.as_ref().is_some_and(RawError::is_filter),
            error: self.error.map(|error| error.code),
            ..Piece::default()
        }
    }
}

impl From<ResponsesEvent<'_>> for Piece {
    fn from(event: ResponsesEvent<'_>) -> Self {
        let has_delta = event.delta.is_some_and(|delta| delta.0);
        match &*event.kind {
            "response.output_text.delta" | "response.refusal.delta" | "response.function_call_arguments.delta" => {
                Self { has_token: has_delta, is_visible: has_delta, ..Self::default() }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                Self { has_token: has_delta, ..Self::default() }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                Self { is_last: true, ..event.response.unwrap_or_default().piece() }
            }
            "error" => {
                let code = event.code.unwrap_or_else(|| "error".to_owned());
                Self { error: Some(code), is_last: true, ..Self::default() }
            }
            "" => {
                let ResponsesEvent { status, usage, incomplete_details, error, .. } = event;
                ResponseObject { status, usage, incomplete_details, error }.piece()
            }
            _ => Self::default(),
        }
    }
}
