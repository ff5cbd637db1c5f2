//! What was measured, as one table of 80 columns.

use crate::measure::{Cost, Lateness, MANY_CONNECTIONS, Memory, RATE, Soak, median};
use crate::snapshot::Size;
use crate::streams::{STREAMS, Streams};
use serde::Serialize;
use std::fmt::Write;

/// All that one run of the benchmark found out; what was not measured is missing.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    pub machine: String,
    pub server: String,
    pub rounds: u32,
    pub seconds: u64,
    pub costs: Vec<Cost>,
    pub lateness: Vec<Lateness>,
    pub memory: Option<Memory>,
    pub soak: Option<Soak>,
    pub snapshot: Option<Size>,
    pub start_s: Vec<f64>,
    pub streams: Option<Streams>,
    pub figures: Vec<Figure>,
    pub missing: Vec<String>,
    pub notes: Vec<String>,
}

/// One number that has a limit.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub what: String,
    pub measured: Option<f64>,
    pub limit: f64,
    pub unit: &'static str,
    /// The limit itself is already too much.
    pub is_strict: bool,
}

impl Figure {
    fn new(what: impl Into<String>, measured: Option<f64>, limit: f64, unit: &'static str) -> Self {
        Self { what: what.into(), measured, limit, unit, is_strict: false }
    }

    pub fn is_met(&self) -> Option<bool> {
        self.measured.map(|measured| if self.is_strict { measured < self.limit } else { measured <= self.limit })
    }

    fn line(&self) -> String {
        let number = |value: f64| {
            let text = if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
            format!("{text} {}", self.unit)
        };
        let measured = self.measured.map_or("not measured".to_owned(), number);
        let limit = format!("{} {}", if self.is_strict { "<" } else { "≤" }, number(self.limit));
        let mark = match self.is_met() {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "-",
        };
        format!("  {:<43}{measured:>14}{limit:>15}  {mark}\n", self.what)
    }
}

impl Results {
    fn cost(&self, client: &str) -> Option<f64> {
        median(&self.costs.iter().find(|cost| cost.client == client)?.cpu_us_per_request)
    }

    fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        Some(self.cost(of)? / self.cost(to)?)
    }

    fn chunk_ratio(&self) -> Option<f64> {
        let streams = self.streams.as_ref()?;
        Some(median(&streams.squall_us_per_chunk)? / median(&streams.python_us_per_chunk)?)
    }

    /// Holds what was measured against the limits.
    pub fn judge(&mut self) {
        let lag = self.lateness.iter().find(|row| row.what == "dispatch lag");
        let p99_ms = lag.and_then(|row| median(&row.rounds.iter().map(|one| one.p99_us / 1e3).collect::<Vec<_>>()));
        let of_oha = Figure {
            is_strict: true,
            ..Figure::new("CPU per request, of oha's", self.ratio("squall", "oha"), 0.7, "×")
        };
        self.figures = vec![
            Figure::new("CPU per request, of wrk's", self.ratio("squall", "wrk"), 1.25, "×"),
            of_oha,
            Figure::new(format!("dispatch lag at {RATE}/s, p99"), p99_ms, 0.2, "ms"),
            Figure::new(
                format!("memory per connection at {MANY_CONNECTIONS}"),
                self.memory.as_ref().map(Memory::kib_each_absolute),
                24.0,
                "KiB",
            ),
            Figure::new(
                format!("snapshot of one series, {RATE} samples"),
                self.snapshot.as_ref().map(|size| size.bytes as f64 / 1024.0),
                4.0,
                "KiB",
            ),
            Figure::new("CPU per streamed chunk, of Python's", self.chunk_ratio(), 0.1, "×"),
            Figure::new("memory per open stream", self.streams.as_ref().and_then(Streams::kib_each), 32.0, "KiB"),
            Figure::new("command to first request", self.start_s.iter().copied().reduce(f64::max), 1.5, "s"),
        ];
    }

    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes any text");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.machine)?;
        writeln!(out, "{}; medians of {} alternating rounds of {} s", self.server, self.rounds, self.seconds)?;
        self.write_costs(out)?;
        self.write_lateness(out)?;
        self.write_rest(out)?;
        writeln!(out, "\nLimits{:>53}{:>15}", "measured", "limit")?;
        self.figures.iter().try_for_each(|figure| out.write_str(&figure.line()))?;
        let missed = self.figures.iter().filter(|figure| figure.is_met() == Some(false)).count();
        let unknown = self.figures.iter().filter(|figure| figure.measured.is_none()).count();
        match (missed, unknown) {
            (0, 0) => writeln!(out, "\nEvery limit is kept.")?,
            (0, _) => writeln!(out, "\nNo limit is missed; {unknown} could not be measured.")?,
            _ => writeln!(out, "\n{missed} of {} limits MISSED.", self.figures.len())?,
        }
        for missing in &self.missing {
            writeln!(out, "not here: {missing}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
    }

    fn write_costs(&self, out: &mut String) -> std::fmt::Result {
        if self.costs.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nClosed loop, 64 connections CPU µs/request   requests/s   × wrk   × oha peak MiB")?;
        for cost in &self.costs {
            let name = format!("{} {}", cost.client, cost.version);
            let cpu = median(&cost.cpu_us_per_request).unwrap_or(0.0);
            let rate = median(&cost.requests_per_s).unwrap_or(0.0);
            let times =
                |peer: &str| self.ratio(cost.client, peer).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let (wrk, oha, mib) = (times("wrk"), times("oha"), cost.peak_resident_kib as f64 / 1024.0);
            writeln!(out, "  {name:<26}{cpu:>14.1}{rate:>13.0}{wrk:>8}{oha:>8}{mib:>9.0}")?;
        }
        Ok(())
    }

    fn write_lateness(&self, out: &mut String) -> std::fmt::Result {
        if self.lateness.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nOpen model, {RATE}/s due, in ms           p50       p99     p99.9       sent/s")?;
        for row in &self.lateness {
            let name = format!("{} {}", row.client, row.what);
            let ms = |of: fn(&crate::clients::Reported) -> f64| {
                median(&row.rounds.iter().map(|one| of(one) / 1e3).collect::<Vec<_>>()).unwrap_or(0.0)
            };
            let (p50, p99, p999) = (ms(|one| one.p50_us), ms(|one| one.p99_us), ms(|one| one.p999_us));
            let rate = median(&row.requests_per_s).unwrap_or(0.0);
            writeln!(out, "  {name:<31}{p50:>9.3}{p99:>10.3}{p999:>10.3}{rate:>13.0}")?;
        }
        Ok(())
    }

    fn write_rest(&self, out: &mut String) -> std::fmt::Result {
        out.push('\n');
        if let Some(memory) = &self.memory {
            writeln!(
                out,
                "Memory: {} MiB at one connection, {} MiB at {}: {:.1} KiB each more",
                memory.kib_at_one / 1024,
                memory.kib_at_many / 1024,
                memory.connections,
                memory.kib_each()
            )?;
        }
        if let Some(soak) = &self.soak {
            let (early, late) = (soak.kib_at_10_s as f64 / 1024.0, soak.kib_at_60_s as f64 / 1024.0);
            writeln!(out, "Memory at a constant {RATE}/s: {early:.1} MiB at 10 s, {late:.1} MiB at 60 s")?;
        }
        if let Some(size) = &self.snapshot {
            let Size { bytes, largest_bytes, v2_bytes, histograms, .. } = size;
            writeln!(out, "Snapshot: {bytes} bytes ({largest_bytes} the largest) with {histograms} histograms;")?;
            writeln!(out, "  as HdrHistogram V2 these alone are {v2_bytes} bytes")?;
        }
        if let Some(streams) = &self.streams {
            let us = |costs: &[f64]| median(costs).map_or("not measured".to_owned(), |us| format!("{us:.1} µs"));
            let (ours, theirs) = (us(&streams.squall_us_per_chunk), us(&streams.python_us_per_chunk));
            writeln!(out, "CPU per streamed chunk, {STREAMS} streams:")?;
            writeln!(out, "  squall {ours}, httpx in Python {theirs}")?;
        }
        if !self.start_s.is_empty() {
            let all: Vec<String> = self.start_s.iter().map(|seconds| format!("{seconds:.2}")).collect();
            writeln!(out, "First request after {} s", all.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let cost = |client, cpu| Cost {
            client,
            version: "1.16.0".into(),
            cpu_us_per_request: vec![cpu],
            requests_per_s: vec![123_456.0],
            peak_resident_kib: 123_456,
        };
        let mut results = Results {
            costs: vec![cost("squall", 12.0), cost("wrk", 11.0), cost("oha", 20.0)],
            lateness: vec![],
            streams: None,
            start_s: vec![1.0, 1.2, 1.6],
            ..Results::default()
        };
        results.judge();
        let text = results.render();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(text.contains("1.09 ×") && text.contains("0.60 ×") && text.contains("1.60 s"), "{text}");
        assert!(text.contains("1 of 8 limits MISSED"), "{text}");
    }

    #[test]
    fn a_strict_limit_is_missed_when_it_is_met_exactly() {
        let figure = Figure { is_strict: true, ..Figure::new("x", Some(0.7), 0.7, "×") };
        assert_eq!(figure.is_met(), Some(false));
        assert_eq!(Figure { is_strict: false, ..figure }.is_met(), Some(true));
    }
}
