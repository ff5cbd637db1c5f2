//! Snapshots of all agents → the view of the whole run, and what is missing.
//!
//! Every snapshot is merged exactly once: in the order of its sequence, by
//! slot. Whole histograms are added, never percentiles.

use crate::histogram::Latencies;
use crate::interval::{Flow, FlowKey, Health, IntervalSnapshot, Series, SeriesKey, SkipReason};
use crate::ledger::Ledger;
use crate::plan::{Metric, Plan, Region, ScenarioId, StepId, TargetId};
use crate::schedule::is_steady;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many of the newest intervals keep a histogram of their own for live views.
const LIVE_WINDOW: u32 = 10;

/// Position of an agent in the run, fixed when shares are dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentIndex(pub usize);

/// Position in [`RunMerge::regions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionIndex(pub u16);

/// What has come from one agent.
#[derive(Clone, Debug)]
pub struct AgentMerge {
    pub slot: String,
    pub region: RegionIndex,
    pub last_sequence: u64,
    /// Every interval up to and with this one was received; `None`: none yet.
    pub last_interval: Option<u32>,
    pub intervals_received: u64,
    pub ledger: Ledger,
    pub health: Health,
    pub limited: Vec<(u32, String)>,
}

impl AgentMerge {
    /// CPU of its workers over their time, from 0 to 1.
    pub fn busy(&self) -> f64 {
        let available_us = self.health.wall_us * u64::from(self.health.workers);
        self.health.worker_cpu_us as f64 / available_us.max(1) as f64
    }
}

/// Counts of one interval over all agents.
#[derive(Clone, Debug, Default)]
pub struct IntervalRow {
    pub ledger: Ledger,
    pub not_ok: u64,
    pub agents: u32,
    pub in_flight: u64,
    pub users: u64,
    /// Kept for the newest intervals only.
    pub response: Option<Box<Latencies>>,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Merged,
    /// Sent again after a reconnect: already in.
    Duplicate,
    /// One before it is missing; the sender has it and will send it again.
    Gap {
        expected: u64,
    },
}

/// Which part of a run to look at; the default is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub scenario: Option<ScenarioId>,
    pub step: Option<StepId>,
    pub target: Option<TargetId>,
    pub region: Option<RegionIndex>,
    /// Only what falls into steady state.
    pub steady: bool,
    /// Only requests that ended ok.
    pub ok_only: bool,
}

/// A part of the run, folded into one.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub ledger: Ledger,
    pub skipped: [u64; SkipReason::ALL.len()],
    pub iterations_started: u64,
    pub iterations_completed: u64,
    pub series: Series,
}

impl Part {
    pub fn latencies(&self, metric: Metric) -> Latencies {
        self.series.latencies(metric).cloned().unwrap_or_default()
    }

    /// Attempts that ended, whole or not.
    pub fn finished(&self) -> u64 {
        self.ledger.completed + self.ledger.failed
    }

    /// Requests that met every bound of the plan's `goodput`, over all that ended; 0 when none did.
    pub fn goodput(&self) -> f64 {
        self.series.tokens.good as f64 / self.finished().max(1) as f64
    }

    /// Ended attempts that were not ok, over all that ended; 0 when none did.
    pub fn error_rate(&self) -> f64 {
        let finished = self.finished();
        if finished == 0 { 0.0 } else { (finished - self.series.outcomes[0]) as f64 / finished as f64 }
    }
}

#[derive(Clone, Debug, Default)]
struct Halves<T> {
    steady: T,
    rest: T,
}

impl<T> Halves<T> {
    fn half(&mut self, steady: bool) -> &mut T {
        if steady { &mut self.steady } else { &mut self.rest }
    }

    fn of(&self, steady_only: bool) -> impl Iterator<Item = &T> {
        std::iter::once(&self.steady).chain((!steady_only).then_some(&self.rest))
    }
}

/// The merged run.
#[derive(Clone, Debug)]
pub struct RunMerge {
    plan: Arc<Plan>,
    regions: Vec<Region>,
    agents: Vec<AgentMerge>,
    flows: BTreeMap<(RegionIndex, FlowKey), Halves<Flow>>,
    series: BTreeMap<(RegionIndex, SeriesKey), Halves<Series>>,
    rows: BTreeMap<u32, IntervalRow>,
    steady_intervals: std::collections::BTreeSet<u32>,
}

impl RunMerge {
    /// A run on `agents`, given as (slot, region) in the order of their shares.
    pub fn new(plan: Arc<Plan>, agents: &[(String, Region)]) -> Self {
        let mut regions: Vec<Region> = agents.iter().map(|(_, region)| region.clone()).collect();
        regions.sort();
        regions.dedup();
        let agents = agents
            .iter()
            .map(|(slot, region)| AgentMerge {
                slot: slot.clone(),
                region: RegionIndex(regions.iter().position(|known| known == region).unwrap_or(0) as u16),
                last_sequence: 0,
                last_interval: None,
                intervals_received: 0,
                ledger: Ledger::default(),
                health: Health::default(),
                limited: Vec::new(),
            })
            .collect();
        Self {
            plan,
            regions,
            agents,
            flows: BTreeMap::new(),
            series: BTreeMap::new(),
            rows: BTreeMap::new(),
            steady_intervals: std::collections::BTreeSet::new(),
        }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    pub fn agents(&self) -> &[AgentMerge] {
        &self.agents
    }

    pub fn region_index(&self, region: &Region) -> Option<RegionIndex> {
        self.regions.iter().position(|known| known == region).map(|place| RegionIndex(place as u16))
    }

    /// Takes the snapshot numbered `sequence` of an agent, once.
    pub fn accept(&mut self, agent: AgentIndex, sequence: u64, snapshot: &IntervalSnapshot) -> Accepted {
        let merged = &mut self.agents[agent.0];
        if sequence <= merged.last_sequence {
            return Accepted::Duplicate;
        }
        if sequence > merged.last_sequence + 1 {
            return Accepted::Gap { expected: merged.last_sequence + 1 };
        }
        merged.last_sequence = sequence;
        merged.last_interval = Some(snapshot.last_interval);
        merged.intervals_received += u64::from(snapshot.last_interval - snapshot.first_interval) + 1;
        if merged.intervals_received == 1 {
            merged.health = snapshot.health.clone();
        } else {
            merged.health.follow(&snapshot.health);
        }
        if let Some(reason) = &snapshot.health.generator_limited {
            merged.limited.push((snapshot.first_interval, reason.clone()));
        }
        let region = merged.region;
        let steady = (snapshot.first_interval..=snapshot.last_interval).all(|interval| is_steady(&self.plan, interval));
        if steady {
            self.steady_intervals.extend(snapshot.first_interval..=snapshot.last_interval);
        }

        let mut delta = Ledger::default();
        for (key, flow) in &snapshot.flows {
            delta.add_flow(flow);
            self.flows.entry((region, *key)).or_default().half(steady).add(flow);
        }
        let row = self.rows.entry(snapshot.last_interval).or_default();
        for (key, series) in &snapshot.series {
            delta.add_series(series);
            if let Some(response) = series.latencies(Metric::ResponseTime) {
                row.response.get_or_insert_default().add(response);
            }
            row.not_ok += series.count() - series.outcomes[0];
            self.series.entry((region, *key)).or_default().half(steady).add(series);
        }
        row.ledger += delta;
        row.agents += 1;
        row.in_flight += snapshot.health.in_flight;
        row.users += snapshot.health.users;
        self.agents[agent.0].ledger += delta;

        let newest = self.rows.keys().next_back().copied().unwrap_or(0);
        for (_, old) in self.rows.range_mut(..newest.saturating_sub(LIVE_WINDOW)).rev().take(2) {
            old.response = None;
        }
        Accepted::Merged
    }

    /// The newest interval that every agent of `live` has reported.
    pub fn complete_until(&self, live: impl Iterator<Item = AgentIndex>) -> Option<u32> {
        live.map(|agent| self.agents[agent.0].last_interval).min().flatten()
    }

    pub fn row(&self, interval: u32) -> Option<&IntervalRow> {
        self.rows.get(&interval)
    }

    pub fn rows(&self) -> impl Iterator<Item = (u32, &IntervalRow)> {
        self.rows.iter().map(|(&interval, row)| (interval, row))
    }

    /// Seconds of steady state that have reported.
    pub fn steady_seconds(&self) -> u64 {
        self.steady_intervals.len() as u64
    }

    /// Sums of all agents.
    pub fn ledger(&self) -> Ledger {
        self.agents.iter().fold(Ledger::default(), |mut sum, agent| {
            sum += agent.ledger;
            sum
        })
    }

    /// Folds the part of the run that `scope` names.
    pub fn part(&self, scope: Scope) -> Part {
        let inside = |region: RegionIndex, flow: FlowKey| {
            scope.region.is_none_or(|wanted| wanted == region)
                && scope.scenario.is_none_or(|wanted| wanted == flow.scenario)
                && scope.step.is_none_or(|wanted| wanted == flow.step)
                && scope.target.is_none_or(|wanted| wanted == flow.target)
        };
        let mut part = Part::default();
        for ((region, key), halves) in &self.flows {
            if inside(*region, *key) {
                for flow in halves.of(scope.steady) {
                    part.ledger.add_flow(flow);
                    part.skipped.iter_mut().zip(flow.skipped).for_each(|(sum, one)| *sum += one);
                    part.iterations_started += flow.iterations_started;
                    part.iterations_completed += flow.iterations_completed;
                }
            }
        }
        for ((region, key), halves) in &self.series {
            if inside(*region, key.flow) && (!scope.ok_only || key.class == crate::sample::OutcomeClass::Ok) {
                for series in halves.of(scope.steady) {
                    part.ledger.add_series(series);
                    part.series.add(series);
                }
            }
        }
        part
    }

    /// Every series by itself, warm-up and ramps included.
    pub fn series(&self) -> BTreeMap<SeriesKey, Series> {
        let mut by_key: BTreeMap<SeriesKey, Series> = BTreeMap::new();
        for ((_, key), halves) in &self.series {
            for series in halves.of(false) {
                by_key.entry(*key).or_default().add(series);
            }
        }
        by_key
    }
}

/// What happened in one interval, by region: for time series and histogram logs.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub interval: u32,
    pub flows: BTreeMap<(RegionIndex, FlowKey), Flow>,
    pub series: BTreeMap<(RegionIndex, SeriesKey), Series>,
    pub agents: u32,
    pub in_flight: u64,
    pub users: u64,
    pub limited: Vec<String>,
}

impl Frame {
    pub fn add(&mut self, slot: &str, region: RegionIndex, snapshot: &IntervalSnapshot) {
        for (key, flow) in &snapshot.flows {
            self.flows.entry((region, *key)).or_default().add(flow);
        }
        for (key, series) in &snapshot.series {
            self.series.entry((region, *key)).or_default().add(series);
        }
        self.agents += 1;
        self.in_flight += snapshot.health.in_flight;
        self.users += snapshot.health.users;
        if let Some(reason) = &snapshot.health.generator_limited {
            self.limited.push(format!("{slot}: {reason}"));
        }
    }

    /// Folds the regions (all, or one) of this interval.
    pub fn part(&self, region: Option<RegionIndex>) -> Part {
        let mut part = Part::default();
        for ((at, _), flow) in &self.flows {
            if region.is_none_or(|wanted| wanted == *at) {
                part.ledger.add_flow(flow);
            }
        }
        for ((at, _), series) in &self.series {
            if region.is_none_or(|wanted| wanted == *at) {
                part.ledger.add_series(series);
                part.series.add(series);
            }
        }
        part
    }
}
