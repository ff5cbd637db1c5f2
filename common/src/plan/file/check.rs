//! The tree against the table: unknown keys, wrong types, texts that do not parse.
//!
//! What passes here is read without further ado by the builders; what does not
//! is reported here only, so that one mistake is one problem.

use super::node::{Node, Value};
use super::problem::{Origin, Place, Problem};
use super::shape::{Kind, Object};
use super::suggest::nearest;
use super::yaml::UNREADABLE;
use crate::units;

/// Checks a whole plan.
pub(super) fn check(root: &Node, object: &'static Object, problems: &mut Vec<Problem>) {
    Checker { problems }.object(root, object);
}

struct Checker<'p> {
    problems: &'p mut Vec<Problem>,
}

impl Checker<'_> {
    fn object(&mut self, node: &Node, object: &'static Object) {
        for entry in node.entries() {
            match object.field(&entry.key) {
                Some(field) if entry.node.is_null() && !matches!(field.kind, Kind::Json) => {
                    let message = format!("`{}` has no value", entry.key);
                    let advice = format!("it expects {}", field.kind.describe());
                    self.problems.push(Problem::new(&entry.key_place, message).advice(advice));
                }
                Some(field) => self.value(&entry.node, field.kind, &entry.key),
                None => self.problems.push(unknown_key(&entry.key, &entry.key_place, object)),
            }
        }
    }

    fn value(&mut self, node: &Node, kind: Kind, key: &str) {
        match (kind, &node.value) {
            (Kind::Json, _) => {}
            _ if node.scalar() == Some(UNREADABLE) => {}
            (Kind::Either(kinds), _) => self.either(node, kinds, kind, key),
            (Kind::List(of), Value::List(items)) => {
                for item in items {
                    if item.is_null() {
                        self.problems.push(Problem::new(&item.place, format!("an item of `{key}` has no value")));
                    } else {
                        self.value(item, *of, key);
                    }
                }
            }
            (Kind::Map(of), Value::Map(entries)) => {
                for entry in entries {
                    if entry.node.is_null() && !matches!(of, Kind::Object(_)) {
                        let message = format!("`{}` has no value", entry.key);
                        self.problems
                            .push(Problem::new(&entry.key_place, message).advice("write `\"\"` for an empty text"));
                    } else {
                        self.value(&entry.node, *of, &entry.key);
                    }
                }
            }
            (Kind::Object(object), Value::Map(_)) => self.object(node, object),
            (single, Value::Scalar(_)) if single.is_single() && !node.is_null() => {
                if let Err(wrong) = single_value(node.scalar().unwrap_or_default(), single) {
                    self.problems.push(wrong.at(node, key));
                }
            }
            _ => self.problems.push(wrong_type(node, kind, key)),
        }
    }

    /// By the kind of value first; single values by the first that takes the text.
    fn either(&mut self, node: &Node, kinds: &'static [Kind], whole: Kind, key: &str) {
        let fits = |kind: &&Kind| match kind {
            Kind::Object(_) | Kind::Map(_) => node.is_map(),
            Kind::List(_) => node.is_list(),
            _ => !node.is_map() && !node.is_list(),
        };
        let fitting: Vec<Kind> = kinds.iter().filter(fits).copied().collect();
        match (fitting.as_slice(), node.scalar()) {
            ([], _) => self.problems.push(wrong_type(node, whole, key)),
            ([one], _) => self.value(node, *one, key),
            (several, Some(text)) if several.iter().any(|kind| single_value(text, *kind).is_ok()) => {}
            _ => self.problems.push(wrong_type(node, whole, key)),
        }
    }
}

struct Wrong {
    message: String,
    advice: String,
}

impl Wrong {
    fn at(self, node: &Node, key: &str) -> Problem {
        // On the command line the flag is the place; the key would be news to the user.
        let message = match &node.place.origin {
            Origin::Flag(flag) if !flag.starts_with("--set") => self.message,
            _ => format!("`{key}`: {}", self.message),
        };
        Problem::new(&node.place, message).advice(self.advice)
    }
}

impl From<units::InvalidUnit> for Wrong {
    fn from(error: units::InvalidUnit) -> Self {
        Self { message: error.message, advice: error.advice }
    }
}

fn single_value(text: &str, kind: Kind) -> Result<(), Wrong> {
    if let Some(name) = template_name(text)
        && !matches!(kind, Kind::Text)
    {
        return Err(Wrong {
            message: format!("`{{{{{name}}}}}` is not known here"),
            advice: "only names under `vars` can stand here".to_owned(),
        });
    }
    match kind {
        Kind::Bool if matches!(text, "true" | "false") => Ok(()),
        Kind::Bool => {
            Err(Wrong { message: format!("`{text}` is neither"), advice: "write `true` or `false`".to_owned() })
        }
        Kind::Count(min, max) => count(text, min, max),
        Kind::Duration => duration(text),
        Kind::DurationOrZero => Ok(units::parse_duration(text).map(drop)?),
        Kind::Rate => Ok(units::parse_rate(text).map(drop)?),
        Kind::Share if text.ends_with('%') => Ok(units::parse_percent(text).map(drop)?),
        Kind::Share => count(text, 1, 1_000_000),
        Kind::Level if text.contains('/') => Ok(units::parse_rate(text).map(drop)?),
        Kind::Level => count(text, 0, super::table::MOST_USERS),
        Kind::Word(words) if words.contains(&text) => Ok(()),
        Kind::Word(words) => Err(word(text, words)),
        _ => Ok(()),
    }
}

/// The name in a leftover `{{name}}`: vars were put in before.
fn template_name(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("{{")?;
    let (name, _) = after.split_once("}}")?;
    Some(name.trim())
}

fn count(text: &str, min: u64, max: u64) -> Result<(), Wrong> {
    if let Ok(exact) = text.parse::<u64>()
        && (min..=max).contains(&exact)
    {
        return Ok(());
    }
    let number = units::parse_count(text)?;
    if (min..=max).contains(&number) {
        return Ok(());
    }
    let message = if number < min { format!("{number} is too few") } else { format!("{number} is too many") };
    Err(Wrong { message, advice: format!("write a number from {min} to {}", units::show_count(max)) })
}

fn duration(text: &str) -> Result<(), Wrong> {
    if units::parse_duration(text)?.is_zero() {
        return Err(Wrong {
            message: format!("`{text}` is no time at all"),
            advice: "write a duration above zero".to_owned(),
        });
    }
    Ok(())
}

fn word(text: &str, words: &[&str]) -> Wrong {
    let advice = match nearest(text, words.iter().copied()) {
        Some(near) => format!("write `{near}`"),
        None => format!("write one of {}", quoted(words.iter().copied())),
    };
    Wrong { message: format!("`{text}` is not understood"), advice }
}

/// `a`, `b`, `c`: names for a message.
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
}

fn unknown_key(key: &str, place: &Place, object: &Object) -> Problem {
    let problem = Problem::new(place, format!("unknown key `{key}` in the {}", object.name.replace('_', " ")));
    match nearest(key, object.keys()) {
        Some(near) => problem.advice(format!("write `{near}`")),
        None => problem.advice(format!("the keys here are {}", quoted(object.keys()))),
    }
}

fn wrong_type(node: &Node, kind: Kind, key: &str) -> Problem {
    let mut place = node.place.clone();
    if !matches!(node.value, Value::Scalar(_)) {
        place.length = 1;
    }
    Problem::new(&place, format!("`{key}` cannot be {}", node.describe()))
        .advice(format!("it expects {}", kind.describe()))
}
