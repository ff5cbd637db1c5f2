//! Feeders: CSV, JSON lines and inline rows.

use super::build::Builder;
use super::node::{Entry, Node};
use super::problem::{Place, Problem};
use crate::plan::{Feeder, FeederOrder, LoadModel, WhenExhausted};
use crate::units;

/// What a feeder's rows are read into.
type Table = (Vec<String>, Vec<Vec<String>>);

impl Builder<'_> {
    pub(super) fn build_feeders(&mut self, root: &Node) {
        for entry in root.get("feeders").map(Node::entries).unwrap_or_default() {
            let (columns, rows) = self.rows(entry).unwrap_or_default();
            if !super::overrides::is_name(&entry.key) {
                self.problems.push(
                    Problem::new(&entry.key_place, format!("`{}` cannot name a feeder", entry.key))
                        .advice("use letters, digits, `_` and `-`, beginning with a letter"),
                );
            }
            let order = match entry.node.text_of("order") {
                Some("random") => FeederOrder::Random,
                Some("shuffled") => FeederOrder::Shuffled,
                Some("unique") => FeederOrder::Unique,
                _ => FeederOrder::Sequential,
            };
            let when_exhausted = match entry.node.text_of("when_exhausted") {
                Some("recycle") => WhenExhausted::Recycle,
                _ => WhenExhausted::Skip,
            };
            self.feeders.push(Feeder { name: entry.key.clone(), columns, rows, order, when_exhausted });
            self.feeder_places.push(entry.key_place.clone());
        }
    }

    fn rows(&mut self, entry: &Entry) -> Option<Table> {
        let name = &entry.key;
        let file = if entry.node.scalar().is_some() { Some(&entry.node) } else { entry.node.get("file") };
        match (file, entry.node.get("rows")) {
            (Some(_), Some(rows)) => {
                self.problem(rows, &format!("feeder `{name}` has both `file` and `rows`"), "keep one of them");
                None
            }
            (Some(file), None) => self.file_rows(file),
            (None, Some(rows)) => self.inline_rows(rows),
            (None, None) => {
                self.problems.push(
                    Problem::new(&entry.key_place, format!("feeder `{name}` has no rows"))
                        .advice("add `file: data.csv` or `rows: [{column: value}]`"),
                );
                None
            }
        }
    }

    fn inline_rows(&mut self, node: &Node) -> Option<Table> {
        let columns: Vec<String> = node.items().first()?.entries().iter().map(|entry| entry.key.clone()).collect();
        let mut rows = Vec::new();
        for item in node.items() {
            let values: Option<Vec<String>> =
                columns.iter().map(|c| item.entry(c)?.node.scalar().map(str::to_owned)).collect();
            match values {
                Some(values) if item.entries().len() == columns.len() => rows.push(values),
                _ => self.problem(item, "this row has other columns than the first", "give every row the same columns"),
            }
        }
        Some((columns, rows))
    }

    fn file_rows(&mut self, node: &Node) -> Option<Table> {
        let name = node.scalar()?.to_owned();
        let bytes = self.file(node)?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            self.problem(node, &format!("`{name}` is not UTF-8 text"), "save it as UTF-8");
            return None;
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let read = if name.ends_with(".csv") {
            csv(text)
        } else if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
            json_lines(text)
        } else {
            self.problem(node, &format!("`{name}` is neither CSV nor JSON lines"), "name it `….csv` or `….jsonl`");
            return None;
        };
        match read {
            Ok((_, rows)) if rows.is_empty() => {
                self.problem(
                    node,
                    &format!("`{name}` has no rows"),
                    "a CSV file has a header line and at least one row",
                );
                None
            }
            Ok(table) => Some(table),
            Err((line, message)) => {
                self.problems.push(Problem::new(&Place::file(&name, line), message));
                None
            }
        }
    }

    /// A `unique` feeder that ends before the iterations do is worth a word.
    pub(super) fn check_feeders_suffice(&mut self) {
        let planned: Option<f64> = self.loads.iter().map(|load| iterations(&load.model)).sum();
        let short: Vec<(Place, String)> = self
            .feeders
            .iter()
            .zip(&self.feeder_places)
            .filter(|(feeder, _)| feeder.order == FeederOrder::Unique && feeder.when_exhausted == WhenExhausted::Skip)
            .filter_map(|(feeder, place)| {
                let planned = planned.filter(|planned| *planned > feeder.rows.len() as f64)?;
                let rows = match feeder.rows.len() {
                    1 => "1 row".to_owned(),
                    n => format!("{} rows", units::show_count(n as u64)),
                };
                let planned = units::show_count(planned as u64);
                let message = format!("unique feeder `{}` has {rows} for about {planned} iterations", feeder.name);
                Some((place.clone(), message))
            })
            .collect();
        for (place, message) in short {
            self.warning(&place, &message, "the rest is skipped and counted; `when_exhausted: recycle` repeats rows");
        }
    }
}

/// Iterations a load plans; `None` when the target's speed decides.
fn iterations(model: &LoadModel) -> Option<f64> {
    match model {
        LoadModel::Open { phases, .. } => {
            Some(phases.iter().map(|phase| (phase.from + phase.to) / 2.0 * phase.duration.as_secs_f64()).sum())
        }
        LoadModel::SharedIterations { iterations, .. } => Some(*iterations as f64),
        LoadModel::PerUserIterations { users, iterations, .. } => Some(f64::from(*users) * *iterations as f64),
        LoadModel::Closed { .. } => None,
    }
}

/// RFC 4180: quotes around fields, doubled inside. The first line names the columns.
fn csv(text: &str) -> Result<Table, (u32, String)> {
    let mut records: Vec<(u32, Vec<String>)> = Vec::new();
    let (mut record, mut field, mut line, mut start_line) = (Vec::new(), String::new(), 1u32, 1u32);
    let (mut is_quoted, mut was_quoted) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() && !was_quoted => (is_quoted, was_quoted) = (true, true),
            '\n' if !is_quoted => {
                end_record(&mut records, &mut record, &mut field, was_quoted, start_line);
                was_quoted = false;
                line += 1;
                start_line = line;
            }
            '\r' if !is_quoted && chars.peek() == Some(&'\n') => {}
            ',' if !is_quoted => {
                record.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            c => {
                line += u32::from(c == '\n');
                field.push(c);
            }
        }
    }
    if is_quoted {
        return Err((start_line, "a quoted field is never closed".to_owned()));
    }
    end_record(&mut records, &mut record, &mut field, was_quoted, start_line);
    let mut records = records.into_iter();
    let Some((_, columns)) = records.next() else { return Ok(Table::default()) };
    let columns: Vec<String> = columns.into_iter().map(|column| column.trim().to_owned()).collect();
    check_columns(&columns)?;
    let mut rows = Vec::new();
    for (line, row) in records {
        if row.len() != columns.len() {
            let fields = if row.len() == 1 { "field" } else { "fields" };
            let message = format!("{} {fields} where the header names {}", row.len(), columns.len());
            return Err((line, message));
        }
        rows.push(row);
    }
    Ok((columns, rows))
}

fn end_record(
    records: &mut Vec<(u32, Vec<String>)>,
    record: &mut Vec<String>,
    field: &mut String,
    was_quoted: bool,
    line: u32,
) {
    // A blank line is no record.
    if !record.is_empty() || !field.is_empty() || was_quoted {
        record.push(std::mem::take(field));
        records.push((line, std::mem::take(record)));
    }
}

/// More columns than this are not data for requests.
const MOST_COLUMNS: usize = 1000;

fn check_columns(columns: &[String]) -> Result<(), (u32, String)> {
    if columns.len() > MOST_COLUMNS {
        return Err((1, format!("{} columns, the limit is {MOST_COLUMNS}", columns.len())));
    }
    for (n, column) in columns.iter().enumerate() {
        if column.is_empty() {
            return Err((1, format!("column {} has no name", n + 1)));
        }
        if columns[..n].contains(column) {
            return Err((1, format!("column `{column}` is there twice")));
        }
    }
    Ok(())
}

fn json_lines(text: &str) -> Result<Table, (u32, String)> {
    let mut columns: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = n as u32 + 1;
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| (at, format!("this line is not a JSON object: {error}")))?;
        if columns.is_empty() {
            columns = object.keys().cloned().collect();
            check_columns(&columns).map_err(|(_, message)| (at, message))?;
        }
        let row: Option<Vec<String>> = columns.iter().map(|column| object.get(column).map(json_text)).collect();
        match row {
            Some(row) if object.len() == columns.len() => rows.push(row),
            _ => return Err((at, "this object has other keys than the first".to_owned())),
        }
    }
    Ok((columns, rows))
}

fn json_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_read_with_quotes_and_line_breaks() {
        let (columns, rows) = csv("id,name\r\n1,\"a \"\"b\"\", c\"\r\n\r\n2,\"x\ny\"").unwrap();
        assert_eq!(columns, ["id", "name"]);
        assert_eq!(rows, [["1", "a \"b\", c"], ["2", "x\ny"]]);
    }

    #[test]
    fn ragged_and_open_csv_names_its_line() {
        assert_eq!(csv("a,b\n1,2\n3").unwrap_err().0, 3);
        assert_eq!(csv("a,b\n1,\"2").unwrap_err().0, 2);
        assert_eq!(csv("a,a\n1,2").unwrap_err().0, 1);
    }

    #[test]
    fn json_lines_keep_numbers_as_they_are() {
        let (columns, rows) = json_lines("{\"id\": 7, \"n\": \"x\"}\n{\"n\": \"y\", \"id\": 8}").unwrap();
        assert_eq!(columns, ["id", "n"]);
        assert_eq!(rows, [["7", "x"], ["8", "y"]]);
    }
}
