//! The table of `docs/reliability.md`.

use crate::account::Row;
use crate::catalogue::FAULTS;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// The page to write the table into, between two marks.
const PAGE: &str = "SQUALL_RELIABILITY_PAGE";
const BEGIN: &str = "<!-- table: written by `make reliability` -->\n";
const END: &str = "<!-- end of table -->";

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// One fault has been seen.
pub fn keep(row: Row) {
    println!("{}", line(&row));
    ROWS.lock().unwrap_or_else(PoisonError::into_inner).push(row);
}

/// Writes the page, if one is named; only ever from all faults.
pub fn write_where_wanted() {
    let Some(page) = std::env::var_os(PAGE) else { return };
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(rows.len(), FAULTS.len(), "a table of all faults needs a run of all faults");
    let text = std::fs::read_to_string(&page).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("the mark where the table ends");
    std::fs::write(&page, format!("{before}{BEGIN}{}{END}{after}", table(&rows))).expect("the page is written");
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | how long | answered by the targets | in the result | lost | named | verdict (exit code) |\n\
         |---|---|--:|--:|--:|---|---|\n",
    );
    for fault in FAULTS {
        let row = rows.iter().find(|row| (row.fault, row.lasted) == (fault.fault, fault.lasted));
        let _ = writeln!(text, "{}", line(row.expect("every fault left a row")));
    }
    text
}

fn line(row: &Row) -> String {
    let in_result = row.in_result.map_or("no result".to_owned(), |count| count.to_string());
    let lost = row.in_result.map_or("all".to_owned(), |count| (row.served - count).to_string());
    let named = if row.named.is_empty() { "–" } else { &row.named }.replace('|', "\\|");
    format!(
        "| {} | {} | {} | {in_result} | {lost} | {named} | {} ({}) |",
        row.fault, row.lasted, row.served, row.verdict, row.exit_code
    )
}
