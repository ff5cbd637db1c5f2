//! The seam to the reports: one finished run in, its files out.

use crate::frames::Frames;
use crate::report::RunRecord;

/// Everything a results directory gets.
pub struct Made {
    pub summary_json: String,
    /// By name; among them summary.json.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The name of the summary for terminals in a run's files: with colours, 80 columns.
/// Shown by the CLI and not saved by it.
pub const TERMINAL_SUMMARY: &str = ".terminal";

/// Makes the files. Blocks: it reads every stored interval.
pub fn make(record: &RunRecord, frames: &mut Frames, events: &[String]) -> Made {
    crate::reporting_placeholder::make(record, frames, events)
}
