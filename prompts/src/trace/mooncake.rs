//! Mooncake's traces (kvcache-ai/Mooncake, FAST '25): JSON lines with `timestamp`
//! in milliseconds, `input_length`, `output_length`, and `hash_ids` of blocks of
//! 512 tokens, by which requests share their beginnings.

use super::{Line, tokens};
use crate::problems::{Findings, column_in_characters};
use serde_json::{Map, Value};

const NS_PER_MS: f64 = 1e6;

pub(super) fn read(text: &str, findings: &mut Findings<'_>) -> Vec<Line> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.filter_map(|(n, text)| line(text, n as u32 + 1, findings)).collect()
}

/// `None` for a line with problems, all of which are told.
fn line(text: &str, number: u32, findings: &mut Findings<'_>) -> Option<Line> {
    let fields: Map<String, Value> = match serde_json::from_str(text) {
        Ok(fields) => fields,
        Err(error) => {
            findings.add(number, column_in_characters(text, error.column()), "this is not a JSON object");
            return None;
        }
    };
    let mut told = |name: &'static str, problem: String| {
        findings.add(number, column_of(text, name), format!("{name}: {problem}"));
    };
    let at_ns = timestamp(&fields).map_err(|problem| told("timestamp", problem)).ok();
    let input = length(&fields, "input_length").map_err(|problem| told("input_length", problem)).ok();
    let output = length(&fields, "output_length").map_err(|problem| told("output_length", problem)).ok();
    let hash_ids = hash_ids(&fields).map_err(|problem| told("hash_ids", problem)).ok();
    Some(Line { at_ns: at_ns?, input_tokens: input?, output_tokens: output?, hash_ids: hash_ids? })
}

/// Where the key is written, in characters from 1; the line's beginning when it is not.
fn column_of(text: &str, key: &str) -> u32 {
    let at = text.find(&format!("\"{key}\"")).unwrap_or(0);
    text[..at].chars().count() as u32 + 1
}

fn timestamp(fields: &Map<String, Value>) -> Result<i128, String> {
    match fields.get("timestamp") {
        None => Err("it is missing".to_owned()),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(ms), _) => Ok(i128::from(ms) * 1_000_000),
            (None, Some(ms)) if (0.0..1e15).contains(&ms) => Ok((ms * NS_PER_MS).round() as i128),
            _ => Err(format!("`{value}` is not a time in milliseconds")),
        },
    }
}

fn length(fields: &Map<String, Value>, key: &str) -> Result<u32, String> {
    let value = fields.get(key).ok_or("it is missing")?;
    tokens(value.as_u64().ok_or_else(|| format!("`{value}` is not a whole number"))?)
}

/// A trace without them is one whose requests share nothing.
fn hash_ids(fields: &Map<String, Value>) -> Result<Box<[u64]>, String> {
    let Some(ids) = fields.get("hash_ids") else { return Ok(Box::default()) };
    let ids = ids.as_array().ok_or("this is not a list")?;
    ids.iter().map(|id| id.as_u64().ok_or_else(|| format!("`{id}` is not a whole number"))).collect()
}
