//! What operators asked for, line by line: `audit.jsonl` in the data directory.
//!
//! What changes something is written before it is done, and again with what
//! came of it; when the first line cannot be written it is not done. The file is
//! opened for every line, so that it can be moved away under a running controller.

use serde_json::{Map, Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Beside the store.
pub const FILE: &str = "audit.jsonl";
/// Operators' eyes only.
const MODE: u32 = 0o600;

/// One line. Never a plan, a token or a message: they may hold secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub at_unix_ms: u64,
    pub who: String,
    pub role: Option<&'static str>,
    pub peer: String,
    pub method: String,
    pub run: Option<String>,
    /// `asked`, `ok`, `denied`, or the name of a gRPC error.
    pub outcome: String,
    /// Why it was denied.
    pub why: Option<String>,
    /// Denials before this one that were not written, because there were too many.
    pub untold: u64,
}

impl Entry {
    pub fn line(&self) -> String {
        let mut line = Map::new();
        let mut add = |key: &str, value: Value| {
            if !value.is_null() {
                line.insert(key.to_owned(), value);
            }
        };
        add("at_unix_ms", json!(self.at_unix_ms));
        add("who", json!(self.who));
        add("role", json!(self.role));
        add("peer", json!(self.peer));
        add("method", json!(self.method));
        add("run_id", json!(self.run));
        add("outcome", json!(self.outcome));
        add("why", json!(self.why));
        if self.untold > 0 {
            add("untold", json!(self.untold));
        }
        Value::Object(line).to_string()
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// Proves that lines can be written.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let audit = Self { path };
        audit.append("", false)?;
        Ok(audit)
    }

    fn append(&self, text: &str, durable: bool) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(&self.path)?;
        // One write: lines of several calls never mix.
        file.write_all(text.as_bytes())?;
        if durable { file.sync_data() } else { Ok(()) }
    }

    /// Writes one line; `durable`: waits for the disk.
    pub async fn write(&self, entry: &Entry, durable: bool) -> io::Result<()> {
        let (audit, line) = (self.clone(), entry.line() + "\n");
        let written = tokio::task::spawn_blocking(move || audit.append(&line, durable)).await;
        written.unwrap_or_else(|panic| Err(io::Error::other(panic.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn entry() -> Entry {
        Entry {
            at_unix_ms: 7,
            who: "jwt:two\nlines".to_owned(),
            role: Some("viewer"),
            peer: "127.0.0.1:9".to_owned(),
            method: "ListRuns".to_owned(),
            run: None,
            outcome: "ok".to_owned(),
            why: None,
            untold: 0,
        }
    }

    #[test]
    fn a_line_is_one_line_and_says_nothing_of_nothing() {
        let expected = r#"{"at_unix_ms":7,"who":"jwt:two\nlines","role":"viewer","peer":"127.0.0.1:9","method":"ListRuns","outcome":"ok"}"#;
        assert_eq!(entry().line(), expected);
    }

    #[tokio::test]
    async fn lines_follow_each_other_also_after_the_file_was_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let audit = Audit::open(path.clone()).unwrap();
        audit.write(&entry(), true).await.unwrap();
        audit.write(&entry(), false).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        audit.write(&entry(), false).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        audit.write(&entry(), false).await.unwrap_err();
    }
}
