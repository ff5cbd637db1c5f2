//! YAML text -> tree, or its problems.
//!
//! Bounded before anything is built: the text, the nesting, and what aliases
//! multiply it to, so that no text of 256 KiB can ask for more than its share.

use super::node::{Entry, Node, Scalar, Value};
use super::problem::{Origin, Place, Problem};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use std::collections::HashMap;

/// A plan is a page; data belongs in feeder files.
const LARGEST_TEXT: usize = 256 * 1024;
const DEEPEST: usize = 32;
const MOST_NODES: usize = 50_000;

/// The file's one document, and the problems found on the way (duplicate keys).
pub(super) fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    if text.len() > LARGEST_TEXT {
        problems.push(
            Problem::new(&Place::top(), format!("the plan is {} KiB long, the limit is 256 KiB", text.len() / 1024))
                .advice("put data in a feeder file or a body file"),
        );
        return None;
    }
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        n_nodes: 0,
        bad_keys: 0,
        problems: Vec::new(),
    };
    let root = composer.document();
    problems.append(&mut composer.problems);
    match root {
        Ok(root) => root,
        Err(problem) => {
            problems.push(*problem);
            None
        }
    }
}

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    n_nodes: usize,
    bad_keys: usize,
    problems: Vec<Problem>,
}

/// Stands where a value could not be read and its problem is known already.
pub(super) const UNREADABLE: &str = "\u{fffd}unreadable";

type Composed<T> = Result<T, Box<Problem>>;

impl<'t> Composer<'t> {
    fn document(&mut self) -> Composed<Option<Node>> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                _ if root.is_some() => {
                    return Err(Box::new(
                        Problem::new(&place(span), "a plan is one YAML document")
                            .advice("remove the line `---` and what follows"),
                    ));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Composed<(Event<'t>, Span)> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let marker = *error.marker();
                let at = place(Span::empty(marker));
                Err(Box::new(
                    Problem::new(&at, format!("this is not YAML: {}", error.info())).advice(advice_on(error.info())),
                ))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Composed<Node> {
        let start = place(span);
        self.count(1, &start)?;
        if depth > DEEPEST {
            return Err(Box::new(Problem::new(&start, format!("nested more than {DEEPEST} levels deep"))));
        }
        let nodes_before = self.n_nodes;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                (Node { value: Value::Scalar(scalar), place: start }, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, &start),
            Event::SequenceStart(anchor, _) => (self.list(start, depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(start, depth)?, anchor),
            _ => return Err(Box::new(Problem::new(&start, "this is not YAML"))),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), 1 + self.n_nodes - nodes_before));
        }
        Ok(node)
    }

    fn count(&mut self, n: usize, at: &Place) -> Composed<()> {
        self.n_nodes += n;
        if self.n_nodes > MOST_NODES {
            return Err(Box::new(
                Problem::new(at, format!("the plan holds more than {MOST_NODES} values, aliases counted out"))
                    .advice("put data in a feeder file"),
            ));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: &Place) -> Composed<Node> {
        match self.anchors.get(&anchor) {
            Some((node, size)) => {
                let (node, size) = (node.clone(), *size);
                self.count(size, at)?;
                Ok(node)
            }
            None => Err(Box::new(Problem::new(at, "this alias stands inside what it refers to"))),
        }
    }

    fn list(&mut self, start: Place, depth: usize) -> Composed<Node> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Node { value: Value::List(items), place: start }),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, start: Place, depth: usize) -> Composed<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        let mut first_lines: HashMap<String, u32> = HashMap::new();
        let bad_keys_before = self.bad_keys;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            let Value::Scalar(Scalar { text, .. }) = &key.value else {
                self.bad_keys += 1;
                self.problems.push(
                    Problem::new(&key.place, "a key must be a single word")
                        .advice("quote templates: write `\"{{name}}\"`"),
                );
                continue;
            };
            if text == "<<" {
                merged.extend(merge_sources(node));
            } else if let Some(line) = first_lines.get(text) {
                let message = format!("`{text}` is given twice, first on line {line}");
                self.problems.push(Problem::new(&key.place, message).advice("keep one of them"));
            } else {
                first_lines.insert(text.clone(), key.place.line);
                entries.push(Entry { key: text.clone(), key_place: key.place, node });
            }
        }
        for entry in merged {
            if first_lines.insert(entry.key.clone(), entry.key_place.line).is_none() {
                entries.push(entry);
            }
        }
        // `{{name}}` without quotes: reported above, and an empty text makes no further noise.
        if entries.is_empty() && self.bad_keys > bad_keys_before {
            return Ok(Node::text(UNREADABLE, &start));
        }
        Ok(Node { value: Value::Map(entries), place: start })
    }
}

/// `<<: *base` or `<<: [*a, *b]`, the first winning.
fn merge_sources(node: Node) -> Vec<Entry> {
    match node.value {
        Value::Map(entries) => entries,
        Value::List(items) => items.into_iter().flat_map(merge_sources).collect(),
        Value::Scalar(_) => Vec::new(),
    }
}

fn place(span: Span) -> Place {
    let one_line = span.start.line() == span.end.line();
    let length = if one_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Place {
        origin: Origin::Plan,
        line: span.start.line().max(1) as u32,
        column: span.start.col() as u32 + 1,
        length: length.max(1) as u32,
        end_line: span.end.line().max(span.start.line()).max(1) as u32,
    }
}

/// The parser says what it stumbled over; people look for what they wrote.
fn advice_on(stumbled: &str) -> &'static str {
    if stumbled.contains("tab") {
        "indent with spaces, not with tabs"
    } else if stumbled.contains("flow mapping") {
        "end what `{` begins with `}`, with `,` between its entries"
    } else if stumbled.contains("flow sequence") {
        "end what `[` begins with `]`, with `,` between its items"
    } else {
        "quote texts that hold `: `, ` #`, `{` or `%`, and indent with spaces"
    }
}
