//! `intervals.hlog`: every interval's histograms, in the log format of the
//! HdrHistogram tools (version 1.3, as the Java `HistogramLogReader` reads it).
//!
//! Values are microseconds. The Java writer divides the maximum in a line by
//! 1,000,000 (nanoseconds to milliseconds); ours are divided by 1,000, so that
//! the column is milliseconds too. It is for people only: readers take values
//! from the histograms.

use super::{RunRecord, names};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use squall_common::histogram::Latencies;
use squall_common::interval::SeriesKey;
use squall_common::merge::{Frame, RegionIndex};
use squall_common::plan::Metric;
use std::io::{self, Write};
use std::time::Duration;

const FORMAT: &str = "[Histogram log format version 1.3]";
const LEGEND: &str = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;
const INTERVAL: Duration = Duration::from_secs(1);
const MAX_US_TO_MS: f64 = 1_000.0;

/// Writes the whole log.
pub fn write(record: &RunRecord, frames: impl Iterator<Item = Frame>, out: &mut impl Write) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = Log::begin(record, out, &mut serializer)?;
    for frame in frames {
        log.frame(&frame)?;
    }
    Ok(())
}

/// A log that grows by one interval at a time.
pub struct Log<'a, W: Write> {
    record: &'a RunRecord,
    writer: IntervalLogWriter<'a, 'a, W, V2DeflateSerializer>,
}

impl<'a, W: Write> Log<'a, W> {
    /// Writes the comments and the legend that every log begins with.
    pub fn begin(record: &'a RunRecord, out: &'a mut W, serializer: &'a mut V2DeflateSerializer) -> io::Result<Self> {
        IntervalLogWriterBuilder::new()
            .add_comment(FORMAT)
            .add_comment(&format!("[Logged with squall, run {}]", record.run_id))
            .add_comment("[Values are microseconds; Interval_Max is milliseconds]")
            .add_comment("[Tags are scenario|request|target|region|outcome class|metric; without: all response times]")
            .with_start_time(record.started_at)
            .begin_log_with(out, serializer)?;
        writeln!(out, "{LEGEND}")?;
        // Begun twice: the crate knows no legend, and it belongs between the head and the lines.
        let writer =
            IntervalLogWriterBuilder::new().with_max_value_divisor(MAX_US_TO_MS).begin_log_with(out, serializer)?;
        Ok(Self { record, writer })
    }

    /// One line for every series and metric of an interval, after one without a tag:
    /// the response time of them all, which is what the Java tools show when no tag
    /// is named (without such lines `HistogramLogProcessor` 2.2.2 ends in a null
    /// pointer). A series whose values all lie above the range has no line:
    /// `summary.json` counts them as overflow.
    pub fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        let start = INTERVAL * frame.interval;
        let mut all = Latencies::new();
        frame.series.values().filter_map(|series| series.latencies(Metric::ResponseTime)).for_each(|one| all.add(one));
        self.line(&all, start, None)?;
        for ((region, key), series) in &frame.series {
            for (metric, latencies) in series.metrics() {
                self.line(latencies, start, Some(&tag(self.record, *region, *key, metric)))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, latencies: &Latencies, start: Duration, tag: Option<&str>) -> io::Result<()> {
        if latencies.histogram().is_empty() {
            return Ok(());
        }
        let written = self.writer.write_histogram(latencies.histogram(), start, INTERVAL, tag.and_then(Tag::new));
        written.map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
        })
    }
}

/// What the histogram of a line is of. Every part is made of characters that
/// tags may hold, without the bar that separates them.
fn tag(record: &RunRecord, region: RegionIndex, key: SeriesKey, metric: Metric) -> String {
    let plan = record.merge.plan();
    [
        names::scenario(plan, key.flow.scenario),
        names::step(plan, key.flow.scenario, key.flow.step),
        names::target(plan, key.flow.target),
        names::region(record, region),
        key.class.name(),
        metric.name(),
    ]
    .map(legal)
    .join("|")
}

/// Commas, spaces and line breaks may not stand in a tag.
fn legal(name: &str) -> String {
    name.chars().map(|c| if c.is_whitespace() || c.is_control() || ",|".contains(c) { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::*;
    use base64::Engine;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;
    use squall_common::histogram::latency_histogram;
    use squall_common::merge::Scope;
    use std::collections::BTreeMap;

    fn written(record: &RunRecord, frames: Vec<Frame>) -> Vec<u8> {
        let mut out = Vec::new();
        write(record, frames.into_iter(), &mut out).unwrap();
        out
    }

    /// Histograms summed by the last part of their tag, `all` for those without.
    fn by_metric(log: &[u8]) -> BTreeMap<String, Histogram<u64>> {
        let mut sums: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
        for entry in IntervalLogIterator::new(log) {
            if let LogEntry::Interval(line) = entry.unwrap() {
                let bytes = base64::engine::general_purpose::STANDARD.decode(line.encoded_histogram()).unwrap();
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                let tag = line.tag().map_or("|||||all", |tag| tag.as_str());
                assert_eq!(tag.split('|').count(), 6, "{tag}");
                let metric = tag.rsplit('|').next().unwrap().to_owned();
                assert_eq!(line.max(), (histogram.max() as f64 / 1e3 * 1e3).round() / 1e3);
                sums.entry(metric).or_insert_with(latency_histogram).add(histogram).unwrap();
            }
        }
        sums
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5))]
        /// What is read back is the merged run, bucket by bucket.
        #[test]
        fn the_log_sums_to_the_merged_histograms(seed: u64, error_one_in in 0u64..6, stall_us in 0u64..5_000_000) {
            let mut setup = Setup { seconds: 4, per_second: 25, error_one_in, stall_us, ..Setup::three_regions() };
            setup.plan.seed = seed;
            let run = run(setup);
            let log = written(&run.record, run.frames);
            let merged = run.record.merge.part(Scope::default());
            let mut expected: BTreeMap<String, Histogram<u64>> = merged
                .series
                .metrics()
                .map(|(metric, latencies)| (metric.name().to_owned(), latencies.histogram().clone()))
                .collect();
            expected.insert("all".to_owned(), expected["response_time"].clone());
            prop_assert_eq!(by_metric(&log), expected);
        }
    }

    #[test]
    fn the_head_is_what_the_java_reader_expects() {
        let run = run(Setup { seconds: 2, ..Setup::one_region() });
        let log = String::from_utf8(written(&run.record, run.frames)).unwrap();
        let lines: Vec<&str> = log.lines().take(7).collect();
        assert_eq!(
            lines,
            [
                "#[Histogram log format version 1.3]",
                "#[Logged with squall, run 01JD5T3E9ZQ4W1V8K2M6R7B0XN]",
                "#[Values are microseconds; Interval_Max is milliseconds]",
                "#[Tags are scenario|request|target|region|outcome class|metric; without: all response times]",
                "#[StartTime: 1767225600.250 (seconds since epoch)]",
                LEGEND,
                "#[MaxValueDivisor: 1000.000]",
            ]
        );
        assert!(log.lines().nth(7).unwrap().starts_with("0.000,1.000,"));
        let first = log.lines().nth(8).unwrap();
        assert!(first.starts_with("Tag=browse|list|shop|azure/eastus|ok|response_time,0.000,1.000,"), "{first}");
    }

    #[test]
    fn names_with_forbidden_characters_still_make_tags() {
        assert_eq!(legal("add to cart, then|pay"), "add_to_cart__then_pay");
        assert!(Tag::new(&legal("a b,c\nd\re\u{85}f")).is_some());
    }
}
