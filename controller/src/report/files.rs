//! The files of a results directory.

use super::hlog::Log;
use super::summary::summary;
use super::{RunRecord, timeseries};
use hdrhistogram::serialization::V2DeflateSerializer;
use squall_common::merge::Frame;
use std::io;

/// Every file of a finished run, by name. `frames` are its intervals in order,
/// taken one at a time; `events_jsonl` is the run's event log as it stands.
pub fn files(
    record: &RunRecord,
    frames: impl IntoIterator<Item = Frame>,
    events_jsonl: &[u8],
) -> Vec<(String, Vec<u8>)> {
    let (timeseries, intervals) = over_time(record, frames).expect("memory takes every byte written to it");
    [
        ("summary.json", summary_json(record)),
        ("timeseries.csv", timeseries),
        ("intervals.hlog", intervals),
        ("events.jsonl", events_jsonl.to_vec()),
        ("plan.yaml", record.resolved_yaml.clone().into_bytes()),
    ]
    .into_iter()
    .map(|(name, content)| (name.to_owned(), content))
    .collect()
}

/// `summary.json` as bytes: indented, because people read it too.
pub fn summary_json(record: &RunRecord) -> Vec<u8> {
    format!("{:#}\n", summary(record)).into_bytes()
}

/// Both files that tell what happened when, in one pass over the intervals.
fn over_time(record: &RunRecord, frames: impl IntoIterator<Item = Frame>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut rows, mut log) = (Vec::new(), Vec::new());
    let mut serializer = V2DeflateSerializer::new();
    timeseries::write_head(&mut rows)?;
    let mut lines = Log::begin(record, &mut log, &mut serializer)?;
    for frame in frames {
        timeseries::write_frame(record, &frame, &mut rows)?;
        lines.frame(&frame)?;
    }
    Ok((rows, log))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::super::{hlog, timeseries};
    use super::*;

    #[test]
    fn one_pass_writes_what_the_writers_write_alone() {
        let run = run(Setup { seconds: 3, ..Setup::three_regions() });
        let files = files(&run.record, run.frames.clone(), b"{}\n");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["summary.json", "timeseries.csv", "intervals.hlog", "events.jsonl", "plan.yaml"]);
        let (mut rows, mut log) = (Vec::new(), Vec::new());
        timeseries::write(&run.record, run.frames.clone().into_iter(), &mut rows).unwrap();
        hlog::write(&run.record, run.frames.into_iter(), &mut log).unwrap();
        assert_eq!((&files[1].1, &files[2].1), (&rows, &log));
        let read: serde_json::Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(read["schema"], super::super::SCHEMA);
        assert_eq!(files[4].1, run.record.resolved_yaml.as_bytes());
    }

    /// A log for the Java tools: `SQUALL_HLOG=FILE cargo test a_log_to_try -- --ignored`.
    #[test]
    #[ignore = "writes a file for reading with other tools by hand"]
    fn a_log_to_try_with_other_readers() {
        let path = std::env::var("SQUALL_HLOG").unwrap();
        let run = run(Setup { error_one_in: 30, stall_us: 400_000, ..Setup::three_regions() });
        let files = files(&run.record, run.frames, b"");
        std::fs::write(path, &files[2].1).unwrap();
        eprintln!("{}", summary(&run.record)["latency"]["response_time"]);
    }
}
