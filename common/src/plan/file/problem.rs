//! What is wrong with a plan: all of it at once, each with its place and what
//! to write instead.

use std::fmt;
use std::sync::Arc;

/// Where something in a plan was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub origin: Origin,
    /// From 1; 0 when there is no line to show.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Characters on the first line.
    pub length: u32,
    /// The last line of a text that spans several.
    pub end_line: u32,
}

/// What a [`Place`] is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The plan itself.
    Plan,
    /// A file the plan refers to.
    File(Arc<str>),
    /// A flag on the command line, e.g. `--set users`.
    Flag(Arc<str>),
}

impl Place {
    /// A place given on the command line.
    pub fn flag(flag: &str) -> Self {
        Self { origin: Origin::Flag(flag.into()), line: 0, column: 0, length: 0, end_line: 0 }
    }

    /// A line of a file that the plan refers to.
    pub fn file(name: &str, line: u32) -> Self {
        Self { origin: Origin::File(name.into()), line, column: 1, length: 1, end_line: line }
    }

    /// The top of the plan.
    pub fn top() -> Self {
        Self { origin: Origin::Plan, line: 1, column: 1, length: 1, end_line: 1 }
    }
}

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub advice: Option<String>,
    /// The part of the text at `place` that is meant; narrows the caret.
    focus: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into(), advice: None, focus: None }
    }

    /// Adds what to write instead.
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Points at `text` inside the place instead of at all of it.
    pub fn focus(mut self, text: &str) -> Self {
        self.focus = Some(text.to_owned());
        self
    }

    /// Moves the place to the focus, when the source shows it literally.
    fn narrow(&mut self, lines: &[&str]) {
        let Some(focus) = self.focus.take() else { return };
        if self.place.origin != Origin::Plan || focus.is_empty() {
            return;
        }
        for number in self.place.line..=self.place.end_line.max(self.place.line) {
            let Some(line) = lines.get(number as usize - 1) else { return };
            let skip = if number == self.place.line { self.place.column as usize - 1 } else { 0 };
            let start = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
            if let Some(found) = line[start..].find(&focus) {
                self.place.line = number;
                self.place.column = (skip + line[start..start + found].chars().count() + 1) as u32;
                self.place.length = focus.chars().count() as u32;
                return;
            }
        }
    }
}

/// Every problem of one plan, in file order. `Display` shows them as a compiler would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblems {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

/// More than this many would scroll the first ones away.
const SHOWN: usize = 50;
const WIDTH: usize = 80;

impl PlanProblems {
    pub(super) fn new(name: &str, text: &str, problems: Vec<Problem>) -> Self {
        let problems = in_file_order(text, problems);
        Self { name: name.to_owned(), text: text.to_owned(), problems }
    }

    /// All of them; never empty in an error.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// One problem, shown with its source line, under `label` (`error` or `warning`).
    fn show(&self, f: &mut fmt::Formatter<'_>, label: &str, problem: &Problem) -> fmt::Result {
        show(f, label, &self.name, &self.text, problem)
    }
}

/// Sorted, narrowed to their focus, each once.
pub(super) fn in_file_order(text: &str, mut problems: Vec<Problem>) -> Vec<Problem> {
    let lines: Vec<&str> = text.lines().collect();
    problems.iter_mut().for_each(|problem| problem.narrow(&lines));
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    problems.dedup();
    problems
}

/// Warnings, shown like problems.
pub struct ShowWarnings<'a> {
    /// The plan's name.
    pub name: &'a str,
    /// The plan's text.
    pub text: &'a str,
    /// What to show.
    pub warnings: &'a [Problem],
}

impl fmt::Display for ShowWarnings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.warnings.iter().try_for_each(|warning| show(f, "warning", self.name, self.text, warning))
    }
}

impl std::error::Error for PlanProblems {}

impl fmt::Display for PlanProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN) {
            self.show(f, "error", problem)?;
        }
        let n = self.problems.len();
        if n > SHOWN {
            writeln!(f, "… and {} more", n - SHOWN)?;
        }
        let name = &self.name;
        let problems = if n == 1 { "problem" } else { "problems" };
        write!(f, "error: {name} cannot run: {n} {problems}")
    }
}

fn show(f: &mut fmt::Formatter<'_>, label: &str, name: &str, text: &str, problem: &Problem) -> fmt::Result {
    let place = &problem.place;
    let gutter = match place.origin {
        Origin::Plan => " ".repeat(place.line.to_string().len()),
        _ => " ".to_owned(),
    };
    wrapped(f, &format!("{label}: "), &problem.message)?;
    match &place.origin {
        Origin::Flag(flag) => writeln!(f, "{gutter} --> {flag}")?,
        Origin::File(file) => writeln!(f, "{gutter} --> {file}:{}", place.line)?,
        Origin::Plan => {
            writeln!(f, "{gutter} --> {name}:{}:{}", place.line, place.column)?;
            let line = text.lines().nth((place.line as usize).saturating_sub(1)).unwrap_or("");
            show_line(f, line, place)?;
        }
    }
    if let Some(advice) = &problem.advice {
        wrapped(f, &format!(" {gutter} = help: "), advice)?;
    }
    writeln!(f)
}

/// The source line with a caret below, cut around the caret to fit.
fn show_line(f: &mut fmt::Formatter<'_>, line: &str, place: &Place) -> fmt::Result {
    let number = place.line.to_string();
    let room = WIDTH - number.len() - 4;
    let chars: Vec<char> = without_passwords(line)
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let column = (place.column as usize).saturating_sub(1).min(chars.len());
    let end = (column + (place.length as usize).max(1)).min(chars.len().max(column + 1));
    let from = if chars.len() <= room || end < room { 0 } else { column.saturating_sub(room / 3) };
    let shown: String = chars.iter().skip(from).take(room).collect();
    let carets = (end - column).clamp(1, (from + room).saturating_sub(column).max(1));
    let gutter = " ".repeat(number.len());
    writeln!(f, " {gutter} |")?;
    writeln!(f, " {number} | {}", shown.trim_end())?;
    writeln!(f, " {gutter} | {}{}", " ".repeat(column - from), "^".repeat(carets))
}

/// What stands between `://` and `@` ends up in logs of builds, which are no place for passwords.
pub(super) fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let (before, after) = rest.split_at(scheme + 3);
        shown.push_str(before);
        let ends = after.find(['/', '?', '#', '"', '\'', ' ', ',', '}']).unwrap_or(after.len());
        let hidden = after[..ends].rfind('@').unwrap_or(0);
        shown.extend(after[..hidden].chars().map(|_| '*'));
        rest = &after[hidden..];
    }
    shown + rest
}

/// `text` after `lead`, broken at spaces, later lines indented below the first.
fn wrapped(f: &mut fmt::Formatter<'_>, lead: &str, text: &str) -> fmt::Result {
    let indent = " ".repeat(lead.len());
    let mut line = lead.to_owned();
    let mut is_fresh = true;
    for word in text.split(' ') {
        if !is_fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{}", line.trim_end())?;
            line = indent.clone();
            is_fresh = true;
        }
        if !is_fresh {
            line.push(' ');
        }
        line.push_str(word);
        is_fresh = false;
    }
    writeln!(f, "{}", line.trim_end())
}
