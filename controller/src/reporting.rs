//! The seam to the reports: one finished run in, its files out.

use crate::frames::Frames;
use crate::report::{self, RunRecord};

/// Everything a results directory gets.
pub struct Made {
    pub summary_json: String,
    /// By name; among them summary.json.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The terminal summary among a run's files: with colours, at [`WIDTH`]. The
/// CLI shows it; a results directory gets it without colours, as summary.txt.
pub const TERMINAL_SUMMARY: &str = ".terminal";
const WIDTH: usize = 80;

/// Makes the files. Blocks: it reads every stored interval.
pub fn make(record: &RunRecord, frames: &mut Frames, events: &[String]) -> Made {
    let mut events_jsonl = events.join("\n").into_bytes();
    events_jsonl.push(b'\n');
    let mut files = report::files(record, &mut *frames, &events_jsonl);
    if record.merge.plan().keep_errors.is_some() {
        files.push(("errors.jsonl".to_owned(), report::errors_jsonl(record, frames.kept())));
    }
    files.push(("summary.txt".to_owned(), report::render(record, WIDTH, false).into_bytes()));
    files.push((TERMINAL_SUMMARY.to_owned(), report::render(record, WIDTH, true).into_bytes()));
    let summary_json = format!("{:#}", report::summary(record));
    Made { summary_json, files }
}
