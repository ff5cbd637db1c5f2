//! What the service itself saw: exact counts and latencies, to check a client against.
//!
//! Each region has one [`Ledger`]. A request is entered when its head was
//! received and leaves exactly once: completed (its last byte was handed to
//! the socket), aborted by the client, or cut by a fault. What is neither is
//! in flight.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use squall_common::histogram::Latencies;

use crate::identity::IdentityTruth;
use crate::llm::DeploymentTruth;
use crate::routes::PathClass;

/// What every region saw since the start or the last reset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// By region name.
    pub regions: BTreeMap<String, RegionTruth>,
    /// What the tenant did, if there is one.
    pub identity: Option<IdentityTruth>,
}

/// What one region saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionTruth {
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Bytes read from sockets, heads included.
    pub wire_bytes_in: u64,
    /// Bytes written to sockets, heads included.
    pub wire_bytes_out: u64,
    /// All paths together.
    pub total: PathTruth,
    /// By path class, e.g. `/fixed`; those never asked for are absent.
    pub paths: BTreeMap<String, PathTruth>,
    /// By deployment; all that are configured.
    pub deployments: BTreeMap<String, DeploymentTruth>,
}

/// `started = completed + aborted_by_client + cut_by_fault + in_flight`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathTruth {
    /// Request heads received.
    pub started: u64,
    /// Answers whose last byte was handed to the socket.
    pub completed: u64,
    /// Requests whose client went away before that.
    pub aborted_by_client: u64,
    /// Requests whose connection a fault (or stopping) closed before that.
    pub cut_by_fault: u64,
    /// Requests not yet any of these.
    pub in_flight: u64,
    /// Completed answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Body bytes of completed answers, as sent.
    pub body_bytes_out: u64,
    /// Completed answers, head received → last byte handed to the socket.
    pub latency: LatencyTruth,
}

/// A latency distribution; the histogram has the one shape of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyTruth {
    /// Values recorded.
    pub count: u64,
    /// Exact mean.
    pub mean_us: f64,
    /// Smallest.
    pub min_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Largest.
    pub max_us: u64,
    /// Values above one hour, which are in no bucket.
    pub overflow: u64,
    /// The buckets: `HdrHistogram` V2, deflated, in base64; empty when nothing was recorded.
    pub hdr_v2_deflate_base64: String,
}

/// The counters of one region.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counts: Mutex<Counts>,
    open: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    /// A request entered before a reset must not leave after it.
    generation: u64,
    accepted: u64,
    paths: BTreeMap<PathClass, PathCounts>,
}

#[derive(Debug, Default)]
struct PathCounts {
    started: u64,
    completed: u64,
    aborted_by_client: u64,
    cut_by_fault: u64,
    status: BTreeMap<u16, u64>,
    body_bytes_out: u64,
    latency: Latencies,
}

/// Where a request was entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    path: PathClass,
    generation: u64,
}

/// How a request leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaving {
    Completed { status: u16, body_bytes: u64, latency_us: u64 },
    AbortedByClient,
    CutByFault,
}

impl Ledger {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connection_opened(&self) {
        self.counts().accepted += 1;
        self.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    pub(crate) fn bytes_read(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn bytes_written(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn enter(&self, path: PathClass) -> Entry {
        let mut counts = self.counts();
        counts.paths.entry(path).or_default().started += 1;
        Entry { path, generation: counts.generation }
    }

    pub(crate) fn leave(&self, entry: Entry, leaving: Leaving) {
        let mut counts = self.counts();
        if entry.generation != counts.generation {
            return;
        }
        let path = counts.paths.entry(entry.path).or_default();
        match leaving {
            Leaving::Completed { status, body_bytes, latency_us } => {
                path.completed += 1;
                *path.status.entry(status).or_default() += 1;
                path.body_bytes_out += body_bytes;
                path.latency.record_us(latency_us);
            }
            Leaving::AbortedByClient => path.aborted_by_client += 1,
            Leaving::CutByFault => path.cut_by_fault += 1,
        }
    }

    /// Zeroes everything but the connections open now; requests in flight are forgotten.
    pub(crate) fn reset(&self) {
        let mut counts = self.counts();
        *counts = Counts { generation: counts.generation + 1, ..Counts::default() };
        self.bytes_in.store(0, Relaxed);
        self.bytes_out.store(0, Relaxed);
    }

    /// Deployments keep books of their own.
    pub(crate) fn truth(&self) -> RegionTruth {
        let counts = self.counts();
        let mut total = PathCounts::default();
        for path in counts.paths.values() {
            total.add(path);
        }
        RegionTruth {
            connections_accepted: counts.accepted,
            connections_open: self.open.load(Relaxed),
            wire_bytes_in: self.bytes_in.load(Relaxed),
            wire_bytes_out: self.bytes_out.load(Relaxed),
            total: total.truth(),
            paths: counts.paths.iter().map(|(class, path)| (class.name().to_owned(), path.truth())).collect(),
            deployments: BTreeMap::new(),
        }
    }
}

impl PathCounts {
    fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.completed += other.completed;
        self.aborted_by_client += other.aborted_by_client;
        self.cut_by_fault += other.cut_by_fault;
        self.body_bytes_out += other.body_bytes_out;
        for (status, count) in &other.status {
            *self.status.entry(*status).or_default() += count;
        }
        self.latency.add(&other.latency);
    }

    fn truth(&self) -> PathTruth {
        PathTruth {
            started: self.started,
            completed: self.completed,
            aborted_by_client: self.aborted_by_client,
            cut_by_fault: self.cut_by_fault,
            in_flight: self.started - self.completed - self.aborted_by_client - self.cut_by_fault,
            status: self.status.clone(),
            body_bytes_out: self.body_bytes_out,
            latency: LatencyTruth::of(&self.latency),
        }
    }
}

impl Truth {
    /// What a deployment of a region served, if there is one of this name.
    pub fn deployment(&self, region: &str, name: &str) -> Option<&DeploymentTruth> {
        self.regions.get(region)?.deployments.get(name)
    }
}

impl LatencyTruth {
    /// The whole distribution, for any percentile; none when the text is no histogram of the cluster's shape.
    pub fn latencies(&self) -> Option<Latencies> {
        if self.count == 0 {
            return Some(Latencies::new());
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(&self.hdr_v2_deflate_base64).ok()?;
        let read = hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
        let sum_us = (self.mean_us * self.count as f64).round() as u128;
        Latencies::from_parts(read, self.overflow, sum_us).ok()
    }

    pub(crate) fn of(latencies: &Latencies) -> Self {
        Self {
            count: latencies.count(),
            mean_us: latencies.mean_us(),
            min_us: latencies.min_us(),
            p50_us: latencies.percentile_us(50.0),
            p90_us: latencies.percentile_us(90.0),
            p95_us: latencies.percentile_us(95.0),
            p99_us: latencies.percentile_us(99.0),
            p999_us: latencies.percentile_us(99.9),
            max_us: latencies.max_us(),
            overflow: latencies.overflow(),
            hdr_v2_deflate_base64: encoded(latencies),
        }
    }
}

fn encoded(latencies: &Latencies) -> String {
    let mut bytes = Vec::new();
    if !latencies.is_empty()
        && let Err(cause) = V2DeflateSerializer::new().serialize(latencies.histogram(), &mut bytes)
    {
        tracing::error!(%cause, "a histogram can't be written");
        bytes.clear();
    }
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Leaving = Leaving::Completed { status: 200, body_bytes: 3, latency_us: 1_000 };

    #[test]
    fn what_started_is_completed_aborted_cut_or_in_flight() {
        let ledger = Ledger::default();
        let entries: Vec<Entry> = (0..5).map(|_| ledger.enter(PathClass::Fixed)).collect();
        ledger.leave(entries[0], OK);
        ledger.leave(entries[1], Leaving::AbortedByClient);
        ledger.leave(entries[2], Leaving::CutByFault);
        let path = ledger.truth().paths["/fixed"].clone();
        assert_eq!((path.started, path.completed, path.aborted_by_client, path.cut_by_fault), (5, 1, 1, 1));
        assert_eq!((path.in_flight, path.status[&200], path.body_bytes_out), (2, 1, 3));
        assert_eq!(path, ledger.truth().total);
    }

    #[test]
    fn a_request_from_before_a_reset_does_not_leave_after_it() {
        let ledger = Ledger::default();
        let entry = ledger.enter(PathClass::Root);
        ledger.reset();
        ledger.leave(entry, OK);
        assert_eq!(ledger.truth().total, PathTruth { latency: LatencyTruth::default(), ..PathTruth::default() });
    }

    #[test]
    fn the_histogram_reads_back_as_it_was() {
        let ledger = Ledger::default();
        ledger.leave(ledger.enter(PathClass::Root), OK);
        let read = ledger.truth().total.latency.latencies().unwrap();
        assert_eq!((read.count(), read.percentile_us(50.0), read.mean_us()), (1, 1_000, 1e3));
    }
}
