//! `timeseries.csv`: a row for every interval and scope, RFC 4180.

use super::{RunRecord, names};
use squall_common::histogram::Latencies;
use squall_common::ledger::Ledger;
use squall_common::merge::{Frame, RegionIndex};
use squall_common::plan::Metric;
use squall_common::sample::Outcome;
use squall_common::schedule::{is_steady, phase_at};
use std::io::{self, Write};
use std::time::Duration;

const COLUMNS: &str = "interval,elapsed_s,scope,phase,steady,planned,sent,skipped,completed,failed,not_ok,in_flight,\
                       users,agents,response_p50_us,response_p90_us,response_p99_us,response_max_us,service_p50_us,\
                       service_p99_us,dispatch_lag_p99_us,bytes_received,limited";

/// The scope of the rows that count all regions.
const ALL: &str = "all";

/// Writes the head and, for every frame, a row of `all` and one of each region.
pub fn write(record: &RunRecord, frames: impl Iterator<Item = Frame>, out: &mut impl Write) -> io::Result<()> {
    write_head(out)?;
    for frame in frames {
        write_frame(record, &frame, out)?;
    }
    Ok(())
}

/// The column names.
pub fn write_head(out: &mut impl Write) -> io::Result<()> {
    write!(out, "{COLUMNS}\r\n")
}

/// The rows of one interval.
pub fn write_frame(record: &RunRecord, frame: &Frame, out: &mut impl Write) -> io::Result<()> {
    let phase = phases_at(record, frame.interval);
    let mut all = Figures::default();
    let regions: Vec<(RegionIndex, Figures)> =
        names::region_indices(record).map(|region| (region, Figures::of(frame, region))).collect();
    regions.iter().for_each(|(_, figures)| all.add(figures));
    for (region, figures) in
        std::iter::once((None, &all)).chain(regions.iter().map(|(region, figures)| (Some(*region), figures)))
    {
        let row = row(record, frame, region, figures, &phase);
        write!(out, "{}\r\n", row.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

/// What a row is made of. [`Frame::part`] folds every metric of every series;
/// a row needs three, and a long run has many rows.
#[derive(Default)]
struct Figures {
    ledger: Ledger,
    not_ok: u64,
    bytes_received: u64,
    response: Latencies,
    service: Latencies,
    lag: Latencies,
}

impl Figures {
    fn of(frame: &Frame, region: RegionIndex) -> Self {
        let mut figures = Self::default();
        for (_, flow) in frame.flows.iter().filter(|((at, _), _)| *at == region) {
            figures.ledger.add_flow(flow);
        }
        for (_, series) in frame.series.iter().filter(|((at, _), _)| *at == region) {
            figures.ledger.add_series(series);
            figures.not_ok += series.count() - series.outcomes[Outcome::Ok as usize];
            figures.bytes_received += series.bytes_received;
            for (sum, metric) in [
                (&mut figures.response, Metric::ResponseTime),
                (&mut figures.service, Metric::ServiceTime),
                (&mut figures.lag, Metric::DispatchLag),
            ] {
                series.latencies(metric).into_iter().for_each(|latencies| sum.add(latencies));
            }
        }
        figures
    }

    fn add(&mut self, other: &Self) {
        self.ledger += other.ledger;
        self.not_ok += other.not_ok;
        self.bytes_received += other.bytes_received;
        self.response.add(&other.response);
        self.service.add(&other.service);
        self.lag.add(&other.lag);
    }
}

fn row(record: &RunRecord, frame: &Frame, region: Option<RegionIndex>, figures: &Figures, phase: &str) -> Vec<String> {
    let ledger = figures.ledger;
    // Empty where nothing was measured, which is not 0 µs.
    let value = |latencies: &Latencies, us: u64| if latencies.is_empty() { String::new() } else { us.to_string() };
    let at = |latencies: &Latencies, percentile: f64| value(latencies, latencies.percentile_us(percentile));
    // Agents tell these for themselves; frames add them up over all regions.
    let gauge = |value: u64| if region.is_none() { value.to_string() } else { String::new() };
    vec![
        frame.interval.to_string(),
        frame.interval.to_string(),
        region.map_or(ALL, |index| names::region(record, index)).to_owned(),
        phase.to_owned(),
        is_steady(record.merge.plan(), frame.interval).to_string(),
        ledger.planned.to_string(),
        ledger.sent.to_string(),
        ledger.skipped.to_string(),
        ledger.completed.to_string(),
        ledger.failed.to_string(),
        figures.not_ok.to_string(),
        gauge(frame.in_flight),
        gauge(frame.users),
        gauge(frame.agents.into()),
        at(&figures.response, 50.0),
        at(&figures.response, 90.0),
        at(&figures.response, 99.0),
        value(&figures.response, figures.response.max_us()),
        at(&figures.service, 50.0),
        at(&figures.service, 99.0),
        at(&figures.lag, 99.0),
        figures.bytes_received.to_string(),
        limited(record, frame, region),
    ]
}

/// The phase each load is in, joined by `+` where they differ; `drain` after the last.
fn phases_at(record: &RunRecord, interval: u32) -> String {
    let plan = record.merge.plan();
    let start = Duration::from_secs(interval.into());
    let mut found: Vec<&str> = Vec::new();
    for load in &plan.loads {
        let phase = match phase_at(load, start) {
            Some((phase, _)) => phase.name.as_str(),
            // A load by iterations has no phases: it is what it is called.
            None if load.phases().is_empty() && load.duration().is_none_or(|end| start < end) => load.name.as_str(),
            None => continue,
        };
        if !found.contains(&phase) {
            found.push(phase);
        }
    }
    if found.is_empty() { "drain".to_owned() } else { found.join("+") }
}

/// Why agents of the scope could not keep up; empty: they did.
fn limited(record: &RunRecord, frame: &Frame, region: Option<RegionIndex>) -> String {
    let slots: Vec<String> = record
        .merge
        .agents()
        .iter()
        .filter(|agent| region.is_none_or(|wanted| wanted == agent.region))
        .map(|agent| format!("{}: ", agent.slot))
        .collect();
    let inside = |told: &&String| region.is_none() || slots.iter().any(|slot| told.starts_with(slot.as_str()));
    frame.limited.iter().filter(inside).map(String::as_str).collect::<Vec<_>>().join("; ")
}

/// A field as RFC 4180 wants it: quoted where it holds a comma, a quote or a line break.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::*;
    use proptest::prelude::*;

    /// RFC 4180, read back: rows of fields.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field, mut inside) = (Vec::new(), Vec::new(), String::new(), false);
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '"' if inside && letters.peek() == Some(&'"') => {
                    letters.next();
                    field.push('"');
                }
                '"' => inside = !inside,
                ',' if !inside => row.push(std::mem::take(&mut field)),
                '\r' if !inside => {
                    assert_eq!(letters.next(), Some('\n'));
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                other => field.push(other),
            }
        }
        assert!(row.is_empty() && field.is_empty(), "the last row ends with a line break");
        rows
    }

    fn written(record: &RunRecord, frames: Vec<Frame>) -> Vec<Vec<String>> {
        let mut out = Vec::new();
        write(record, frames.into_iter(), &mut out).unwrap();
        parse(&String::from_utf8(out).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn rows_sum_to_the_ledger_by_all_and_by_region(seed: u64, error_one_in in 0u64..6, lost in prop::option::of((0usize..3, 0u32..6))) {
            let mut setup = Setup { seconds: 6, per_second: 25, error_one_in, lost, ..Setup::three_regions() };
            setup.plan.seed = seed;
            let run = run(setup);
            let rows = written(&run.record, run.frames);
            prop_assert_eq!(rows[0].join(","), COLUMNS);
            let column = |name: &str| rows[0].iter().position(|column| column == name).unwrap();
            let ledger = run.record.merge.ledger();
            for (name, total) in [
                ("planned", ledger.planned),
                ("sent", ledger.sent),
                ("skipped", ledger.skipped),
                ("completed", ledger.completed),
                ("failed", ledger.failed),
            ] {
                let sum = |all: bool| -> u64 {
                    rows[1..].iter().filter(|row| (row[column("scope")] == ALL) == all).map(|row| row[column(name)].parse::<u64>().unwrap()).sum()
                };
                prop_assert_eq!(sum(true), total, "{} of all", name);
                prop_assert_eq!(sum(false), total, "{} of the regions", name);
            }
            prop_assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        }

        #[test]
        fn any_field_reads_back(fields in prop::collection::vec("[a-z,\"\r\n ]{0,12}", 1..6)) {
            let line = fields.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",") + "\r\n";
            prop_assert_eq!(parse(&line), vec![fields]);
        }
    }

    #[test]
    fn rows_say_their_phase_and_who_was_limited() {
        let mut run = run(Setup::three_regions());
        run.frames[6].limited.push("agent-2: dispatch lag p99 12 ms, limit 5 ms".to_owned());
        let rows = written(&run.record, run.frames);
        let of = |interval: &str, scope: &str| rows.iter().find(|row| row[0] == interval && row[2] == scope).unwrap();
        assert_eq!(of("1", "all")[3..5], ["ramp", "false"]);
        assert_eq!(of("6", "all")[3..5], ["hold", "true"]);
        assert_eq!(of("6", "all")[22], "agent-2: dispatch lag p99 12 ms, limit 5 ms");
        assert_eq!(of("6", "aws/us-west-2")[22], of("6", "all")[22]);
        assert_eq!(of("6", "azure/eastus")[22], "");
    }

    #[test]
    fn a_region_that_told_nothing_has_no_latency_rather_than_zero() {
        let run = run(Setup { lost: Some((2, 3)), ..Setup::three_regions() });
        let rows = written(&run.record, run.frames);
        let row = rows.iter().find(|row| row[0] == "9" && row[2] == "gcp/europe-west4").unwrap();
        assert_eq!((row[6].as_str(), row[14].as_str()), ("0", ""));
    }
}
