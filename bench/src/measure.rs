//! The measurements. Rounds of different clients alternate, so that whatever
//! else the machine does falls on all of them.

use crate::clients::{Client, Kind, Reported, squall_latency};
use crate::floor;
use crate::nginx::Nginx;
use crate::process::{Ran, run_on};
use crate::snapshot::{self, Size};
use crate::start;
use serde::Serialize;
use std::io;
use std::time::Duration;

pub const CONNECTIONS: u32 = 64;
pub const MANY_CONNECTIONS: u32 = 5_000;
pub const RATE: u64 = 10_000;

/// Everything around one measurement.
pub struct Bench {
    pub nginx: Nginx,
    pub squall: Client,
    pub peers: Vec<Client>,
    pub client_core: usize,
    pub rounds: u32,
    pub seconds: u64,
    pub notes: Vec<String>,
}

/// Client CPU of one client, round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub client: &'static str,
    pub version: String,
    pub cpu_us_per_request: Vec<f64>,
    pub requests_per_s: Vec<f64>,
    pub peak_resident_kib: u64,
}

/// Latencies of one client at a constant rate, round by round.
#[derive(Clone, Debug, Serialize)]
pub struct Lateness {
    pub client: &'static str,
    pub version: String,
    pub what: &'static str,
    pub rounds: Vec<Reported>,
    pub requests_per_s: Vec<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    pub connections: u64,
    pub kib_at_one: u64,
    pub kib_at_many: u64,
}

impl Memory {
    pub fn kib_each(&self) -> f64 {
        self.kib_at_many.saturating_sub(self.kib_at_one) as f64 / self.connections.max(1) as f64
    }

    pub fn kib_each_absolute(&self) -> f64 {
        self.kib_at_many as f64 / self.connections.max(1) as f64
    }
}

/// Resident memory at two instants of one run at constant load.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    pub kib_at_10_s: u64,
    pub kib_at_60_s: u64,
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().checked_sub(1)? / 2;
    Some(if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle] + sorted[middle + 1]) / 2.0 })
}

impl Bench {
    fn clients(&self) -> Vec<Client> {
        std::iter::once(&self.squall).chain(&self.peers).cloned().collect()
    }

    fn note(&mut self, client: &Client, ran: &Ran) -> bool {
        let complaint = ran.complaint();
        if let Some(complaint) = &complaint {
            self.notes.push(format!("{}: {complaint}", client.kind.name()));
        }
        complaint.is_none()
    }

    /// CPU per request of every client, all connections busy.
    pub fn closed(&mut self) -> io::Result<Vec<Cost>> {
        let clients = self.clients();
        let mut costs: Vec<Cost> = clients
            .iter()
            .map(|client| Cost {
                client: client.kind.name(),
                version: client.version.clone(),
                cpu_us_per_request: Vec::new(),
                requests_per_s: Vec::new(),
                peak_resident_kib: 0,
            })
            .collect();
        for _ in 0..self.rounds {
            for (client, cost) in clients.iter().zip(&mut costs) {
                let Some(mut command) = client.closed(&self.nginx.url(), CONNECTIONS, self.seconds) else { continue };
                let before = self.nginx.status()?;
                let ran = run_on(self.client_core, &mut command, Duration::from_secs(self.seconds), |_| {})?;
                let requests = self.nginx.requests_since(before)?;
                if self.note(client, &ran) && requests > 0 {
                    cost.cpu_us_per_request.push(ran.cpu.as_secs_f64() * 1e6 / requests as f64);
                    cost.requests_per_s.push(requests as f64 / self.seconds as f64);
                    let peak = ran.peak_kib(Duration::ZERO, Duration::MAX).unwrap_or(0);
                    cost.peak_resident_kib = cost.peak_resident_kib.max(peak);
                }
            }
        }
        costs.retain(|cost| !cost.cpu_us_per_request.is_empty());
        Ok(costs)
    }

    /// How late requests leave, and how long answers take from when they were due.
    pub fn open(&mut self) -> io::Result<Vec<Lateness>> {
        let clients = self.clients();
        let mut rows: Vec<Lateness> = Vec::new();
        for _ in 0..self.rounds {
            self.floor(&mut rows)?;
            for client in &clients {
                let Some(mut command) = client.open(&self.nginx.url(), RATE, CONNECTIONS, self.seconds) else {
                    continue;
                };
                let before = self.nginx.status()?;
                let ran = run_on(self.client_core, &mut command, Duration::from_secs(self.seconds), |_| {})?;
                let per_s = self.nginx.requests_since(before)? as f64 / self.seconds as f64;
                // A generator that says it was too late still has figures to show.
                self.note(client, &ran);
                if client.kind == Kind::Squall {
                    push(
                        &mut rows,
                        client.kind.name(),
                        &client.version,
                        "dispatch lag",
                        squall_latency(&ran.stdout, "dispatch_lag"),
                        per_s,
                    );
                }
                push(
                    &mut rows,
                    client.kind.name(),
                    &client.version,
                    "response time",
                    client.response_time(&ran.stdout),
                    per_s,
                );
            }
        }
        Ok(rows)
    }

    /// What a loop without a generator around it reads at the same rate in the same round.
    fn floor(&mut self, rows: &mut Vec<Lateness>) -> io::Result<()> {
        let before = self.nginx.status()?;
        let late = floor::lateness(self.client_core, self.nginx.port(), RATE, CONNECTIONS, self.seconds);
        let per_s = self.nginx.requests_since(before)? as f64 / self.seconds as f64;
        match late {
            Ok(late) => push(rows, "bare loop", "", "lateness", Some(late), per_s),
            Err(error) => self.notes.push(format!("bare loop: {error}")),
        }
        Ok(())
    }

    /// Resident memory with many open connections, and with one.
    pub fn memory(&mut self) -> io::Result<Option<Memory>> {
        let (ramp, end) = (5, 12);
        let load = format!("--users {MANY_CONNECTIONS} --ramp-up {ramp}s --for {end}s");
        let (kib_at_many, connections) = self.resident(&load, Duration::from_secs(ramp + end))?;
        let (kib_at_one, _) = self.resident(&format!("--users 1 --for {end}s"), Duration::from_secs(end))?;
        Ok(kib_at_one.zip(kib_at_many).map(|(kib_at_one, kib_at_many)| Memory { connections, kib_at_one, kib_at_many }))
    }

    /// The largest resident memory near the end of a run's load, and the connections then.
    fn resident(&mut self, load: &str, expected: Duration) -> io::Result<(Option<u64>, u64)> {
        let out = tempfile::tempdir()?;
        let mut command = self.squall.saved(&self.nginx.url(), load, out.path());
        let mut connections = 0;
        let nginx = &self.nginx;
        let ran = run_on(self.client_core, &mut command, expected, |_| {
            // Not the one that asks. A server too busy to say so is asked again.
            connections = connections.max(nginx.status().map_or(0, |status| status.connections.saturating_sub(1)));
        })?;
        let squall = self.squall.clone();
        self.note(&squall, &ran);
        Ok((ran.peak_kib(Duration::ZERO, expected), connections))
    }

    /// Resident memory at constant load, early and late.
    pub fn soak(&mut self) -> io::Result<Option<Soak>> {
        let out = tempfile::tempdir()?;
        let load = format!("--rate {RATE}/s --max-in-flight {CONNECTIONS} --for 62s");
        let mut command = self.squall.saved(&self.nginx.url(), &load, out.path());
        let ran = run_on(self.client_core, &mut command, Duration::from_secs(62), |_| {})?;
        let squall = self.squall.clone();
        self.note(&squall, &ran);
        let around = |second| ran.peak_kib(Duration::from_secs(second), Duration::from_secs(second + 2));
        Ok(around(10).zip(around(60)).map(|(kib_at_10_s, kib_at_60_s)| Soak { kib_at_10_s, kib_at_60_s }))
    }

    /// The size of one interval's snapshot with ten thousand samples in one series.
    pub fn snapshot(&mut self) -> io::Result<Option<Size>> {
        let out = tempfile::tempdir()?;
        let load = format!("--rate {RATE}/s --max-in-flight {CONNECTIONS} --for {}s", self.seconds);
        let mut command = self.squall.saved(&self.nginx.url(), &load, out.path());
        let ran = run_on(self.client_core, &mut command, Duration::from_secs(self.seconds), |_| {})?;
        let squall = self.squall.clone();
        self.note(&squall, &ran);
        let size = match std::fs::read(out.path().join("intervals.hlog")) {
            Ok(hlog) => snapshot::sizes(&hlog, RATE).map_err(|error| error.to_string()),
            Err(error) => Err(format!("no intervals.hlog: {error}")),
        };
        Ok(size.map_err(|complaint| self.notes.push(format!("snapshot: {complaint}"))).ok())
    }

    /// Seconds from the command to its first request.
    pub fn start(&mut self) -> io::Result<Vec<f64>> {
        let squall = self.squall.clone();
        let mut starts = Vec::new();
        for _ in 0..self.rounds {
            let (first, ran) = start::first_request(&squall, self.client_core)?;
            if self.note(&squall, &ran) {
                starts.extend(first.map(|first| first.as_secs_f64()));
            }
        }
        Ok(starts)
    }
}

fn push(
    rows: &mut Vec<Lateness>,
    client: &'static str,
    version: &str,
    what: &'static str,
    reported: Option<Reported>,
    per_s: f64,
) {
    let Some(reported) = reported else { return };
    let place = match rows.iter().position(|row| row.client == client && row.what == what) {
        Some(place) => place,
        None => {
            let version = version.to_owned();
            rows.push(Lateness { client, version, what, rounds: Vec::new(), requests_per_s: Vec::new() });
            rows.len() - 1
        }
    };
    rows[place].rounds.push(reported);
    rows[place].requests_per_s.push(per_s);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn memory_is_counted_per_connection_above_a_run_with_one() {
        let memory = Memory { connections: 5_000, kib_at_one: 20_000, kib_at_many: 70_000 };
        assert_eq!(memory.kib_each(), 10.0);
        assert_eq!(memory.kib_each_absolute(), 14.0);
    }
}
