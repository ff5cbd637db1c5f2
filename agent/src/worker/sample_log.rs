//! The debug log of samples: one line a sample, so that merged histograms can
//! be checked against every value that went into them. Bounded; it costs time
//! on the request path and is off unless the plan asks.

use squall_common::sample::Sample;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Lines one worker writes at the most.
const MAX_LINES: u64 = 10_000_000;
const HEAD: &str = "scenario,step,target,intended_us,response_time_us,service_time_us,dispatch_lag_us,outcome,status";

pub struct SampleLog {
    out: BufWriter<File>,
    start_ns: u64,
    lines: u64,
}

impl SampleLog {
    /// Creates `STEM-WORKER.csv`.
    pub fn create(stem: &Path, worker: u32, start_ns: u64) -> std::io::Result<Self> {
        let mut name = stem.as_os_str().to_owned();
        name.push(format!("-{worker}.csv"));
        let mut out = BufWriter::new(File::create(Path::new(&name))?);
        writeln!(out, "{HEAD}")?;
        Ok(Self { out, start_ns, lines: 0 })
    }

    pub fn write(&mut self, sample: &Sample) {
        if self.lines >= MAX_LINES {
            return;
        }
        self.lines += 1;
        let or_empty = |value: Option<u64>| value.map_or(String::new(), |value| value.to_string());
        let written = writeln!(
            self.out,
            "{},{},{},{},{},{},{},{},{}",
            sample.scenario.0,
            sample.step.0,
            sample.target.0,
            sample.intended_ns.saturating_sub(self.start_ns) / 1_000,
            sample.response_time_us(),
            or_empty(sample.service_time_us()),
            or_empty(sample.dispatch_lag_us()),
            sample.outcome.name(),
            or_empty(sample.status.map(u64::from)),
        );
        if let Err(error) = written {
            tracing::warn!(%error, "the sample log cannot be written and ends here");
            self.lines = MAX_LINES;
        }
    }
}
