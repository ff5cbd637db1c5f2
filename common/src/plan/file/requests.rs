//! One request: method, path, headers, body.

use super::build::{Builder, tags};
use super::models;
use super::node::{Node, Value};
use super::problem::{Place, Problem};
use super::targets::is_token;
use super::template::{Coding, Names, join};
use crate::plan::{BodyTemplate, Step, Template, ThinkTime, VarId};
use std::time::Duration;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const VERBS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];
const BODIES: [&str; 5] = ["body", "payload", "body_file", "json", "form"];

/// What a step is built with, beside its own keys.
pub(super) struct Surroundings<'s> {
    /// The scenario around the step; the same node when the request is inline.
    pub(super) scenario: &'s Node,
    pub(super) extracted: &'s [(String, VarId)],
    pub(super) later: &'s [String],
    /// Used when nothing names a path.
    pub(super) default_path: Option<&'static str>,
}

impl Builder<'_> {
    /// One step, from its own map or from the scenario that holds it inline.
    pub(super) fn step(&mut self, node: &Node, around: &Surroundings<'_>) -> Option<Step> {
        let feeders = std::mem::take(&mut self.feeders);
        let vars = std::mem::take(&mut self.vars);
        let names = Names { feeders: &feeders, extracted: around.extracted, later: around.later, vars: &vars };
        let step = self.step_with(node, around, &names);
        self.feeders = feeders;
        self.vars = vars;
        step
    }

    fn step_with(&mut self, node: &Node, around: &Surroundings<'_>, names: &Names<'_>) -> Option<Step> {
        let is_inline = std::ptr::eq(node, around.scenario);
        let mut headers = self.headers(node, names);
        if !is_inline {
            for (name, value) in self.headers(around.scenario, names) {
                if !headers.iter().any(|(own, _)| *own == name) {
                    headers.push((name, value));
                }
            }
        }
        let (model_call, body) = match self.model_call(node, around.scenario, &mut headers, names) {
            Some((call, body)) => (Some(call), body),
            None => (None, self.body(node, &mut headers, names)),
        };
        let think = self.think(node).or_else(|| if is_inline { None } else { self.think(around.scenario) });
        let checks = self.checks(node);
        let line = match (models::call_of(node), &model_call) {
            (Some(_), None) => return None,
            (_, Some(call)) => {
                Some(("POST".to_owned(), Template::literal(call.api.path()), call.api.path().to_owned()))
            }
            (None, None) => self.request_line(node, around.default_path, names),
        };
        let target = match node.get("target").filter(|_| !is_inline) {
            Some(target) => target.scalar().and_then(|name| self.target_named(name, &target.place)),
            None => None,
        };
        let (method, path, shown_path) = line?;
        let name = match node.text_of("name").filter(|_| !is_inline) {
            Some(name) => name.to_owned(),
            None if model_call.is_some() => models::call_of(node).map_or("", |(api, _)| api.name()).to_owned(),
            None => format!("{method} {shown_path}").chars().take(64).collect(),
        };
        Some(Step {
            name,
            tags: if is_inline { Vec::new() } else { tags(node) },
            target,
            method,
            path,
            headers,
            body,
            timeout: node
                .duration_of("timeout")
                .or_else(|| around.scenario.duration_of("timeout"))
                .unwrap_or(DEFAULT_TIMEOUT),
            checks,
            extracts: Vec::new(),
            think,
            model_call,
        })
    }

    /// Method, path with query, and the path as shown in the step's name.
    fn request_line(
        &mut self,
        node: &Node,
        default_path: Option<&'static str>,
        names: &Names<'_>,
    ) -> Option<(String, Template, String)> {
        let given: Vec<(&str, &Node)> =
            VERBS.into_iter().chain(["url", "path"]).filter_map(|key| Some((key, node.get(key)?))).collect();
        if let [(first, _), (second, extra), ..] = given.as_slice() {
            self.problem(extra, &format!("`{first}` and `{second}` both name a path"), "keep one of them");
        }
        let method = match (given.first(), node.get("method")) {
            (Some((verb, _)), Some(method)) if VERBS.contains(verb) => {
                self.problem(method, &format!("`{verb}` and `method` both name a method"), "remove `method`");
                verb.to_ascii_uppercase()
            }
            (Some((verb, _)), None) if VERBS.contains(verb) => verb.to_ascii_uppercase(),
            (_, Some(method)) => self.method(method),
            _ => "GET".to_owned(),
        };
        let (text, place) = match (given.first(), default_path) {
            (Some((_, path)), _) => (path.scalar()?, path.place.clone()),
            (None, Some(path)) => (path, node.place.clone()),
            (None, None) => {
                // A misspelt key was reported and is the likely reason.
                let is_misspelt = node.entries().iter().any(|entry| {
                    super::table::STEP.field(&entry.key).is_none() && super::table::SCENARIO.field(&entry.key).is_none()
                });
                if !is_misspelt {
                    self.problem(node, "this request has no path", "add e.g. `get: /path`");
                }
                return None;
            }
        };
        let text = text.trim();
        if text.contains("://") && !text.starts_with('/') {
            let problem = Problem::new(&place, format!("`{text}` is a whole URL"));
            self.problems.push(problem.advice("write the path here, and the host under `target` or `targets`"));
            return None;
        }
        if !text.starts_with('/') {
            self.problems.push(
                Problem::new(&place, format!("the path `{text}` does not begin with `/`"))
                    .advice(format!("write `/{text}`")),
            );
            return None;
        }
        if text.contains('#') {
            let problem = Problem::new(&place, "a fragment (`#…`) is never sent").focus("#");
            self.problems.push(problem.advice("remove it, or write `%23` for the character"));
        }
        let path = self.templates.parse(text, &place, names, Coding::Path, false);
        let path = self.with_query(path, text.contains('?'), node, names);
        Some((method, path, text.split('?').next().unwrap_or_default().to_owned()))
    }

    fn method(&mut self, node: &Node) -> String {
        let text = node.scalar().unwrap_or_default();
        if !is_token(text) {
            self.problem(node, &format!("`{text}` is not an HTTP method"), "write e.g. `GET` or `POST`");
        }
        text.to_ascii_uppercase()
    }

    fn with_query(&mut self, path: Template, has_query: bool, node: &Node, names: &Names<'_>) -> Template {
        let Some(query) = node.get("query") else { return path };
        let mut parts = vec![path];
        for (n, entry) in query.entries().iter().enumerate() {
            let Some(value) = entry.node.scalar() else { continue };
            parts.push(Template::literal(if n == 0 && !has_query { "?" } else { "&" }));
            parts.push(self.templates.parse(&entry.key, &entry.key_place, names, Coding::Query, false));
            parts.push(Template::literal("="));
            parts.push(self.templates.parse(value, &entry.node.place, names, Coding::Query, false));
        }
        join(parts)
    }

    fn body(&mut self, node: &Node, headers: &mut Vec<(String, Template)>, names: &Names<'_>) -> BodyTemplate {
        let given: Vec<(&str, &Node)> = BODIES
            .into_iter()
            .filter_map(|key| Some((key, &node.entries().iter().find(|entry| entry.key == key)?.node)))
            .collect();
        if let [(first, _), (second, extra), ..] = given.as_slice() {
            self.problem(extra, &format!("`{first}` and `{second}` both give a body"), "keep one of them");
        }
        let mut content_type = |text: &'static str| {
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".to_owned(), Template::literal(text)));
            }
        };
        match given.first() {
            None => BodyTemplate::None,
            Some(("json", json)) => {
                content_type("application/json");
                let text = json.to_json().to_string();
                let template = self.templates.parse(&text, &whole_place(json), names, Coding::AsIs, true);
                BodyTemplate::Json(template)
            }
            Some(("form", form)) => {
                content_type("application/x-www-form-urlencoded");
                BodyTemplate::Text(self.form(form, names))
            }
            Some(("body_file", file)) => self.file(file).map_or(BodyTemplate::None, BodyTemplate::Bytes),
            Some((_, text)) => {
                let body = text.scalar().unwrap_or_default();
                BodyTemplate::Text(self.templates.parse(body, &text.place, names, Coding::AsIs, true))
            }
        }
    }

    fn form(&mut self, form: &Node, names: &Names<'_>) -> Template {
        let mut parts = Vec::new();
        for (n, entry) in form.entries().iter().enumerate() {
            let Some(value) = entry.node.scalar() else { continue };
            if n > 0 {
                parts.push(Template::literal("&"));
            }
            parts.push(self.templates.parse(&entry.key, &entry.key_place, names, Coding::Form, false));
            parts.push(Template::literal("="));
            parts.push(self.templates.parse(value, &entry.node.place, names, Coding::Form, true));
        }
        join(parts)
    }

    fn think(&mut self, node: &Node) -> Option<ThinkTime> {
        let think = node.get("think_time")?;
        if !think.is_map() {
            return think.as_duration().filter(|wait| !wait.is_zero()).map(ThinkTime::Fixed);
        }
        let Some(between) = think.get("between") else {
            self.problem(think, "this think time has no bounds", "write `{between: [1s, 3s]}`");
            return None;
        };
        let bounds: Vec<Option<Duration>> = between.items().iter().map(Node::as_duration).collect();
        match bounds.as_slice() {
            [Some(shortest), Some(longest)] if shortest <= longest => Some(ThinkTime::Between(*shortest, *longest)),
            [Some(_), Some(_)] => {
                self.problem(between, "the shortest wait is above the longest", "write the shorter first");
                None
            }
            [_, _] => None,
            _ => {
                self.problem(between, "a think time has two bounds", "write `{between: [1s, 3s]}`");
                None
            }
        }
    }
}

/// The place of a node with all its lines, for carets inside maps and lists.
pub(super) fn whole_place(node: &Node) -> Place {
    fn last_line(node: &Node) -> u32 {
        match &node.value {
            Value::Scalar(_) => node.place.end_line,
            Value::List(items) => items.iter().map(last_line).max().unwrap_or(node.place.end_line),
            Value::Map(entries) => {
                entries.iter().map(|entry| last_line(&entry.node)).max().unwrap_or(node.place.end_line)
            }
        }
    }
    let mut place = node.place.clone();
    place.end_line = place.end_line.max(last_line(node));
    place
}
