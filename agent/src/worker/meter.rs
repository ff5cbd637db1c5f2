//! What one worker counts and measures, handed over interval by interval.

use crate::clock::now_ns;
use rustix::time::{ClockId, clock_gettime};
use squall_common::generation::Generation;
use squall_common::interval::{FlowTable, Health, INTERVAL_NS, IntervalSnapshot, Recorder, SeriesKey, SkipReason};
use squall_common::ledger::Ledger;
use squall_common::plan::{ScenarioId, StepId, TargetId};
use squall_common::sample::{OutcomeClass, Sample};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// A stall of the worker's own event loop from which on an interval can't be trusted.
const STALL_LIMIT_US: u64 = 200_000;
/// CPU share of a worker that means it had no room left…
const CPU_LIMIT: f64 = 0.97;
/// …if its arrivals were also dispatched this late by the loop itself.
const LAG_AT_CPU_LIMIT_US: u64 = 20_000;

/// Takes finished intervals off the worker.
pub trait Sink {
    fn interval(&self, snapshot: IntervalSnapshot);
    /// One sample, for the debug log; called only when the plan asks for it.
    fn sample(&self, _sample: &Sample) {}
}

/// The place of a request in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub scenario: ScenarioId,
    pub step: StepId,
    pub target: TargetId,
}

/// Where an interval's end looks for what others know.
pub struct Looks {
    /// Connections open now, and opened so far.
    pub connections: Box<dyn Fn() -> (u64, u64)>,
    /// Why requests were held back since it was asked last, if they were.
    pub held_back: Box<dyn Fn() -> Option<String>>,
    /// CPU time of the worker that went into waiting, so far.
    pub polled_in_vain_ns: Box<dyn Fn() -> u64>,
}

/// One worker's counters. Every count is kept twice: in the interval's deltas,
/// and in totals that are reported apart from them.
pub struct Meter<S> {
    sink: S,
    log_samples: bool,
    start_ns: u64,
    boundary_ns: Cell<u64>,
    recorder: RefCell<Recorder>,
    totals: Cell<Ledger>,
    first_sent_ns: Cell<Option<u64>>,
    in_flight: Cell<u64>,
    users: Cell<u64>,
    worst_stall_us: Cell<u64>,
    cpu_ns: Cell<u64>,
    rolled_ns: Cell<u64>,
    looks: Looks,
    opened: Cell<u64>,
}

impl<S: Sink> Meter<S> {
    pub fn new(table: Arc<FlowTable>, start_ns: u64, sink: S, log_samples: bool, looks: Looks) -> Self {
        Self {
            sink,
            log_samples,
            start_ns,
            boundary_ns: Cell::new(start_ns + INTERVAL_NS),
            recorder: RefCell::new(Recorder::new(table)),
            totals: Cell::default(),
            first_sent_ns: Cell::new(None),
            in_flight: Cell::new(0),
            users: Cell::new(0),
            worst_stall_us: Cell::new(0),
            cpu_ns: Cell::new(thread_cpu_ns()),
            rolled_ns: Cell::new(start_ns),
            opened: Cell::new((looks.connections)().1),
            looks,
        }
    }

    pub fn sink(&self) -> &S {
        &self.sink
    }

    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    fn count(&self, at: At, change: impl Fn(&mut squall_common::interval::Flow), total: impl FnOnce(&mut Ledger)) {
        self.roll_until(now_ns());
        change(self.recorder.borrow_mut().flow(at.scenario, at.step, at.target));
        let mut totals = self.totals.get();
        total(&mut totals);
        self.totals.set(totals);
    }

    pub fn planned(&self, at: At, count: u64) {
        self.count(at, |flow| flow.planned += count, |totals| totals.planned += count);
    }

    pub fn skipped(&self, at: At, count: u64, reason: SkipReason) {
        self.count(at, |flow| flow.skipped[reason as usize] += count, |totals| totals.skipped += count);
    }

    /// An attempt is under way: it has a connection, or failed to get one.
    pub fn sent(&self, at: At) {
        self.count(at, |flow| flow.sent += 1, |totals| totals.sent += 1);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// An attempt was dropped before it ended.
    pub fn cut_off(&self, at: At) {
        self.count(at, |flow| flow.cut_off += 1, |totals| totals.cut_off += 1);
        self.in_flight.set(self.in_flight.get() - 1);
    }

    pub fn iteration_started(&self, at: At) {
        self.recorder.borrow_mut().flow(at.scenario, at.step, at.target).iterations_started += 1;
    }

    pub fn iteration_completed(&self, at: At) {
        self.recorder.borrow_mut().flow(at.scenario, at.step, at.target).iterations_completed += 1;
    }

    /// An attempt ended.
    pub fn record(&self, sample: &Sample) {
        self.roll_until(sample.done_ns);
        self.recorder.borrow_mut().record(sample);
        self.in_flight.set(self.in_flight.get() - 1);
        let mut totals = self.totals.get();
        if sample.outcome.is_completed() {
            totals.completed += 1
        } else {
            totals.failed += 1
        }
        self.totals.set(totals);
        if let Some(sent_ns) = sample.sent_ns
            && self.first_sent_ns.get().is_none_or(|first_ns| sent_ns < first_ns)
        {
            self.first_sent_ns.set(Some(sent_ns));
        }
        if self.log_samples {
            self.sink.sample(sample);
        }
    }

    /// What a model's answer adds to the request that [`Meter::record`] took.
    pub fn record_generation(&self, sample: &Sample, generation: &Generation<'_>) {
        self.recorder.borrow_mut().record_generation(sample, generation);
    }

    /// How late the event loop itself was with something it knew in advance.
    pub fn stall(&self, late_us: u64) {
        self.worst_stall_us.set(self.worst_stall_us.get().max(late_us));
    }

    pub fn user_began(&self) {
        self.users.set(self.users.get() + 1);
    }

    pub fn user_rested(&self) {
        self.users.set(self.users.get() - 1);
    }

    pub fn totals(&self) -> Ledger {
        self.totals.get()
    }

    pub fn first_sent_ns(&self) -> Option<u64> {
        self.first_sent_ns.get()
    }

    /// Ends every interval that `at_ns` lies beyond.
    #[inline]
    pub fn roll_until(&self, at_ns: u64) {
        if at_ns >= self.boundary_ns.get() {
            self.roll((at_ns - self.start_ns) / INTERVAL_NS);
        }
    }

    /// Ends the interval that runs, whole or not.
    pub fn finish(&self) {
        self.roll((self.boundary_ns.get() - self.start_ns) / INTERVAL_NS);
    }

    fn roll(&self, next: u64) {
        self.boundary_ns.set(self.start_ns + (next + 1) * INTERVAL_NS);
        let mut snapshot = self.recorder.borrow_mut().roll(next as u32);
        snapshot.last_interval = next as u32 - 1;
        self.take_health(&mut snapshot.health);
        let of_the_generator = |key: &SeriesKey| key.class == OutcomeClass::GeneratorLimited;
        if snapshot.series.keys().any(of_the_generator) {
            let why = "requests found no local port or file descriptor left on the generator";
            snapshot.health.generator_limited.get_or_insert(why.to_owned());
        }
        self.sink.interval(snapshot);
    }

    fn take_health(&self, health: &mut Health) {
        let now_ns = now_ns();
        // What was polled away was free for load.
        let cpu_ns = thread_cpu_ns().saturating_sub((self.looks.polled_in_vain_ns)());
        let (open, opened) = (self.looks.connections)();
        health.wall_us = now_ns.saturating_sub(self.rolled_ns.replace(now_ns)) / 1_000;
        health.worker_cpu_us = cpu_ns.saturating_sub(self.cpu_ns.replace(cpu_ns)) / 1_000;
        health.workers = 1;
        health.worst_stall_us = self.worst_stall_us.take();
        health.in_flight = self.in_flight.get();
        health.users = self.users.get();
        health.connections = open;
        health.connections_opened = opened - self.opened.replace(opened);
        // Asked in any case: it tells what is new since it was asked last.
        let held_back = (self.looks.held_back)();
        health.generator_limited = limit_reached(health).or(held_back);
    }
}

fn limit_reached(health: &Health) -> Option<String> {
    let cpu = health.worker_cpu_us as f64 / health.wall_us.max(1) as f64;
    let stall_ms = health.worst_stall_us / 1_000;
    if health.worst_stall_us >= STALL_LIMIT_US {
        Some(format!("a worker's event loop stood still for {stall_ms} ms"))
    } else if cpu >= CPU_LIMIT && health.worst_stall_us >= LAG_AT_CPU_LIMIT_US {
        Some(format!("a worker used {:.0} % of its core and fell {stall_ms} ms behind", cpu * 100.0))
    } else {
        None
    }
}

/// CPU time of the calling thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
