//! Sample logs: every request as its agent saw it.

use crate::table::Table;
use std::fs;
use std::path::Path;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// After the common start.
    pub intended_us: u64,
    pub response_time_us: u64,
    pub service_time_us: Option<u64>,
    pub dispatch_lag_us: Option<u64>,
    pub outcome: String,
}

/// All lines of one agent, of all its workers.
pub fn of_agent(dir: &Path, slot: &str) -> Vec<Sample> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("the directory of sample logs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let worker = name.strip_prefix(&format!("samples-{slot}-")).and_then(|rest| rest.strip_suffix(".csv"));
            worker.is_some_and(|worker| worker.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "agent {slot} wrote no sample log");
    files.iter().flat_map(|path| read(&fs::read_to_string(path).expect("a sample log"))).collect()
}

fn read(text: &str) -> Vec<Sample> {
    let table = Table::read(text);
    table
        .rows()
        .map(|row| Sample {
            intended_us: row.count("intended_us"),
            response_time_us: row.count("response_time_us"),
            service_time_us: row.maybe_count("service_time_us"),
            dispatch_lag_us: row.maybe_count("dispatch_lag_us"),
            outcome: row.text("outcome").to_owned(),
        })
        .collect()
}
