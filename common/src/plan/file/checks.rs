//! `checks` and `extract`: what is expected of responses, and taken from them.

use super::build::Builder;
use super::node::{Entry, Node};
use super::problem::Problem;
use super::targets::is_token;
use crate::plan::{Check, Extract, ExtractFrom, StatusMatch, TextMatch, VarId};

impl Builder<'_> {
    pub(super) fn checks(&mut self, node: &Node) -> Vec<Check> {
        let items = node.get("checks").map(Node::items).unwrap_or_default();
        items.iter().for_each(|item| self.refuse_templates(item));
        items.iter().filter_map(|item| self.check(item)).collect()
    }

    /// What is expected is fixed: a `{{…}}` would be compared letter by letter.
    fn refuse_templates(&mut self, node: &Node) {
        node.items().iter().for_each(|item| self.refuse_templates(item));
        node.entries().iter().for_each(|entry| self.refuse_templates(&entry.node));
        if node.scalar().is_some_and(|text| text.contains("{{")) {
            let problem = Problem::new(&node.place, "checks cannot use `{{…}}` other than `vars`").focus("{{");
            self.problems.push(problem.advice("write a fixed text, or a name from `vars`"));
        }
    }

    fn check(&mut self, item: &Node) -> Option<Check> {
        let entry = self.only_entry(item, "check", "write e.g. `- status: 200`, one check an item")?;
        match entry.key.as_str() {
            "status" => Some(Check::Status(self.statuses(&entry.node))),
            "header" => self.header_check(&entry.node),
            "body_contains" => entry.node.scalar().map(|text| Check::BodyContains(text.to_owned())),
            "json" => self.json_check(&entry.node),
            _ => None,
        }
    }

    /// Maps that say one thing: the one known entry.
    pub(super) fn only_entry<'n>(&mut self, item: &'n Node, what: &str, advice: &str) -> Option<&'n Entry> {
        match item.entries() {
            [one] => Some(one),
            [] if !item.is_map() => None,
            [] => {
                self.problem(item, &format!("this {what} says nothing"), advice);
                None
            }
            [_, second, ..] => {
                let message = format!("this {what} says more than one thing");
                self.problems.push(Problem::new(&second.key_place, message).advice(advice));
                None
            }
        }
    }

    fn statuses(&mut self, node: &Node) -> Vec<StatusMatch> {
        let items = if node.is_list() { node.items() } else { std::slice::from_ref(node) };
        let mut statuses = Vec::new();
        for item in items {
            let Some(text) = item.scalar() else { continue };
            match status(text) {
                Some(status) => statuses.push(status),
                None => self.problem(
                    item,
                    &format!("`{text}` is not a status"),
                    "write `200` (100 to 599), or `2xx` for a class",
                ),
            }
        }
        statuses
    }

    fn header_check(&mut self, node: &Node) -> Option<Check> {
        let name_node = if node.is_map() { node.get("name") } else { Some(node) };
        let Some(name) = name_node.and_then(Node::scalar) else {
            self.problem(node, "this header check names no header", "add `name: content-type`");
            return None;
        };
        if !is_token(name) {
            self.problem(
                name_node.unwrap_or(node),
                &format!("`{name}` is not a header name"),
                "use letters, digits and `-`",
            );
        }
        let matches = match (node.text_of("equals"), node.text_of("contains"), node.flag_of("present")) {
            (Some(text), None, None) => TextMatch::Equals(text.to_owned()),
            (None, Some(text), None) => TextMatch::Contains(text.to_owned()),
            (None, None, None | Some(true)) => TextMatch::Present,
            (None, None, Some(false)) => {
                self.problem(node, "that a header is absent cannot be checked", "write `present: true` or remove it");
                return None;
            }
            _ => {
                self.problem(
                    node,
                    "this header check says more than one thing",
                    "keep one of `equals`, `contains`, `present`",
                );
                return None;
            }
        };
        Some(Check::Header { name: name.to_ascii_lowercase(), matches })
    }

    fn json_check(&mut self, node: &Node) -> Option<Check> {
        let Some(pointer) = node.get("pointer") else {
            self.problem(node, "this check names no place in the JSON", "add `pointer: /status`");
            return None;
        };
        // A null may be what is expected, so the entry counts, not its value.
        let Some(expected) = node.entries().iter().find(|entry| entry.key == "equals") else {
            self.problem(node, "this check expects nothing", "add `equals: value`");
            return None;
        };
        Some(Check::JsonEquals { pointer: self.pointer(pointer)?, value: expected.node.to_json() })
    }

    fn pointer(&mut self, node: &Node) -> Option<String> {
        let text = node.scalar()?;
        if text.is_empty() || text.starts_with('/') {
            return Some(text.to_owned());
        }
        let path = text.trim_start_matches("$.").replace(['.', '['], "/").replace(']', "");
        self.problem(node, &format!("`{text}` is not a JSON pointer"), &format!("write `/{path}`"));
        None
    }

    pub(super) fn extracts(&mut self, node: &Node) -> Vec<Extract> {
        let entries = node.get("extract").map(Node::entries).unwrap_or_default();
        entries.iter().filter_map(|entry| self.extract(entry)).collect()
    }

    fn extract(&mut self, entry: &Entry) -> Option<Extract> {
        let name = &entry.key;
        let mut refuse = |message: String, advice: &str| {
            self.problems.push(Problem::new(&entry.key_place, message).advice(advice));
        };
        if !super::overrides::is_name(name) {
            refuse(
                format!("`{name}` cannot name a variable"),
                "use letters, digits, `_` and `-`, beginning with a letter",
            );
        } else if self.vars.contains(name) {
            refuse(format!("`{name}` is already one of the `vars`"), "give one of them another name");
        }
        let into = self.variable(name);
        let source = self.only_entry(&entry.node, "extract", "write one of `json`, `regex`, `header`")?;
        let text = source.node.scalar()?;
        let from = match source.key.as_str() {
            "json" => ExtractFrom::Json { pointer: self.pointer(&source.node)? },
            "regex" => {
                if let Err(error) = regex::bytes::Regex::new(text) {
                    let last = error.to_string();
                    let reason = last.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    self.problem(
                        &source.node,
                        &format!("this regular expression is not understood: {reason}"),
                        "escape what is meant literally with `\\`",
                    );
                }
                ExtractFrom::Regex { pattern: text.to_owned() }
            }
            "header" => {
                if !is_token(text) {
                    self.problem(
                        &source.node,
                        &format!("`{text}` is not a header name"),
                        "use letters, digits and `-`",
                    );
                }
                ExtractFrom::Header { name: text.to_ascii_lowercase() }
            }
            _ => return None,
        };
        Some(Extract { into, from })
    }

    pub(super) fn variable(&mut self, name: &str) -> VarId {
        let id = self.variables.iter().position(|known| known == name).unwrap_or_else(|| {
            self.variables.push(name.to_owned());
            self.variables.len() - 1
        });
        VarId(id as u16)
    }
}

fn status(text: &str) -> Option<StatusMatch> {
    if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
        return class.parse().ok().filter(|class| (1..=5).contains(class)).map(StatusMatch::Class);
    }
    text.parse().ok().filter(|status| (100..=599).contains(status)).map(StatusMatch::Exactly)
}
