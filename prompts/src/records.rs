//! Recorded prompts and conversations -> messages. Three shapes are recognised,
//! record by record, in JSON lines or in one JSON array.

use crate::problems::{Findings, PromptProblems, column_in_characters, text};
use crate::prompt::write_message;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use squall_common::plan::prompts::{DataFile, Message, Role};

/// One message, as it is sent and as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) role: Role,
    /// The JSON object, compact, with all its fields.
    pub(crate) json: Vec<u8>,
    /// What is text in its content.
    pub(crate) text: String,
}

/// One conversation. Holds at least one message of the user.
pub(crate) type Record = Vec<Said>;

impl Said {
    pub(crate) fn new(role: Role, text: &str) -> Self {
        let mut json = Vec::with_capacity(text.len() + 40);
        write_message(&mut json, role, text);
        Self { role, json, text: text.to_owned() }
    }
}

/// The records of a file, or every bad one with its line.
pub(crate) fn read(file: &DataFile) -> Result<Vec<Record>, PromptProblems> {
    let mut findings = Findings::of(&file.name);
    let text = text(&file.bytes, &mut findings);
    let mut records = Vec::new();
    for (line, item) in items(text, &mut findings) {
        match serde_json::from_str(item).map_err(|error| error.to_string()).and_then(|value| record(&value)) {
            Ok(record) => records.push(record),
            Err(message) => findings.add(line, 1, message),
        }
    }
    if records.is_empty() && findings.is_empty() {
        findings.add_with_advice(0, "no prompts in this file", SHAPES);
    }
    findings.or(records)
}

/// The same for prompts written in the plan.
pub(crate) fn inline(prompts: &[Vec<Message>]) -> Result<Vec<Record>, String> {
    let said = |message: &Message| Said::new(message.role, &message.content);
    prompts.iter().map(|messages| with_a_user(messages.iter().map(said).collect())).collect()
}

const SHAPES: &str = "one JSON object a line: {\"prompt\": …}, {\"messages\": […]} or {\"conversations\": […]}";

/// The JSON texts of the records, with the lines they begin on.
fn items<'t>(text: &'t str, findings: &mut Findings<'_>) -> Vec<(u32, &'t str)> {
    if text.trim_start().starts_with('[') && !is_json(first_line_of_several(text)) {
        match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => return placed(text, &items),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                findings.add(
                    line as u32,
                    column_in_characters(text.lines().nth(line.saturating_sub(1)).unwrap_or_default(), column),
                    without_place(&error),
                );
                return Vec::new();
            }
        }
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut items = Vec::new();
    for (n, line) in lines {
        match serde_json::from_str::<&RawValue>(line) {
            Ok(_) => items.push((n as u32 + 1, line)),
            Err(error) => {
                findings.add(n as u32 + 1, column_in_characters(line, error.column()), without_place(&error));
            }
        }
    }
    items
}

/// JSON lines may be arrays, too: then the first line is one by itself.
fn first_line_of_several(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { first } else { "" }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Each item is a slice of `text`, which says where it stands.
fn placed<'t>(text: &'t str, items: &[&'t RawValue]) -> Vec<(u32, &'t str)> {
    let (mut line, mut seen) = (1u32, 0usize);
    let place = |item: &&'t RawValue| {
        let at = item.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[seen..at].iter().filter(|&&b| b == b'\n').count() as u32;
        seen = at;
        (line, item.get())
    };
    items.iter().map(place).collect()
}

/// serde_json's message ends with a place of its own counting.
fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("this is not JSON: {message}")
}

fn record(value: &Value) -> Result<Record, String> {
    let Some(fields) = value.as_object() else {
        return match value {
            Value::Array(messages) => with_a_user(openai(messages)?),
            _ => Err(format!("this is no object; write {SHAPES}")),
        };
    };
    let list = |key: &str| match fields.get(key) {
        Some(Value::Array(items)) => Ok(items.as_slice()),
        _ => Err(format!("`{key}` is not a list")),
    };
    if fields.contains_key("messages") {
        with_a_user(openai(list("messages")?)?)
    } else if fields.contains_key("conversations") {
        with_a_user(share_gpt(list("conversations")?)?)
    } else if let Some(prompt) = fields.get("prompt") {
        single(prompt, fields)
    } else {
        Err(format!("this record has none of the known shapes; write {SHAPES}"))
    }
}

fn with_a_user(record: Record) -> Result<Record, String> {
    if !record.iter().any(|said| said.role == Role::User) {
        return Err("no message of the user in it".to_owned());
    }
    Ok(record)
}

fn single(prompt: &Value, fields: &Map<String, Value>) -> Result<Record, String> {
    let prompt = prompt.as_str().ok_or("`prompt` is not a text")?;
    let mut record = vec![Said::new(Role::User, prompt)];
    if let Some(answer) = fields.get("completion").and_then(Value::as_str) {
        record.push(Said::new(Role::Assistant, answer));
    }
    Ok(record)
}

fn openai(messages: &[Value]) -> Result<Record, String> {
    messages.iter().enumerate().map(|(n, message)| openai_message(message, n + 1)).collect()
}

/// `nth` is from 1, for messages to people.
fn openai_message(message: &Value, nth: usize) -> Result<Said, String> {
    let role = message.get("role").and_then(Value::as_str).ok_or(format!("message {nth} has no `role`"))?;
    let role = Role::from_word(role)
        .ok_or(format!("message {nth}: the role `{role}` is none of {}", Role::WORDS.join(", ")))?;
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => part_texts(parts),
        None | Some(Value::Null) if message.get("tool_calls").is_some() => String::new(),
        _ => return Err(format!("message {nth}: `content` is neither a text nor a list of parts")),
    };
    Ok(Said { role, json: message.to_string().into_bytes(), text })
}

/// Images and the like have no text; their tokens only the server knows.
fn part_texts(parts: &[Value]) -> String {
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
    texts.join("\n")
}

/// Conversations there often begin in the middle, with an answer to nothing: it
/// is left out.
fn share_gpt(turns: &[Value]) -> Result<Record, String> {
    let said: Result<Record, String> = turns.iter().enumerate().map(|(n, turn)| share_gpt_turn(turn, n + 1)).collect();
    let mut said = said?;
    if let Some(first_user) = said.iter().position(|said| said.role == Role::User) {
        let mut before = said.drain(..first_user).collect::<Record>();
        before.retain(|said| said.role != Role::Assistant);
        said.splice(0..0, before);
    }
    Ok(said)
}

fn share_gpt_turn(turn: &Value, nth: usize) -> Result<Said, String> {
    let from = turn.get("from").and_then(Value::as_str).ok_or(format!("turn {nth} has no `from`"))?;
    let role = match from {
        "human" | "user" => Role::User,
        "gpt" | "chatgpt" | "assistant" | "model" | "bing" | "bard" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(format!("turn {nth}: `{from}` is none of human, gpt, system")),
    };
    let text = turn.get("value").and_then(Value::as_str).ok_or(format!("turn {nth}: `value` is not a text"))?;
    Ok(Said::new(role, text))
}

#[cfg(test)]
mod tests;
