//! The tables of the terminal report: latencies, outcomes, and the parts of a run.

use super::numbers::{bytes, count, latency, percent, rate};
use super::requests::requests;
use super::{RunRecord, names};
use crate::terminal::{Cell, Paint, Table, Tone, pad_right, width_of};
use squall_common::histogram::Latencies;
use squall_common::interval::Series;
use squall_common::ledger::Ledger;
use squall_common::merge::{Part, Scope};
use squall_common::plan::Metric;
use squall_common::sample::Outcome;

/// Width of the first column where tables stand under one another.
const NAME: usize = 14;
/// From this width on tables have columns that are good to have.
const WIDE: usize = 100;

/// What the time of a request was spent on, in the order it happens.
const PHASES: [(Metric, &str); 8] = [
    (Metric::Dns, "dns"),
    (Metric::Connect, "connect"),
    (Metric::Tls, "tls"),
    (Metric::Write, "write"),
    (Metric::Wait, "wait"),
    (Metric::Receive, "receive"),
    (Metric::Rtt, "network rtt"),
    (Metric::Server, "server's word"),
];

/// Response time, service time and dispatch lag side by side, then the phases.
/// `ok` is what ended ok, shown apart when something did not: fast failures
/// make the figures of all requests look better than any user's.
pub fn latencies(series: &Series, ok: Option<&Series>, width: usize, paint: Paint) -> Vec<String> {
    let of = |metric| series.latencies(metric).filter(|latencies| !latencies.is_empty());
    let mut rows = vec![(Tone::Strong, "response time".to_owned(), of(Metric::ResponseTime))];
    if let Some(ok) = ok {
        let latencies = ok.latencies(Metric::ResponseTime).filter(|latencies| !latencies.is_empty());
        rows.push((Tone::Plain, "  when ok".to_owned(), latencies));
    }
    rows.push((Tone::Plain, "service time".to_owned(), of(Metric::ServiceTime)));
    rows.push((Tone::Plain, "dispatch lag".to_owned(), of(Metric::DispatchLag)));
    let phase = |(metric, name)| Some((Tone::Quiet, format!("  {name}"), Some(of(metric)?)));
    rows.extend(PHASES.into_iter().filter_map(phase));
    latency_table("latency", rows, width, paint)
}

/// Percentiles, largest and mean of each row; beyond [`WIDE`] also smallest and count.
pub fn latency_table(
    title: &'static str,
    rows: Vec<(Tone, String, Option<&Latencies>)>,
    width: usize,
    paint: Paint,
) -> Vec<String> {
    let wide = width >= WIDE;
    let mut head = vec![title, "p50", "p90", "p95", "p99", "p99.9", "max", "mean"];
    if wide {
        head.extend(["min", "count"]);
    }
    let mut table = Table::with_head(head).name_width(NAME);
    for (tone, name, latencies) in rows {
        let shown = [50.0, 90.0, 95.0, 99.0, 99.9]
            .map(|percentile| latencies.map(|latencies| latencies.percentile_us(percentile) as f64));
        let mut cells: Vec<String> = shown
            .into_iter()
            .chain([latencies.map(|l| l.max_us() as f64), latencies.map(Latencies::mean_us)])
            .map(measured)
            .collect();
        if wide {
            cells.push(measured(latencies.map(|l| l.min_us() as f64)));
            cells.push(count(latencies.map_or(0, Latencies::count)));
        }
        table.push(std::iter::once(name).chain(cells).map(|text| Cell::new(tone, text)));
    }
    table.lines(width, paint)
}

/// A latency, or a dash where nothing was measured.
fn measured(value_us: Option<f64>) -> String {
    value_us.map_or_else(|| "–   ".to_owned(), latency)
}

fn tone_of(outcome: Outcome) -> Tone {
    if outcome.is_ok() { Tone::Good } else { Tone::Bad }
}

/// Outcomes and, beside them, statuses.
pub fn outcomes(series: &Series, width: usize, paint: Paint) -> Vec<String> {
    let all = series.count().max(1) as f64;
    let mut ended = Table::with_head(["outcomes", "requests", "share"]).name_width(NAME + 2);
    for (outcome, requests) in Outcome::ALL.into_iter().zip(series.outcomes) {
        if requests > 0 || outcome.is_ok() {
            let name = Cell::new(tone_of(outcome), outcome.name());
            ended.push([name, count(requests).into(), percent(requests as f64 / all).into()]);
        }
    }
    let mut answered = Table::with_head(["status", "responses", "share"]);
    let responses = series.statuses.values().sum::<u64>().max(1) as f64;
    for (status, &number) in &series.statuses {
        answered.push([status.to_string().into(), count(number).into(), percent(number as f64 / responses).into()]);
    }
    let (left, right) = (ended.lines(width, paint), answered.lines(width, paint));
    if series.statuses.is_empty() { left } else { beside(left, right, width) }
}

/// Two blocks side by side, or under one another where they do not fit.
fn beside(left: Vec<String>, right: Vec<String>, width: usize) -> Vec<String> {
    const GAP: usize = 6;
    let widest = |lines: &[String]| lines.iter().map(|line| visible_width(line)).max().unwrap_or(0);
    let left_width = widest(&left);
    if left_width + GAP + widest(&right) > width {
        return left.into_iter().chain(std::iter::once(String::new())).chain(right).collect();
    }
    let mut joined = Vec::new();
    for row in 0..left.len().max(right.len()) {
        let start = left.get(row).map_or("", String::as_str);
        joined.push(match right.get(row) {
            None => start.to_owned(),
            Some(end) => {
                let gap = left_width + GAP - visible_width(start);
                format!("{start}{}{end}", pad_right("", gap))
            }
        });
    }
    joined
}

/// Columns of a line that may hold colour sequences.
fn visible_width(line: &str) -> usize {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().map_or(0, width_of);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| width_of(text))).sum::<usize>()
}

fn parts_table(name: &str, width: usize) -> Table {
    let mut head = vec![name, "completed", "not ok", "rate", "resp p50", "p99"];
    if width >= WIDE {
        head.extend(["p99.9", "service p50", "p99", "lag p99", "received"]);
    } else {
        head.push("service p99");
    }
    Table::with_head(head).name_width(NAME)
}

fn part_row(name: Cell, series: &Series, record: &RunRecord, width: usize) -> Vec<Cell> {
    let mut ledger = Ledger::default();
    ledger.add_series(series);
    let not_ok = series.count() - series.outcomes[Outcome::Ok as usize];
    let at = |metric, percentile| {
        let latencies = series.latencies(metric).filter(|latencies| !latencies.is_empty());
        Cell::from(measured(latencies.map(|latencies| latencies.percentile_us(percentile) as f64)))
    };
    let time_s = record.duration.as_secs_f64();
    let mut row = vec![
        name,
        count(ledger.completed).into(),
        Cell::new(if not_ok > 0 { Tone::Bad } else { Tone::Plain }, count(not_ok)),
        rate(if time_s > 0.0 { ledger.completed as f64 / time_s } else { 0.0 }).into(),
        at(Metric::ResponseTime, 50.0),
        at(Metric::ResponseTime, 99.0),
    ];
    if width >= WIDE {
        row.extend([
            at(Metric::ResponseTime, 99.9),
            at(Metric::ServiceTime, 50.0),
            at(Metric::ServiceTime, 99.0),
            at(Metric::DispatchLag, 99.0),
            bytes(series.bytes_received as f64).into(),
        ]);
    } else {
        row.push(at(Metric::ServiceTime, 99.0));
    }
    row
}

/// Scenarios and their requests; nothing when there is one of each.
pub fn scenarios(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let plan = record.merge.plan();
    let parts: Vec<_> = names::scenario_ids(record).into_iter().map(|id| (id, requests(record, id))).collect();
    if parts.len() < 2 && parts.iter().all(|(_, inside)| inside.len() < 2) {
        return Vec::new();
    }
    let mut table = parts_table("scenarios", width);
    for (id, inside) in parts {
        let whole = record.merge.part(Scope { scenario: Some(id), ..Scope::default() });
        let name = Cell::new(Tone::Strong, names::scenario(plan, id));
        table.push(part_row(name, &whole.series, record, width));
        if inside.len() > 1 {
            for (step, _, part) in inside {
                let name = format!("  {}", names::step(plan, id, step));
                table.push(part_row(name.into(), &part.series, record, width));
            }
        }
    }
    table.lines(width, paint)
}

/// Regions; nothing when there is one.
pub fn regions(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let parts = names::region_indices(record).map(|index| {
        let part = record.merge.part(Scope { region: Some(index), ..Scope::default() });
        (names::region(record, index), part)
    });
    named_parts("regions", parts.collect(), record, width, paint)
}

/// Targets; nothing when there is one.
pub fn targets(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let parts = names::target_ids(record).into_iter().map(|id| {
        let part = record.merge.part(Scope { target: Some(id), ..Scope::default() });
        (names::target(record.merge.plan(), id), part)
    });
    named_parts("targets", parts.collect(), record, width, paint)
}

fn named_parts(head: &str, parts: Vec<(&str, Part)>, record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    if parts.len() < 2 {
        return Vec::new();
    }
    let mut table = parts_table(head, width);
    for (name, part) in parts {
        table.push(part_row(name.into(), &part.series, record, width));
    }
    table.lines(width, paint)
}
