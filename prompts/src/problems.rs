//! What is wrong with a file of prompts: all of it at once, each with its place.

use squall_common::plan::file::{Origin, Place, Problem};
use std::fmt;

/// Every problem of one source, in file order. Never empty in an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptProblems {
    pub problems: Vec<Problem>,
    /// Found after the first thousand, which are kept.
    pub more: usize,
}

/// More would only fill memory: the file is not what it is taken for.
const KEPT: usize = 1_000;
const SHOWN: usize = 20;

impl fmt::Display for PromptProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN) {
            let place = &problem.place;
            match &place.origin {
                Origin::File(name) if place.line > 0 => {
                    writeln!(f, "{name}:{}:{}: {}", place.line, place.column, problem.message)?;
                }
                Origin::File(name) => writeln!(f, "{name}: {}", problem.message)?,
                _ => writeln!(f, "{}", problem.message)?,
            }
            if let Some(advice) = &problem.advice {
                writeln!(f, "  help: {advice}")?;
            }
        }
        let all = self.problems.len() + self.more;
        if all > SHOWN {
            writeln!(f, "… and {} more", all - SHOWN)?;
        }
        write!(f, "{all} {}", if all == 1 { "problem" } else { "problems" })
    }
}

impl std::error::Error for PromptProblems {}

/// Collects the problems of one file.
pub(crate) struct Findings<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    more: usize,
}

impl<'a> Findings<'a> {
    pub(crate) fn of(file: &'a str) -> Self {
        Self { file, problems: Vec::new(), more: 0 }
    }

    /// Line and column from 1, the column in characters; line 0 is the whole file.
    pub(crate) fn add(&mut self, line: u32, column: u32, message: impl Into<String>) {
        self.push(self.problem(line, column, message));
    }

    pub(crate) fn add_with_advice(&mut self, line: u32, message: impl Into<String>, advice: &str) {
        self.push(self.problem(line, 1, message).advice(advice));
    }

    fn problem(&self, line: u32, column: u32, message: impl Into<String>) -> Problem {
        Problem::new(&Place { column, ..Place::file(self.file, line) }, message)
    }

    fn push(&mut self, problem: Problem) {
        if self.problems.len() < KEPT {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// `value`, if nothing was found.
    pub(crate) fn or<T>(self, value: T) -> Result<T, PromptProblems> {
        if self.problems.is_empty() {
            Ok(value)
        } else {
            Err(PromptProblems { problems: self.problems, more: self.more })
        }
    }
}

/// One problem of what the plan says about a source, rather than of a file.
pub(crate) fn of_plan(message: impl Into<String>) -> PromptProblems {
    PromptProblems { problems: vec![Problem::new(&Place::top(), message)], more: 0 }
}

/// The text of a file, without a byte order mark.
pub(crate) fn text<'b>(bytes: &'b [u8], findings: &mut Findings<'_>) -> &'b str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|&&b| b == b'\n').count() as u32 + 1;
            findings.add_with_advice(line, "this is not UTF-8 text", "save the file as UTF-8");
            ""
        }
    }
}

/// serde_json counts columns in bytes from 1 (0 before the first).
pub(crate) fn column_in_characters(line: &str, byte_column: usize) -> u32 {
    let before = &line.as_bytes()[..line.len().min(byte_column.saturating_sub(1))];
    String::from_utf8_lossy(before).chars().count() as u32 + 1
}
