//! What a plan means in numbers, and the same as JSON.

use crate::report::numbers::{count, plural};
use serde_json::{Value, json};
use squall_common::plan::{Arrivals, Load, LoadId, LoadModel, Plan, Region, Scheme, Target};
use squall_common::schedule::{ArrivalSchedule, Curve, planned_arrivals};
use squall_common::split::{Share, agent_weights};

/// Poisson arrivals are counted one by one up to this many; beyond, the mean is told.
const MOST_COUNTED: f64 = 5_000_000.0;

/// A number of things that is exact, or the best guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub count: u64,
    pub exact: bool,
}

impl Expected {
    /// `3,000 arrivals`, `about 3,000 arrivals`.
    pub fn in_words(self, one: &str) -> String {
        format!("{}{}", if self.exact { "" } else { "about " }, plural(self.count, one))
    }
}

/// The whole plan in numbers.
pub struct Forecast {
    /// Of open loads and of loads by iterations.
    pub requests: Option<Expected>,
    /// Whether some load's requests depend on how fast answers come.
    pub has_closed: bool,
    /// All open loads at the highest points, as if they came together.
    pub peak_rate: f64,
    pub peak_users: u64,
}

impl Forecast {
    pub fn of(plan: &Plan) -> Self {
        let known: Vec<Option<Expected>> = plan.load_ids().map(|id| requests(plan, id.0)).collect();
        let requests = known
            .iter()
            .flatten()
            .copied()
            .reduce(|sum, one| Expected { count: sum.count.saturating_add(one.count), exact: sum.exact && one.exact });
        Self {
            requests,
            has_closed: known.iter().any(Option::is_none),
            peak_rate: plan.loads.iter().filter_map(Load::peak_rate).sum(),
            peak_users: plan.loads.iter().filter_map(Load::peak_users).map(u64::from).sum(),
        }
    }

    pub fn requests_in_words(&self) -> String {
        match (self.requests, self.has_closed) {
            (None, _) => "as many requests as answers allow".to_owned(),
            (Some(known), false) => format!("{} planned", known.in_words("request")),
            (Some(known), true) => {
                format!("{} planned, and as many of the closed loads as answers allow", known.in_words("request"))
            }
        }
    }
}

/// Arrivals of an open load; `None` for others.
pub fn arrivals(plan: &Plan, id: u16) -> Option<Expected> {
    let LoadModel::Open { arrivals, phases, .. } = &plan.loads.get(usize::from(id))?.model else { return None };
    let mean = Curve::new(phases).total();
    if *arrivals == Arrivals::Poisson && mean > MOST_COUNTED {
        return Some(Expected { count: mean.round() as u64, exact: false });
    }
    let schedule = ArrivalSchedule::new(phases, *arrivals, plan.seed, LoadId(id), &Share::whole());
    Some(Expected { count: planned_arrivals(schedule, u64::MAX), exact: true })
}

/// Iterations of a load that are known before it runs.
fn iterations(plan: &Plan, id: u16) -> Option<Expected> {
    match &plan.loads.get(usize::from(id))?.model {
        LoadModel::Open { .. } => arrivals(plan, id),
        LoadModel::Closed { .. } => None,
        // A time limit may end them early: what is left is skipped and counted.
        LoadModel::SharedIterations { iterations, .. } => Some(Expected { count: *iterations, exact: true }),
        LoadModel::PerUserIterations { users, iterations, .. } => {
            Some(Expected { count: u64::from(*users).saturating_mul(*iterations), exact: true })
        }
    }
}

/// Requests of a load: iterations times steps; a guess by weight where the
/// scenarios it drives differ in steps.
fn requests(plan: &Plan, id: u16) -> Option<Expected> {
    let load = plan.loads.get(usize::from(id))?;
    let iterations = iterations(plan, id)?;
    let steps: Vec<(u64, u64)> = load
        .drives
        .iter()
        .map(|(scenario, weight)| (plan.scenario(*scenario).steps.len() as u64, u64::from(*weight)))
        .collect();
    let first = steps.first()?.0;
    if steps.iter().all(|(steps, _)| *steps == first) {
        return Some(Expected { count: iterations.count.saturating_mul(first), exact: iterations.exact });
    }
    let weights: u64 = steps.iter().map(|(_, weight)| weight).sum();
    let mean = steps.iter().map(|(steps, weight)| steps * weight).sum::<u64>() as f64 / weights.max(1) as f64;
    Some(Expected { count: (iterations.count as f64 * mean).round() as u64, exact: false })
}

/// Where a target is, without anything that could be a secret.
pub fn url(target: &Target) -> String {
    let scheme = match target.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    format!("{scheme}://{}{}", target.authority(), target.base_path)
}

/// The scenarios of a load, with weights where there are several.
pub fn drives(plan: &Plan, load: &Load) -> String {
    let several = load.drives.len() > 1;
    let named = load.drives.iter().map(|(scenario, weight)| {
        let name = &plan.scenario(*scenario).name;
        if several { format!("{name} ×{}", count((*weight).into())) } else { name.clone() }
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The preview for machines (`squall check --json`). `planned_requests` is null
/// when no load has a number known before it runs.
pub fn preview_json(plan: &Plan, agents: &[Region]) -> Value {
    let forecast = Forecast::of(plan);
    json!({
        "schema": "squall.preview/1",
        "name": plan.name,
        "seed": plan.seed,
        "duration_s": plan.offered_for().map(|time| time.as_secs_f64()),
        "warm_up_s": plan.warm_up.as_secs_f64(),
        "drain_s": plan.drain.as_secs_f64(),
        "planned_requests": forecast.requests.map(|known| known.count),
        "planned_requests_exact": forecast.requests.is_some_and(|known| known.exact) && !forecast.has_closed,
        "peak_per_s": forecast.peak_rate,
        "peak_users": forecast.peak_users,
        "series": plan.series_count(),
        "targets": plan.targets.iter().map(target_json).collect::<Vec<_>>(),
        "scenarios": plan.scenarios.iter().map(|scenario| json!({
            "name": scenario.name,
            "requests": scenario.steps.iter().map(|step| json!({"name": step.name, "method": step.method})).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "loads": plan.load_ids().map(|id| load_json(plan, id, agents)).collect::<Vec<_>>(),
        "slo": plan.slos.iter().map(|slo| &slo.text).collect::<Vec<_>>(),
        "warnings": super::warnings(plan, agents),
    })
}

fn target_json(target: &Target) -> Value {
    json!({
        "name": target.name,
        "url": url(target),
        "region": target.region.as_ref().map(Region::as_str),
        "weight": target.weight,
        "insecure": target.tls.insecure,
    })
}

fn load_json(plan: &Plan, id: LoadId, agents: &[Region]) -> Value {
    let load = plan.load(id);
    let model = match &load.model {
        LoadModel::Open { .. } => "open",
        LoadModel::Closed { .. } => "closed",
        LoadModel::SharedIterations { .. } => "shared_iterations",
        LoadModel::PerUserIterations { .. } => "per_user_iterations",
    };
    let phases = load.phases().iter().map(|phase| {
        json!({"name": phase.name, "from": phase.from, "to": phase.to, "duration_s": phase.duration.as_secs_f64()})
    });
    let shares = agent_weights(load, agents).ok().map(|weights| {
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let share = |(region, weight): (&Region, &u32)| {
            json!({"region": region.as_str(), "share": f64::from(*weight) / sum.max(1) as f64})
        };
        agents.iter().zip(&weights).map(share).collect::<Vec<_>>()
    });
    json!({
        "name": load.name,
        "model": model,
        "scenarios": load.drives.iter().map(|(scenario, weight)| json!({
            "name": plan.scenario(*scenario).name, "weight": weight,
        })).collect::<Vec<_>>(),
        "iterations": iterations(plan, id.0).map(|known| known.count),
        "peak_per_s": load.peak_rate(),
        "peak_users": load.peak_users(),
        "phases": phases.collect::<Vec<_>>(),
        "agents": shares,
    })
}
