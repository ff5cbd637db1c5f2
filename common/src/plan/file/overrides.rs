//! `vars`, `--set` and `--target`, put into the tree before anything is read from it.

use super::check::quoted;
use super::node::{Node, Value};
use super::problem::{Place, Problem};
use super::shape::{Kind, Object};
use super::suggest::nearest;
use super::table::PLAN;
use std::collections::BTreeSet;

/// Vars may not blow a plan up to more than this.
const LARGEST_EXPANSION: usize = 1024 * 1024;

/// Applies `--set KEY=VALUE` and `--target URL`, in order.
pub(super) fn apply(root: &mut Node, overrides: &[(String, String)], problems: &mut Vec<Problem>) {
    for (key, value) in overrides {
        let applied = if key == "target" { set_target(root, value) } else { set(root, key, value) };
        if let Err(problem) = applied {
            problems.push(*problem);
        }
    }
}

type Applied = Result<(), Box<Problem>>;

fn refuse(problem: Problem) -> Applied {
    Err(Box::new(problem))
}

/// Fills the host of the short form, or the one target's URL.
fn set_target(root: &mut Node, url: &str) -> Applied {
    let place = Place::flag("--target");
    let names: Vec<String> = root
        .get("targets")
        .map(|targets| targets.entries().iter().map(|e| e.key.clone()).collect())
        .unwrap_or_default();
    match names.as_slice() {
        // More is said of it than where it is: the rest stays.
        [] if root.get("target").is_some_and(Node::is_map) => {
            descend(root, Kind::Object(&PLAN), &["target", "url"], url, &place, "")
        }
        [] => {
            let path = root.text_of("url").and_then(path_of_url).map(|path| Node::text(&path, &place));
            if let Value::Map(entries) = &mut root.value {
                entries.retain(|entry| !matches!(entry.key.as_str(), "protocol" | "host"));
            }
            if let Some(path) = path {
                root.set("url", &place, path);
            }
            root.set("target", &place, Node::text(url, &place));
            Ok(())
        }
        [name] => descend(root, Kind::Object(&PLAN), &["targets", name, "url"], url, &place, ""),
        several => refuse(
            Problem::new(&place, format!("the plan has {} targets", several.len()))
                .advice(format!("write `--set targets.{}.url={url}`, one for each target", several[0])),
        ),
    }
}

/// What follows the host of a whole URL.
fn path_of_url(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    Some(rest.find('/').map_or("/", |at| &rest[at..]).to_owned())
}

fn set(root: &mut Node, key: &str, value: &str) -> Applied {
    // These have flags of their own.
    let place = match key {
        "seed" | "drain" => Place::flag(&format!("--{key}")),
        _ => Place::flag(&format!("--set {key}")),
    };
    let is_var = root.get("vars").is_some_and(|vars| vars.get(key).is_some() || vars.entry(key).is_some());
    let segments: Vec<&str> = if is_var { vec!["vars", key] } else { key.split('.').collect() };
    let is_known_root = PLAN.field(segments[0]).is_some();
    if !is_known_root {
        let vars = root.get("vars").map(Node::entries).unwrap_or_default();
        let names: Vec<&str> =
            vars.iter().map(|entry| entry.key.as_str()).chain(PLAN.fields.iter().map(|field| field.key)).collect();
        let problem = Problem::new(&place, format!("`{key}` is neither a var nor a key of the plan"));
        return refuse(match nearest(segments[0], names) {
            Some(near) => problem.advice(format!("write `{near}`")),
            None if vars.is_empty() => problem.advice("write a key as in the plan, e.g. `load.rate=50/s`"),
            None => problem.advice(format!(
                "the vars are {}; keys are written as in the plan, e.g. `load.rate=50/s`",
                quoted(vars.iter().map(|entry| entry.key.as_str()))
            )),
        });
    }
    descend(root, Kind::Object(&PLAN), &segments, value, &place, "")
}

fn descend(node: &mut Node, kind: Kind, path: &[&str], value: &str, place: &Place, walked: &str) -> Applied {
    let Some(first) = path.first() else {
        if node.is_map() || node.is_list() {
            return refuse(
                Problem::new(place, format!("`{walked}` is {}", node.describe())).advice("set one value inside it"),
            );
        }
        *node = if matches!(kind, Kind::Text) { Node::text(value, place) } else { Node::plain(value, place) };
        return Ok(());
    };
    let at = |name: &str| if walked.is_empty() { name.to_owned() } else { format!("{walked}.{name}") };
    match resolve(kind, node, place) {
        Kind::Object(object) => {
            let Some(field) = object.field(first) else { return refuse(unknown(first, object, walked, place)) };
            let is_new = node.entry(first).is_none();
            if is_new {
                node.set(first, place, empty_for(field.kind, path.len() > 1, place));
            }
            let Some(child) = child_mut(node, first) else { return Ok(()) };
            let applied = descend(child, field.kind, &path[1..], value, place, &at(first));
            if let (true, Err(_), Value::Map(entries)) = (is_new, &applied, &mut node.value) {
                entries.retain(|entry| entry.key != *first);
            }
            applied
        }
        Kind::List(of) => {
            let Value::List(items) = &mut node.value else { return refuse(not_there(first, &[], walked, place)) };
            let count = items.len();
            match first.parse::<usize>().ok().and_then(|n| items.get_mut(n)) {
                Some(item) => descend(item, *of, &path[1..], value, place, &at(first)),
                None => refuse(
                    Problem::new(place, format!("`{walked}` has no item {first}"))
                        .advice(format!("it has {count}, counted from 0")),
                ),
            }
        }
        Kind::Map(of) => named(node, *of, path, value, place, walked),
        Kind::Json if node.is_map() => named(node, Kind::Json, path, value, place, walked),
        _ => refuse(Problem::new(place, format!("`{walked}` has nothing inside")).advice(format!("write `{walked}`"))),
    }
}

/// Names may hold dots: the longest that exists wins.
fn named(node: &mut Node, of: Kind, path: &[&str], value: &str, place: &Place, walked: &str) -> Applied {
    for n in (1..=path.len()).rev() {
        let name = path[..n].join(".");
        if let Some(child) = child_mut(node, &name) {
            return descend(child, of, &path[n..], value, place, &format!("{walked}.{name}"));
        }
    }
    let names: Vec<&str> = node.entries().iter().map(|entry| entry.key.as_str()).collect();
    refuse(not_there(path[0], &names, walked, place))
}

fn child_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node),
        _ => None,
    }
}

/// Which alternative the node is; a bare value that stands for a map becomes one.
fn resolve(kind: Kind, node: &mut Node, place: &Place) -> Kind {
    let Kind::Either(kinds) = kind else { return kind };
    for one in kinds {
        match one {
            Kind::Object(Object { shorthand, .. }) if !node.is_list() => {
                if !node.is_map() {
                    let bare = std::mem::replace(node, Node::map(Vec::new(), place));
                    if let (Some(key), false) = (shorthand, bare.is_null()) {
                        node.set(key, place, bare);
                    }
                }
                return *one;
            }
            Kind::Map(_) if node.is_map() => return *one,
            Kind::List(_) if node.is_list() => return *one,
            _ => {}
        }
    }
    kind
}

fn empty_for(kind: Kind, is_inside: bool, place: &Place) -> Node {
    match kind {
        Kind::Object(_) | Kind::Map(_) if is_inside => Node::map(Vec::new(), place),
        _ => Node::plain("", place),
    }
}

fn unknown(key: &str, object: &Object, walked: &str, place: &Place) -> Problem {
    let problem = Problem::new(place, format!("the {} has no key `{key}`", object.name.replace('_', " ")));
    let prefix = if walked.is_empty() { String::new() } else { format!("{walked}.") };
    match nearest(key, object.keys()) {
        Some(near) => problem.advice(format!("write `{prefix}{near}`")),
        None => problem.advice(format!("its keys are {}", quoted(object.keys()))),
    }
}

fn not_there(name: &str, names: &[&str], walked: &str, place: &Place) -> Problem {
    let problem = Problem::new(place, format!("`{walked}` has no `{name}`"));
    match nearest(name, names.iter().copied()) {
        Some(near) => problem.advice(format!("write `{walked}.{near}`")),
        None if names.is_empty() => problem.advice("it is empty; add to it in the plan"),
        None => problem.advice(format!("it has {}", quoted(names.iter().copied()))),
    }
}

/// Puts vars in wherever `{{name}}` stands. Returns their names.
pub(super) fn substitute_vars(
    root: &mut Node,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Vec<String> {
    let mut vars = Substitution { known: Vec::new(), used: BTreeSet::new(), room: LARGEST_EXPANSION };
    let mut places = Vec::new();
    if let Some(Value::Map(entries)) = child_mut(root, "vars").map(|vars| &mut vars.value) {
        for entry in entries {
            if !is_name(&entry.key) {
                problems.push(
                    Problem::new(&entry.key_place, format!("`{}` cannot name a var", entry.key))
                        .advice("use letters, digits, `_` and `-`, beginning with a letter"),
                );
                continue;
            }
            vars.fill(&mut entry.node, problems);
            if let Value::Scalar(scalar) = &entry.node.value {
                vars.known.push((entry.key.clone(), scalar.text.clone()));
                places.push(entry.key_place.clone());
            }
        }
    }
    if let Value::Map(entries) = &mut root.value {
        entries.iter_mut().filter(|entry| entry.key != "vars").for_each(|entry| vars.fill(&mut entry.node, problems));
    }
    for ((name, _), place) in vars.known.iter().zip(&places) {
        if !vars.used.contains(name) {
            warnings.push(
                Problem::new(place, format!("var `{name}` is never used"))
                    .advice(format!("write `{{{{{name}}}}}` where it belongs")),
            );
        }
    }
    vars.known.into_iter().map(|(name, _)| name).collect()
}

/// Letters, digits, `_` and `-`, beginning with a letter or `_`.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

struct Substitution {
    known: Vec<(String, String)>,
    used: BTreeSet<String>,
    room: usize,
}

impl Substitution {
    fn fill(&mut self, node: &mut Node, problems: &mut Vec<Problem>) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.fill(item, problems)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| self.fill(&mut entry.node, problems)),
            Value::Scalar(scalar) if scalar.text.contains("{{") => match self.filled(&scalar.text) {
                Some(text) => scalar.text = text,
                None => {
                    self.room = 0;
                    let problem = Problem::new(&node.place, "the vars make the plan longer than 1 MiB");
                    problems.push(problem.advice("put data in a feeder file"));
                }
            },
            Value::Scalar(_) => {}
        }
    }

    /// `None` when there is no room for the result.
    fn filled(&mut self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let Some(length) = rest[start + 2..].find("}}") else { break };
            let name = rest[start + 2..start + 2 + length].trim();
            let end = start + length + 4;
            match self.known.iter().find(|(known, _)| known == name) {
                Some((name, value)) => {
                    self.room = self.room.checked_sub(value.len())?;
                    self.used.insert(name.clone());
                    out += &rest[..start];
                    out += value;
                }
                None => out += &rest[..end],
            }
            rest = &rest[end..];
        }
        out += rest;
        Some(out)
    }
}
