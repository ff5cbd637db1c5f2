//! What is asked of a model, whichever endpoint it came through.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::prompt::Prompt;
use crate::azure;
use crate::body::Answer;

/// The legacy endpoint's default where no `max_tokens` is given.
const COMPLETIONS_MAX_TOKENS: u32 = 16;
const MAX_CHOICES: u32 = 128;
const MAX_STOPS: usize = 4;
const MAX_INPUTS: usize = 2_048;
const MAX_DIMENSIONS: u32 = 3_072;
const USUAL_DIMENSIONS: u32 = 1_536;

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
    Responses,
    Embeddings,
}

impl Api {
    /// How Azure's messages name it.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Chat => "ChatCompletions_Create",
            Self::Completions => "Completions_Create",
            Self::Responses => "Responses_Create",
            Self::Embeddings => "Embeddings_Create",
        }
    }
}

/// A request, checked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) api: Api,
    pub(crate) model: Option<String>,
    /// One, but for completions and embeddings.
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) is_stream: bool,
    pub(crate) include_usage: bool,
    /// Most tokens an answer may have, reasoning included.
    pub(crate) limit: Option<u32>,
    /// Answers per prompt.
    pub(crate) n: u32,
    pub(crate) stop: Vec<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) form: Form,
    /// What the usual number of reasoning tokens is multiplied by.
    pub(crate) effort: f64,
    pub(crate) vectors: Vectors,
}

/// What the visible part of an answer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// A call of each of these tools.
    ToolCalls(Vec<String>),
}

/// How embeddings are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vectors {
    pub(crate) dimensions: u32,
    pub(crate) is_base64: bool,
}

/// Fields of any endpoint that matter here; others are taken and ignored.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<String>,
    messages: Option<Vec<Value>>,
    prompt: Option<Value>,
    input: Option<Value>,
    instructions: Option<String>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    n: Option<u32>,
    stop: Option<OneOrMore>,
    seed: Option<i64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    response_format: Option<Value>,
    reasoning_effort: Option<String>,
    reasoning: Option<Reasoning>,
    encoding_format: Option<String>,
    dimensions: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Reasoning {
    effort: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

type Refused = Box<Answer>;

fn invalid(message: &str, param: &str) -> Refused {
    azure::invalid(message, Some(param)).into()
}

fn missing(param: &str) -> Refused {
    invalid(&format!("Missing required parameter: '{param}'."), param)
}

impl Ask {
    /// Reads a request, or says what is wrong in OpenAI's words.
    pub(crate) fn parse(api: Api, bytes: &[u8]) -> Result<Self, Refused> {
        let body: Body = read(bytes)?;
        let prompts = body.prompts(api)?;
        let (limit, limit_name) = match api {
            Api::Chat => match body.max_completion_tokens {
                Some(limit) => (Some(limit), "max_completion_tokens"),
                None => (body.max_tokens, "max_tokens"),
            },
            Api::Completions => (Some(body.max_tokens.unwrap_or(COMPLETIONS_MAX_TOKENS)), "max_tokens"),
            Api::Responses => (body.max_output_tokens, "max_output_tokens"),
            Api::Embeddings => (None, ""),
        };
        if limit == Some(0) {
            return Err(invalid(&format!("{limit_name} must be at least 1."), limit_name));
        }
        let n = if matches!(api, Api::Chat | Api::Completions) { body.n.unwrap_or(1) } else { 1 };
        if !(1..=MAX_CHOICES).contains(&n) {
            return Err(invalid(&format!("n must be from 1 to {MAX_CHOICES}."), "n"));
        }
        let form = body.form(api);
        let vectors = body.vectors()?;
        let effort = body.effort()?;
        let stop = match body.stop {
            None => Vec::new(),
            Some(OneOrMore::One(stop)) => vec![stop],
            Some(OneOrMore::More(stops)) => stops,
        };
        if stop.len() > MAX_STOPS || stop.iter().any(String::is_empty) {
            return Err(invalid("stop takes up to 4 strings that are not empty.", "stop"));
        }
        Ok(Self {
            api,
            model: body.model,
            prompts,
            is_stream: api != Api::Embeddings && body.stream == Some(true),
            include_usage: body.stream_options.is_some_and(|options| options.include_usage),
            limit,
            n,
            stop,
            seed: body.seed.map(i64::cast_unsigned),
            form,
            effort,
            vectors,
        })
    }

    /// Tokens of all prompts.
    pub(crate) fn prompt_tokens(&self) -> u32 {
        self.prompts.iter().fold(0, |sum: u32, prompt| sum.saturating_add(prompt.tokens()))
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|cause| {
        azure::invalid(&format!("We could not parse the JSON body of your request: {cause}"), None).into()
    })
}

impl Body {
    fn prompts(&self, api: Api) -> Result<Vec<Prompt>, Refused> {
        let (field, input) = match api {
            Api::Chat => {
                let messages = self.messages.as_deref().ok_or_else(|| missing("messages"))?;
                return Ok(vec![Prompt::of_messages(messages)]);
            }
            Api::Completions => ("prompt", &self.prompt),
            Api::Responses | Api::Embeddings => ("input", &self.input),
        };
        let input = input.as_ref().ok_or_else(|| missing(field))?;
        if api == Api::Responses {
            return Ok(vec![Prompt::of_messages(&self.items(input)?)]);
        }
        let prompts = Prompt::list_of(input).filter(|prompts| (1..=MAX_INPUTS).contains(&prompts.len()));
        let wanted = "must be a string, a list of token numbers, or a list of up to 2048 of either";
        prompts.ok_or_else(|| invalid(&format!("'{field}' {wanted}."), field))
    }

    /// A text is one message of the user's; instructions come first.
    fn items(&self, input: &Value) -> Result<Vec<Value>, Refused> {
        let message = |role: &str, text: &str| serde_json::json!({"role": role, "content": text});
        let mut items: Vec<Value> = self.instructions.iter().map(|text| message("system", text)).collect();
        match input {
            Value::String(text) => items.push(message("user", text)),
            Value::Array(list) => items.extend(list.iter().cloned()),
            _ => return Err(invalid("'input' must be a string or a list of items.", "input")),
        }
        Ok(items)
    }

    fn form(&self, api: Api) -> Form {
        if !matches!(api, Api::Chat | Api::Responses) {
            return Form::Text;
        }
        let tools = self.tool_calls(api);
        if !tools.is_empty() {
            return Form::ToolCalls(tools);
        }
        let format = self.response_format.as_ref().and_then(|format| format.get("type")).and_then(Value::as_str);
        if matches!(format, Some("json_object" | "json_schema")) { Form::Json } else { Form::Text }
    }

    /// The tools to call: the one named, otherwise the first two, or the first
    /// alone where calls may not be parallel. None after a tool has answered.
    fn tool_calls(&self, api: Api) -> Vec<String> {
        let name = |tool: &Value| {
            let named = tool.get("function").and_then(|function| function.get("name")).or_else(|| tool.get("name"));
            named.and_then(Value::as_str).map(str::to_owned)
        };
        let last = match api {
            Api::Responses => self.input.as_ref().and_then(Value::as_array).and_then(|items| items.last()),
            _ => self.messages.as_ref().and_then(|messages| messages.last()),
        };
        let field = |item: &Value, field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
        let has_answered = last.is_some_and(|last| {
            field(last, "role").as_deref() == Some("tool")
                || field(last, "type").as_deref() == Some("function_call_output")
        });
        let choice = self.tool_choice.as_ref();
        if has_answered || choice.and_then(Value::as_str) == Some("none") {
            return Vec::new();
        }
        if let Some(named) = choice.and_then(name) {
            return vec![named];
        }
        let most = if self.parallel_tool_calls == Some(false) { 1 } else { 2 };
        self.tools.iter().flatten().filter_map(name).take(most).collect()
    }

    fn effort(&self) -> Result<f64, Refused> {
        let inner = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref());
        match self.reasoning_effort.as_deref().or(inner) {
            Some("none" | "minimal") => Ok(0.0),
            Some("low") => Ok(0.5),
            None | Some("medium") => Ok(1.0),
            Some("high" | "xhigh") => Ok(2.0),
            Some(_) => {
                Err(invalid("reasoning_effort is none, minimal, low, medium, high or xhigh.", "reasoning_effort"))
            }
        }
    }

    fn vectors(&self) -> Result<Vectors, Refused> {
        let is_base64 = match self.encoding_format.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(invalid("encoding_format is float or base64.", "encoding_format")),
        };
        let dimensions = self.dimensions.unwrap_or(USUAL_DIMENSIONS);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(invalid(&format!("dimensions must be from 1 to {MAX_DIMENSIONS}."), "dimensions"));
        }
        Ok(Vectors { dimensions, is_base64 })
    }
}
