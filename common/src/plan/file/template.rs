//! `{{…}}` and `${…}` in texts -> [`Template`].

use super::check::quoted;
use super::problem::{Place, Problem};
use super::suggest::nearest;
use crate::dynamic;
use crate::plan::{Feeder, FeederId, Part, SecretId, SecretSource, Template, VarId};
use bytes::Bytes;

/// How literal text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    AsIs,
    /// What a path and query may hold stays; the rest is percent-encoded.
    Path,
    /// A query value: all but unreserved characters is percent-encoded.
    Query,
    /// A form value: as a query value, and spaces become `+`.
    Form,
}

/// What names mean at one place of the plan.
pub(super) struct Names<'a> {
    pub(super) feeders: &'a [Feeder],
    /// Extracted by earlier steps of this scenario.
    pub(super) extracted: &'a [(String, VarId)],
    /// Extracted by this or a later step.
    pub(super) later: &'a [String],
    pub(super) vars: &'a [String],
}

/// Turns texts into templates and gathers the secrets they refer to.
#[derive(Default)]
pub(super) struct Templates {
    pub(super) secrets: Vec<SecretSource>,
    pub(super) problems: Vec<Problem>,
}

impl Templates {
    /// The template of one text. Secrets are refused where `allows_secrets` is false.
    pub(super) fn parse(
        &mut self,
        text: &str,
        at: &Place,
        names: &Names<'_>,
        coding: Coding,
        allows_secrets: bool,
    ) -> Template {
        let mut out = Builder { parts: Vec::new(), literal: Vec::new(), coding };
        let mut rest = text;
        while let Some((start, opening)) = next_opening(rest) {
            out.literal(&rest[..start]);
            let inside = &rest[start + opening.len()..];
            let closing = if opening == "{{" { "}}" } else { "}" };
            let Some(length) = inside.find(closing) else {
                self.problems.push(
                    Problem::new(at, format!("`{opening}` is never closed"))
                        .advice(format!("add `{closing}`"))
                        .focus(opening),
                );
                return out.finish();
            };
            let whole = &rest[start..start + opening.len() + length + closing.len()];
            let part = match opening {
                "{{" => self.part(inside[..length].trim(), whole, at, names),
                _ if !allows_secrets => {
                    let problem = Problem::new(at, format!("the secret `{whole}` cannot stand here"));
                    self.problems.push(problem.advice("secrets can stand in header values and bodies").focus(whole));
                    None
                }
                _ => self.secret(opening, &inside[..length], whole, at),
            };
            if let Some(part) = part {
                out.part(part);
            }
            rest = &rest[start + whole.len()..];
        }
        out.literal(rest);
        out.finish()
    }

    fn part(&mut self, inside: &str, whole: &str, at: &Place, names: &Names<'_>) -> Option<Part> {
        if let Some(call) = inside.strip_prefix('$') {
            return match dynamic::parse(call) {
                Ok(dynamic) => Some(Part::Dynamic(dynamic)),
                Err(error) => {
                    self.problems.push(Problem::new(at, error.message).advice(error.advice).focus(whole));
                    None
                }
            };
        }
        if let Some((_, id)) = names.extracted.iter().find(|(name, _)| name == inside) {
            return Some(Part::Variable(*id));
        }
        if let Some((feeder, column)) = inside.split_once('.')
            && let Some(id) = names.feeders.iter().position(|known| known.name == feeder)
        {
            let columns = &names.feeders[id].columns;
            if let Some(column) = columns.iter().position(|known| known == column) {
                return Some(Part::Column(FeederId(id as u16), column as u16));
            }
            // A feeder that could not be read has its own problem.
            if !columns.is_empty() {
                let known = columns.iter().map(String::as_str);
                let problem = Problem::new(at, format!("feeder `{feeder}` has no column `{column}`")).focus(whole);
                self.problems.push(match nearest(column, known.clone()) {
                    Some(near) => problem.advice(format!("write `{{{{{feeder}.{near}}}}}`")),
                    None => problem.advice(format!("its columns are {}", quoted(known))),
                });
            }
            return None;
        }
        self.problems.push(unknown_name(inside, at, names).focus(whole));
        None
    }

    fn secret(&mut self, opening: &str, name: &str, whole: &str, at: &Place) -> Option<Part> {
        let is_environment = opening == "${env:";
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if name.is_empty() || (is_environment && !is_name(name)) {
            let problem = Problem::new(at, format!("`{whole}` names no secret")).focus(whole);
            self.problems.push(problem.advice("write e.g. `${env:API_KEY}` or `${file:/run/secrets/key}`"));
            return None;
        }
        let source = if is_environment {
            SecretSource::Environment(name.to_owned())
        } else {
            SecretSource::File(name.to_owned())
        };
        Some(Part::Secret(self.secret_id(source)))
    }

    /// The id of a secret, the same for the same source.
    pub(super) fn secret_id(&mut self, source: SecretSource) -> SecretId {
        let id = self.secrets.iter().position(|known| *known == source).unwrap_or_else(|| {
            self.secrets.push(source);
            self.secrets.len() - 1
        });
        SecretId(id as u16)
    }
}

fn next_opening(text: &str) -> Option<(usize, &'static str)> {
    ["{{", "${env:", "${file:"].into_iter().filter_map(|opening| Some((text.find(opening)?, opening))).min()
}

fn unknown_name(name: &str, at: &Place, names: &Names<'_>) -> Problem {
    if names.later.iter().any(|later| later == name) {
        return Problem::new(at, format!("`{name}` is extracted only later"))
            .advice("extract it in a step before this one");
    }
    let problem = Problem::new(at, format!("nothing defines `{name}`"));
    let columns: Vec<String> = names
        .feeders
        .iter()
        .flat_map(|feeder| feeder.columns.iter().map(move |column| format!("{}.{column}", feeder.name)))
        .collect();
    let known = names
        .extracted
        .iter()
        .map(|(name, _)| name.as_str())
        .chain(names.vars.iter().map(String::as_str))
        .chain(columns.iter().map(String::as_str));
    if let Some(near) = nearest(name, known) {
        return problem.advice(format!("write `{{{{{near}}}}}`"));
    }
    match dynamic::nearest_name(name) {
        Some(near) => problem.advice(format!("for a made-up value write `{{{{${near}}}}}`")),
        None => problem.advice("extract it in an earlier step, or add it under `vars`"),
    }
}

struct Builder {
    parts: Vec<Part>,
    literal: Vec<u8>,
    coding: Coding,
}

impl Builder {
    fn literal(&mut self, text: &str) {
        encode(text, self.coding, &mut self.literal);
    }

    fn part(&mut self, part: Part) {
        self.flush();
        self.parts.push(part);
    }

    fn flush(&mut self) {
        if !self.literal.is_empty() {
            self.parts.push(Part::Literal(Bytes::from(std::mem::take(&mut self.literal))));
        }
    }

    fn finish(mut self) -> Template {
        self.flush();
        Template { parts: self.parts }
    }
}

/// Joins templates, neighbouring literals becoming one.
pub(super) fn join(templates: impl IntoIterator<Item = Template>) -> Template {
    let mut out = Builder { parts: Vec::new(), literal: Vec::new(), coding: Coding::AsIs };
    for part in templates.into_iter().flat_map(|template| template.parts) {
        match part {
            Part::Literal(text) => out.literal.extend_from_slice(&text),
            part => out.part(part),
        }
    }
    out.finish()
}

fn encode(text: &str, coding: Coding, out: &mut Vec<u8>) {
    for (at, byte) in text.bytes().enumerate() {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let stays = match coding {
            Coding::AsIs => true,
            Coding::Path => unreserved || b"/?:@!$&'()*+,;=[]".contains(&byte) || is_escape(&text.as_bytes()[at..]),
            Coding::Query | Coding::Form => unreserved,
        };
        match byte {
            byte if stays => out.push(byte),
            b' ' if coding == Coding::Form => out.push(b'+'),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

/// `%2F` was encoded by the user.
fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}
