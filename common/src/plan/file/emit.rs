//! The tree as YAML again: block style, quoted wherever a plain text could be misread.

use super::node::{Node, Scalar, Value};

/// YAML that reads as the same tree.
pub(super) fn yaml(root: &Node) -> String {
    let mut out = String::new();
    block(root, 0, &mut out);
    out
}

fn block(node: &Node, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                out.push_str(&pad);
                scalar(&Scalar { text: entry.key.clone(), plain: false }, out);
                out.push(':');
                nested(&entry.node, indent, out);
            }
        }
        Value::List(items) => {
            for item in items {
                out.push_str(&pad);
                out.push('-');
                nested(item, indent, out);
            }
        }
        Value::Scalar(text) => {
            out.push_str(&pad);
            scalar(text, out);
            out.push('\n');
        }
    }
}

fn nested(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Scalar(text) => {
            out.push(' ');
            scalar(text, out);
            out.push('\n');
        }
        _ => {
            out.push('\n');
            block(node, indent + 2, out);
        }
    }
}

fn scalar(scalar: &Scalar, out: &mut String) {
    let text = &scalar.text;
    let reads_as_text = Node::plain(text, &super::Place::top()).to_json().is_string();
    match (scalar.plain, reads_as_text) {
        (true, false) if text.is_empty() => out.push_str("null"),
        // Numbers, booleans and null hold nothing that YAML could misread.
        (true, false) => out.push_str(text),
        (_, true) if is_plain_safe(text) => out.push_str(text),
        // JSON's escapes are YAML's, in double quotes.
        _ => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
    }
}

/// No character that YAML reads as syntax anywhere in a plain text.
fn is_plain_safe(text: &str) -> bool {
    let first_is_safe = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_');
    first_is_safe
        && !text.ends_with([':', ' '])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./%:+() <>=".contains(&b))
        && !text.contains(": ")
        && !text.contains("  ")
}
