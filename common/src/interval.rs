//! Samples → the snapshot of one interval.
//!
//! What was meant and tried ([`Flow`]) is counted apart from what came of it
//! ([`Series`]): the ledger holds one against the other.

use crate::generation::{Generation, Tokens};
use crate::histogram::Latencies;
use crate::plan::{Metric, Plan, ScenarioId, StepId, TargetId};
use crate::sample::{Outcome, OutcomeClass, Sample};
use std::collections::BTreeMap;

/// The length of an interval.
pub const INTERVAL_NS: u64 = 1_000_000_000;
/// Scenario × request × target combinations kept apart; the rest folds into [`FlowKey::OTHER`].
pub const MAX_FLOWS: usize = 1_000;

/// Scenario × request × target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    pub scenario: ScenarioId,
    pub step: StepId,
    pub target: TargetId,
}

impl FlowKey {
    /// Where everything beyond [`MAX_FLOWS`] is counted.
    pub const OTHER: Self = Self { scenario: ScenarioId(u16::MAX), step: StepId(u16::MAX), target: TargetId(u16::MAX) };
}

/// A flow and how its requests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    pub flow: FlowKey,
    pub class: OutcomeClass,
}

/// Why a planned request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// `max_in_flight` was reached and the plan says skip.
    MaxInFlight,
    /// An earlier step of its iteration failed.
    EarlierStep,
    /// A `unique` feeder had no row left.
    FeederExhausted,
    /// Load ended (schedule, stop, lease) before its turn.
    Ended,
}

impl SkipReason {
    pub const ALL: [Self; 4] = [Self::MaxInFlight, Self::EarlierStep, Self::FeederExhausted, Self::Ended];

    pub fn name(self) -> &'static str {
        match self {
            Self::MaxInFlight => "max_in_flight",
            Self::EarlierStep => "earlier_step_failed",
            Self::FeederExhausted => "feeder_exhausted",
            Self::Ended => "load_ended",
        }
    }
}

/// What was meant and tried in one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub planned: u64,
    pub sent: u64,
    /// By [`SkipReason`].
    pub skipped: [u64; SkipReason::ALL.len()],
    pub cut_off: u64,
    pub iterations_started: u64,
    pub iterations_completed: u64,
}

impl Flow {
    pub fn skipped_total(&self) -> u64 {
        self.skipped.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn add(&mut self, other: &Self) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.skipped.iter_mut().zip(other.skipped).for_each(|(own, theirs)| *own += theirs);
        self.cut_off += other.cut_off;
        self.iterations_started += other.iterations_started;
        self.iterations_completed += other.iterations_completed;
    }
}

/// What came of the requests of one flow that ended in one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// By [`Outcome::code`].
    pub outcomes: [u64; Outcome::ALL.len()],
    pub statuses: BTreeMap<u16, u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub body_bytes: u64,
    pub decoded_body_bytes: u64,
    pub tokens: Tokens,
    /// By [`Metric::index`]; made when the first value comes.
    latencies: [Option<Box<Latencies>>; Metric::COUNT],
}

impl Default for Series {
    fn default() -> Self {
        Self {
            outcomes: [0; Outcome::ALL.len()],
            statuses: BTreeMap::new(),
            bytes_sent: 0,
            bytes_received: 0,
            body_bytes: 0,
            decoded_body_bytes: 0,
            tokens: Tokens::default(),
            latencies: std::array::from_fn(|_| None),
        }
    }
}

impl Series {
    pub fn count(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    pub fn latencies(&self, metric: Metric) -> Option<&Latencies> {
        self.latencies[metric.index()].as_deref()
    }

    pub fn latencies_mut(&mut self, metric: Metric) -> &mut Latencies {
        self.latencies[metric.index()].get_or_insert_default()
    }

    /// Every metric that has values.
    pub fn metrics(&self) -> impl Iterator<Item = (Metric, &Latencies)> {
        Metric::ALL.into_iter().filter_map(|metric| Some((metric, self.latencies(metric)?)))
    }

    pub fn record(&mut self, sample: &Sample) {
        self.outcomes[sample.outcome as usize] += 1;
        if let Some(status) = sample.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        self.bytes_sent += sample.bytes_sent;
        self.bytes_received += sample.bytes_received;
        self.body_bytes += sample.body_bytes;
        self.decoded_body_bytes += sample.decoded_body_bytes;
        let phases = &sample.phases;
        for (metric, value_us) in [
            (Metric::ResponseTime, Some(sample.response_time_us())),
            (Metric::ServiceTime, sample.service_time_us()),
            (Metric::DispatchLag, sample.dispatch_lag_us()),
            (Metric::Dns, phases.dns_us),
            (Metric::Connect, phases.connect_us),
            (Metric::Tls, phases.tls_us),
            (Metric::Write, phases.write_us),
            (Metric::Wait, phases.wait_us),
            (Metric::Receive, phases.receive_us),
            (Metric::Rtt, phases.rtt_us),
            (Metric::Server, phases.server_us),
        ] {
            if let Some(value_us) = value_us {
                self.latencies_mut(metric).record_us(value_us);
            }
        }
    }

    /// What a model's answer adds to the request that [`Series::record`] took.
    pub fn record_generation(&mut self, sample: &Sample, generation: &Generation<'_>) {
        self.tokens.add(&generation.tokens);
        for (metric, value_us) in generation.metrics(sample) {
            if let Some(value_us) = value_us {
                self.latencies_mut(metric).record_us(value_us);
            }
        }
        if !generation.gaps_us.is_empty() {
            let gaps = self.latencies_mut(Metric::InterToken);
            generation.gaps_us.iter().for_each(|&gap_us| gaps.record_us(gap_us.into()));
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.tokens.add(&other.tokens);
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(own, theirs)| *own += theirs);
        for (&status, &count) in &other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.body_bytes += other.body_bytes;
        self.decoded_body_bytes += other.decoded_body_bytes;
        for (metric, latencies) in other.metrics() {
            self.latencies_mut(metric).add(latencies);
        }
    }
}

/// How the generator itself fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub wall_us: u64,
    pub worker_cpu_us: u64,
    pub cgroup_throttled_us: u64,
    pub workers: u32,
    pub worst_stall_us: u64,
    /// Gauges at the end.
    pub in_flight: u64,
    pub users: u64,
    pub connections: u64,
    pub connections_opened: u64,
    pub series_folded: u64,
    pub resident_bytes: u64,
    /// Access tokens fetched, failures to, and the time that took.
    pub tokens_fetched: u64,
    pub tokens_failed: u64,
    pub token_fetch_us: u64,
    /// Why the generator could not keep up, if it could not.
    pub generator_limited: Option<String>,
}

impl Health {
    /// Joins the health of another part of the same agent over the same time.
    pub fn join(&mut self, other: &Self) {
        self.wall_us = self.wall_us.max(other.wall_us);
        self.worker_cpu_us += other.worker_cpu_us;
        self.cgroup_throttled_us += other.cgroup_throttled_us;
        self.workers += other.workers;
        self.worst_stall_us = self.worst_stall_us.max(other.worst_stall_us);
        self.in_flight += other.in_flight;
        self.users += other.users;
        self.connections += other.connections;
        self.connections_opened += other.connections_opened;
        self.series_folded = self.series_folded.max(other.series_folded);
        self.resident_bytes = self.resident_bytes.max(other.resident_bytes);
        self.tokens_fetched += other.tokens_fetched;
        self.tokens_failed += other.tokens_failed;
        self.token_fetch_us += other.token_fetch_us;
        if self.generator_limited.is_none() {
            self.generator_limited.clone_from(&other.generator_limited);
        }
    }

    /// Joins a later stretch of time of the same agent.
    pub fn follow(&mut self, later: &Self) {
        let wall_us = self.wall_us + later.wall_us;
        let workers = self.workers.max(later.workers);
        let gauges = (later.in_flight, later.users, later.connections);
        self.join(later);
        self.wall_us = wall_us;
        self.workers = workers;
        (self.in_flight, self.users, self.connections) = gauges;
    }
}

/// One part's deltas of one interval, or of several adjacent ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalSnapshot {
    pub first_interval: u32,
    pub last_interval: u32,
    pub flows: BTreeMap<FlowKey, Flow>,
    pub series: BTreeMap<SeriesKey, Series>,
    pub health: Health,
}

impl IntervalSnapshot {
    pub fn of(interval: u32) -> Self {
        Self { first_interval: interval, last_interval: interval, ..Self::default() }
    }

    fn add_counts(&mut self, other: &Self) {
        self.first_interval = self.first_interval.min(other.first_interval);
        self.last_interval = self.last_interval.max(other.last_interval);
        for (key, flow) in &other.flows {
            self.flows.entry(*key).or_default().add(flow);
        }
        for (key, series) in &other.series {
            self.series.entry(*key).or_default().add(series);
        }
    }

    /// Joins what another worker of the same agent did in the same interval.
    pub fn join_worker(&mut self, other: &Self) {
        self.add_counts(other);
        self.health.join(&other.health);
    }

    /// Joins the next interval of the same agent: loses time resolution, never counts.
    pub fn join_later(&mut self, later: &Self) {
        self.add_counts(later);
        self.health.follow(&later.health);
    }
}

/// Where a plan's flows stand in the recorder: one dense place each.
#[derive(Clone, Debug)]
pub struct FlowTable {
    keys: Vec<FlowKey>,
    /// First place of (scenario, step); targets follow by id.
    starts: Vec<Vec<usize>>,
    folded: u64,
}

impl FlowTable {
    pub fn of(plan: &Plan) -> Self {
        let targets = plan.targets.len();
        let mut all = Vec::new();
        let starts = (0u16..)
            .zip(&plan.scenarios)
            .map(|(scenario, described)| {
                (0..described.steps.len() as u16)
                    .map(|step| {
                        let start = all.len();
                        all.extend((0..targets as u16).map(|target| FlowKey {
                            scenario: ScenarioId(scenario),
                            step: StepId(step),
                            target: TargetId(target),
                        }));
                        start
                    })
                    .collect()
            })
            .collect();
        let folded = all.len().saturating_sub(MAX_FLOWS) as u64;
        all.truncate(MAX_FLOWS);
        all.push(FlowKey::OTHER);
        Self { keys: all, starts, folded }
    }

    /// The place of a flow; those beyond the bound share the last.
    #[inline]
    pub fn place(&self, scenario: ScenarioId, step: StepId, target: TargetId) -> usize {
        let start = self.starts[scenario.0 as usize][step.0 as usize];
        (start + target.0 as usize).min(self.keys.len() - 1)
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Flows beyond the bound.
    pub fn folded(&self) -> u64 {
        self.folded
    }
}

/// One worker's counters and histograms of the interval that runs.
///
/// Recording touches dense places only; maps are made when an interval ends.
#[derive(Debug)]
pub struct Recorder {
    table: std::sync::Arc<FlowTable>,
    interval: u32,
    flows: Vec<Flow>,
    /// flow place × class.
    series: Vec<Option<Box<Series>>>,
}

impl Recorder {
    pub fn new(table: std::sync::Arc<FlowTable>) -> Self {
        let flows = vec![Flow::default(); table.len()];
        let series = (0..table.len() * OutcomeClass::ALL.len()).map(|_| None).collect();
        Self { table, interval: 0, flows, series }
    }

    pub fn interval(&self) -> u32 {
        self.interval
    }

    #[inline]
    pub fn flow(&mut self, scenario: ScenarioId, step: StepId, target: TargetId) -> &mut Flow {
        let place = self.table.place(scenario, step, target);
        &mut self.flows[place]
    }

    #[inline]
    pub fn record(&mut self, sample: &Sample) {
        self.series_of(sample).record(sample);
    }

    /// After [`Recorder::record`] took the same sample.
    pub fn record_generation(&mut self, sample: &Sample, generation: &Generation<'_>) {
        self.series_of(sample).record_generation(sample, generation);
    }

    #[inline]
    fn series_of(&mut self, sample: &Sample) -> &mut Series {
        let place = self.table.place(sample.scenario, sample.step, sample.target);
        let place = place * OutcomeClass::ALL.len() + sample.outcome.class() as usize;
        self.series[place].get_or_insert_default()
    }

    /// Ends the interval that runs and begins `next`.
    pub fn roll(&mut self, next: u32) -> IntervalSnapshot {
        let mut snapshot = IntervalSnapshot::of(self.interval);
        for (place, flow) in self.flows.iter_mut().enumerate() {
            if !flow.is_empty() {
                snapshot.flows.insert(self.table.keys[place], std::mem::take(flow));
            }
        }
        for (place, series) in self.series.iter_mut().enumerate() {
            if let Some(series) = series.take() {
                let flow = self.table.keys[place / OutcomeClass::ALL.len()];
                let class = OutcomeClass::ALL[place % OutcomeClass::ALL.len()];
                snapshot.series.insert(SeriesKey { flow, class }, *series);
            }
        }
        snapshot.health.series_folded = self.table.folded;
        self.interval = next;
        snapshot
    }
}
