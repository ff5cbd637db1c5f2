//! The table as JSON Schema, for editors.

use super::shape::{Field, Kind, Object};
use super::table::PLAN;
use serde_json::{Map, Value, json};

/// JSON Schema (draft 2020-12) of a plan, made from the table the checks use.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    let root = object(&PLAN, &mut definitions);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Squall plan",
    });
    if let (Some(schema), Value::Object(root)) = (schema.as_object_mut(), root) {
        schema.extend(root);
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn object(object: &'static Object, definitions: &mut Map<String, Value>) -> Value {
    let properties: Map<String, Value> =
        object.fields.iter().map(|field| (field.key.to_owned(), property(field, definitions))).collect();
    json!({"type": "object", "description": object.doc, "properties": properties, "additionalProperties": false})
}

fn property(field: &Field, definitions: &mut Map<String, Value>) -> Value {
    let description = match field.default {
        Some(default) => format!("{} Default: {default}.", field.doc),
        None => field.doc.to_owned(),
    };
    let mut schema = kind(field.kind, definitions);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), description.into());
    }
    schema
}

const SCALARS: [&str; 3] = ["string", "number", "boolean"];
const DURATION: &str = r"^\s*([0-9.]+\s*(d|h|m|min|s|sec|ms|us|µs)\s*)+$";
const RATE: &str = r"^\s*[0-9._]+[kKMG]?\s*/\s*(s|sec|second|m|min|minute|h|hour)\s*$";
const COUNT: &str = r"^\s*[0-9._]+[kKMG]?\s*$";
/// A text that a var fills.
const VAR: &str = r"\{\{";

fn kind(kind: Kind, definitions: &mut Map<String, Value>) -> Value {
    match kind {
        Kind::Text => json!({"type": SCALARS}),
        Kind::Bool => json!({"anyOf": [{"type": "boolean"}, var()]}),
        Kind::Count(min, max) => {
            json!({"anyOf": [{"type": "integer", "minimum": min, "maximum": max}, text(COUNT), var()]})
        }
        Kind::Duration | Kind::DurationOrZero => json!({"anyOf": [text(DURATION), var()]}),
        Kind::Rate => json!({"anyOf": [text(RATE), var()]}),
        Kind::Share => json!({"anyOf": [{"type": "integer", "minimum": 1}, text("%$"), var()]}),
        Kind::Level => json!({"anyOf": [{"type": "integer", "minimum": 0}, text(RATE), text(COUNT), var()]}),
        Kind::Word(words) => json!({"anyOf": [{"enum": word_values(words)}, var()]}),
        Kind::Json => json!({}),
        Kind::List(of) => json!({"type": "array", "items": self::kind(*of, definitions)}),
        Kind::Map(of) => json!({"type": "object", "additionalProperties": self::kind(*of, definitions)}),
        Kind::Object(of) => {
            if !definitions.contains_key(of.name) {
                definitions.insert(of.name.to_owned(), Value::Null);
                let definition = object(of, definitions);
                definitions.insert(of.name.to_owned(), definition);
            }
            json!({"$ref": format!("#/$defs/{}", of.name)})
        }
        Kind::Either(kinds) => {
            let any: Vec<Value> = kinds.iter().map(|one| self::kind(*one, definitions)).collect();
            json!({"anyOf": any})
        }
    }
}

/// YAML reads some words as numbers or booleans: `http: 1.1`, `redirects: off`.
fn word_values(words: &[&str]) -> Vec<Value> {
    words
        .iter()
        .flat_map(|word| {
            let number = word.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::from);
            let boolean = (*word == "off").then_some(Value::Bool(false));
            [Some(Value::from(*word)), number, boolean].into_iter().flatten()
        })
        .collect()
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn var() -> Value {
    text(VAR)
}
