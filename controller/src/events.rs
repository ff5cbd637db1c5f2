//! What happened during a run, as lines of events.jsonl.

use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 on the wall clock.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// One event, past tense, with what it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    name: &'static str,
    fields: Map<String, Value>,
}

impl Event {
    pub fn new(name: &'static str) -> Self {
        Self { name, fields: Map::new() }
    }

    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// One line of JSON. `elapsed_s` counts from the common start and is
    /// negative before it; it is null while no start is agreed.
    pub fn line(&self, elapsed_s: Option<f64>) -> String {
        let mut all = Map::new();
        all.insert("at_unix_ms".to_owned(), unix_ms().into());
        all.insert("elapsed_s".to_owned(), elapsed_s.map_or(Value::Null, |s| json!((s * 1_000.0).round() / 1_000.0)));
        all.insert("event".to_owned(), self.name.into());
        all.extend(self.fields.clone());
        Value::Object(all).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_its_subject() {
        let line = Event::new("agent_lost").with("agent", "a").with("reason", "two\nlines").line(Some(1.23456));
        assert!(!line.contains('\n'));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((value["event"].as_str(), value["elapsed_s"].as_f64()), (Some("agent_lost"), Some(1.235)));
    }
}
