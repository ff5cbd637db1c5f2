//! Text that fits a terminal: widths, colours, wrapping and tables.
//!
//! Everything here is a function of its arguments, but for [`Terminal::of_stderr`].

use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Taken when a terminal does not tell its width, and for what is not one.
const DEFAULT_WIDTH: usize = 80;
/// Narrower than this a table cannot be read; it is drawn as if it were this wide.
pub const MIN_WIDTH: usize = 40;
/// Long lines are hard to follow; more room than this is left empty.
const MAX_WIDTH: usize = 140;
/// What a name column keeps when other columns need room.
const MIN_NAME: usize = 12;

/// What is known of the place where human output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    pub width: usize,
    pub colour: bool,
    /// Whether someone may be watching: a live line can be redrawn.
    pub interactive: bool,
}

impl Terminal {
    /// Standard error, where human output goes. `NO_COLOR` turns colours off
    /// (no-color.org).
    pub fn of_stderr() -> Self {
        let interactive = std::io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = terminal_size::terminal_size_of(std::io::stderr()).map(|(width, _)| usize::from(width.0));
        Self {
            width: width.filter(|_| interactive).unwrap_or(DEFAULT_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH),
            colour: interactive && !plain,
            interactive,
        }
    }
}

/// Colours, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

/// What a stretch of text means, rather than how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    Strong,
    Quiet,
    Good,
    Bad,
    Doubtful,
}

impl Paint {
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// `text` in the look of its tone. It is as wide as before.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Quiet => "2",
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
            Tone::Doubtful => "1;33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Columns that `text` takes on a terminal.
pub fn width_of(text: &str) -> usize {
    text.width()
}

/// `text` without control characters: names come from plans and servers, and
/// none of them may move the cursor or recolour the report.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `text`, cleaned, in at most `width` columns; `…` stands for what did not fit.
pub fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if width_of(&text) <= width {
        return text;
    }
    let mut fitted = prefix(&text, width.saturating_sub(1)).to_owned();
    if width > 0 {
        fitted.push('…');
    }
    fitted
}

/// The longest beginning of `text` in at most `width` columns.
fn prefix(text: &str, width: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find_map(|(at, c)| {
        taken += c.width().unwrap_or(0);
        (taken > width).then_some(at)
    });
    &text[..end.unwrap_or(text.len())]
}

pub fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(width_of(text))))
}

pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(width_of(text))))
}

/// `text` in lines of at most `width` columns: the first begins with `label`,
/// the others are indented as far. Words break only when longer than a line.
pub fn wrap(label: &str, text: &str, width: usize) -> Vec<String> {
    let indent = width_of(label);
    let room = width.saturating_sub(indent).max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in words(&clean(text)) {
        let mut rest = word.as_str();
        if !line.is_empty() && width_of(&line) + 1 + width_of(rest) <= room {
            line.push(' ');
            line.push_str(rest);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        while width_of(rest) > room {
            let head = prefix(rest, room);
            // A double-width character in a one-column room: taken as it is.
            let head = if head.is_empty() { &rest[..rest.chars().next().map_or(0, char::len_utf8)] } else { head };
            lines.push(head.to_owned());
            rest = &rest[head.len()..];
        }
        line = rest.to_owned();
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
        .into_iter()
        .enumerate()
        .map(
            |(number, line)| {
                if number == 0 { format!("{label}{line}") } else { format!("{}{line}", " ".repeat(indent)) }
            },
        )
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// The words of a text; a number and its unit are one.
fn words(text: &str) -> Vec<String> {
    const UNITS: [&str; 13] = ["µs", "ms", "s", "min", "h", "%", "B", "kB", "MB", "GB", "TB", "users", "agents"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let is_unit = UNITS.contains(&word.trim_end_matches([',', '.', ';', ')']));
        match words.last_mut() {
            Some(number) if is_unit && number.ends_with(|c: char| c.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// One cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: clean(&text.into()), tone }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// A name and its numbers, line by line: the first column is to the left and
/// gives way when room is short, the others are to the right. Columns that still
/// do not fit are left out, the last first.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    indent: usize,
    name_width: usize,
}

impl Table {
    /// A table whose first row is a quiet head.
    pub fn with_head<'a>(head: impl IntoIterator<Item = &'a str>) -> Self {
        let head = head.into_iter().map(|text| Cell::new(Tone::Quiet, text)).collect();
        Self { rows: vec![head], ..Self::default() }
    }

    pub fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Tables under one another line up when their name columns are as wide.
    pub fn name_width(mut self, width: usize) -> Self {
        self.name_width = width;
        self
    }

    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        self.rows.push(row.into_iter().collect());
    }

    pub fn lines(&self, width: usize, paint: Paint) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width_of(&cell.text)).max().unwrap_or(0)
        };
        let room = width.saturating_sub(self.indent);
        let wanted = widest(0).max(self.name_width);
        let mut numbers: Vec<usize> = (1..columns).map(widest).collect();
        let needed = |numbers: &[usize]| numbers.iter().map(|width| width + 2).sum::<usize>();
        while !numbers.is_empty() && wanted.min(MIN_NAME) + needed(&numbers) > room {
            numbers.pop();
        }
        let name = wanted.min(room.saturating_sub(needed(&numbers)));
        self.rows
            .iter()
            .map(|row| {
                let mut line = " ".repeat(self.indent);
                for (column, cell) in row.iter().take(numbers.len() + 1).enumerate() {
                    let text = if column == 0 {
                        pad_right(&fit(&cell.text, name), name)
                    } else {
                        format!("  {}", pad_left(&cell.text, numbers[column - 1]))
                    };
                    line.push_str(&paint.tone(cell.tone, &text));
                }
                if paint.colour { line } else { line.trim_end().to_owned() }
            })
            .collect()
    }
}

/// `text` as it looks: without the colour sequences of [`Paint`].
#[cfg(test)]
pub(crate) fn without_colour(text: &str) -> String {
    let mut seen = String::new();
    let mut inside = false;
    for c in text.chars() {
        match (inside, c) {
            (false, '\u{1b}') => inside = true,
            (true, 'm') => inside = false,
            (false, c) => seen.push(c),
            (true, _) => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_says_so() {
        assert_eq!(fit("checkout", 8), "checkout");
        assert_eq!(fit("checkout", 5), "chec…");
        assert_eq!(fit("ビルド", 4), "ビ…");
        assert_eq!(fit("checkout", 0), "");
    }

    #[test]
    fn no_name_can_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn wrapped_lines_hang_under_their_label() {
        assert_eq!(wrap("warning  ", "one two three", 16), ["warning  one two", "         three"]);
    }

    #[test]
    fn a_number_stays_with_its_unit() {
        assert_eq!(wrap("", "lag is 400 ms, so", 11), ["lag is", "400 ms, so"]);
    }

    #[test]
    fn a_table_gives_up_its_last_columns_before_its_numbers() {
        let mut table = Table::with_head(["name", "p50", "p99"]);
        table.push(["a very long name of a scenario".into(), "1 ms".into(), "2 ms".into()]);
        assert_eq!(table.lines(26, Paint::new(false)), ["name             p50   p99", "a very long n…  1 ms  2 ms"]);
        assert_eq!(table.lines(20, Paint::new(false)), ["name             p50", "a very long n…  1 ms"]);
    }

    proptest! {
        #[test]
        fn wrapped_text_stays_inside_and_loses_no_word(words in prop::collection::vec("[a-z]{1,30}", 0..20), width in 12usize..60) {
            let text = words.join(" ");
            let lines = wrap("  ", &text, width);
            prop_assert!(lines.iter().all(|line| width_of(line) <= width));
            prop_assert_eq!(lines.concat().replace(' ', ""), words.concat());
        }

        #[test]
        fn fitted_text_fits(text in "\\PC{0,40}", width in 0usize..40) {
            prop_assert!(width_of(&fit(&text, width)) <= width);
        }
    }
}
