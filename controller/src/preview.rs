//! What a plan would send, before it is sent: for `squall check`.

mod numbers;
mod plot;

pub use numbers::preview_json;

use crate::report::caveats;
use crate::report::numbers::{count, duration, percent, plural, rate};
use crate::terminal::{Cell, MIN_WIDTH, Paint, Table, Tone, clean, wrap};
use numbers::Forecast;
use squall_common::interval::MAX_FLOWS;
use squall_common::plan::{Arrivals, Load, LoadModel, Plan, Region, Scenario, WhenFull};
use squall_common::split::{agent_weights, apportion};

/// Where the text of labelled lines begins.
const LABEL: usize = 14;
/// Agents listed one by one; a larger fleet is told by region.
const MOST_AGENTS: usize = 12;

/// The plan as it would run on agents in these regions, in lines of at most
/// `width` columns (40 at least). Without colour: it goes to pipes as well.
pub fn preview(plan: &Plan, agents: &[Region], width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    let mut blocks = vec![head(plan, agents, width), targets(plan, width), scenarios(plan, width)];
    blocks.extend(plan.loads.iter().zip(0u16..).map(|(load, id)| described(plan, load, id, width)));
    blocks.push(shares(plan, agents, width));
    blocks.push(judged(plan, width));
    blocks.push(warnings(plan, agents).iter().flat_map(|text| labelled("warning", text, width)).collect());
    blocks.retain(|block| !block.is_empty());
    blocks.iter().map(|block| block.join("\n") + "\n").collect::<Vec<_>>().join("\n")
}

fn labelled(label: &str, text: &str, width: usize) -> Vec<String> {
    wrap(&format!("{label:<LABEL$}"), text, width)
}

fn head(plan: &Plan, agents: &[Region], width: usize) -> Vec<String> {
    let forecast = Forecast::of(plan);
    let mut lines = wrap("", &clean(&plan.name), width);
    let lasts = plan.offered_for().map_or_else(|| "until its iterations are done".to_owned(), duration);
    let ends_early = plan.loads.iter().all(|load| load.phases().is_empty()) && plan.offered_for().is_some();
    let mut facts = vec![
        format!("lasts {}{lasts}", if ends_early { "at most " } else { "" }),
        format!("then at most {} to drain", duration(plan.drain)),
        plural(agents.len() as u64, "agent"),
        format!("seed {}", plan.seed),
    ];
    if !plan.warm_up.is_zero() {
        facts.insert(1, format!("the first {} are warm-up", duration(plan.warm_up)));
    }
    lines.extend(wrap("", &facts.join(" · "), width));
    let mut sends = vec![forecast.requests_in_words()];
    if forecast.peak_rate > 0.0 {
        sends.push(format!("peak {} arrivals", rate(forecast.peak_rate)));
    }
    if forecast.peak_users > 0 {
        sends.push(format!("peak {}", plural(forecast.peak_users, "user")));
    }
    lines.extend(wrap("", &sends.join(" · "), width));
    let series = plan.series_count();
    let most = count(MAX_FLOWS as u64);
    lines.extend(wrap("", &format!("{series} series (scenario × request × target) of at most {most}"), width));
    lines
}

fn targets(plan: &Plan, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, target) in plan.targets.iter().enumerate() {
        let mut facts = vec![numbers::url(target)];
        facts.extend(target.region.as_ref().map(|region| format!("in {region}")));
        if plan.targets.len() > 1 {
            facts.push(format!("weight {}", target.weight));
        }
        let label = if number == 0 { "targets" } else { "" };
        lines.extend(labelled(label, &format!("{}  {}", target.name, facts.join(" · ")), width));
    }
    lines
}

fn scenarios(plan: &Plan, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, scenario) in plan.scenarios.iter().enumerate() {
        let label = if number == 0 { "scenarios" } else { "" };
        lines.extend(labelled(label, &format!("{}: {}", scenario.name, steps(scenario)), width));
    }
    lines
}

fn steps(scenario: &Scenario) -> String {
    let steps = scenario.steps.iter().map(|step| match (&step.model_call, step.name.split_once(' ')) {
        (Some(call), _) => {
            let streamed = if call.is_streamed { ", streamed" } else { "" };
            format!("{} (POST …{}{streamed})", step.name, call.api.path())
        }
        // A step without a name of its own is called by its method and path.
        (None, Some((method, _))) if method == step.method => step.name.clone(),
        (None, _) => format!("{} ({})", step.name, step.method),
    });
    steps.collect::<Vec<_>>().join(" → ")
}

/// One load: what it is, and its profile drawn over time.
fn described(plan: &Plan, load: &Load, id: u16, width: usize) -> Vec<String> {
    let mut facts = vec![model(load)];
    facts.push(format!("drives {}", numbers::drives(plan, load)));
    if !load.from.is_empty() {
        let regions = load.from.iter().map(|(region, weight)| format!("{region} {weight}"));
        facts.push(format!("from {}", regions.collect::<Vec<_>>().join(", ")));
    }
    if let Some(planned) = numbers::arrivals(plan, id) {
        facts.push(planned.in_words("arrival"));
    }
    let mut lines = labelled("load", &format!("{}: {}", load.name, facts.join(" · ")), width);
    if !load.phases().is_empty() {
        let unit = if load.peak_rate().is_some() { "/s" } else { " users" };
        lines.extend(plot::plot(load.phases(), unit, width));
    }
    lines
}

fn model(load: &Load) -> String {
    let limit = |at_most: Option<std::time::Duration>| {
        at_most.map_or_else(String::new, |time| format!(", at most {}", duration(time)))
    };
    match &load.model {
        LoadModel::Open { arrivals, max_in_flight, .. } => {
            let process = if *arrivals == Arrivals::Poisson { "Poisson" } else { "uniform" };
            let bound = max_in_flight.map_or_else(String::new, |bound| {
                let then = if bound.when_full == WhenFull::Skip { "skipped" } else { "waiting" };
                format!(", {then} beyond {} in flight", count(bound.limit.into()))
            });
            format!("open, {process} arrivals{bound}")
        }
        LoadModel::Closed { pacing, .. } => {
            let paced = pacing.map_or_else(String::new, |time| format!(", an iteration every {}", duration(time)));
            format!("closed{paced}")
        }
        LoadModel::SharedIterations { users, iterations, at_most, .. } => format!(
            "{} shared by {}{}",
            plural(*iterations, "iteration"),
            plural((*users).into(), "user"),
            limit(*at_most)
        ),
        LoadModel::PerUserIterations { users, iterations, at_most, .. } => format!(
            "{} for each of {}{}",
            plural(*iterations, "iteration"),
            plural((*users).into(), "user"),
            limit(*at_most)
        ),
    }
}

/// Who carries how much of each load.
fn shares(plan: &Plan, agents: &[Region], width: usize) -> Vec<String> {
    if agents.len() < 2 {
        return Vec::new();
    }
    let dealt: Vec<(&Load, Vec<u32>)> =
        plan.loads.iter().filter_map(|load| Some((load, agent_weights(load, agents).ok()?))).collect();
    if dealt.is_empty() {
        return Vec::new();
    }
    let head = std::iter::once("shares").chain(dealt.iter().map(|(load, _)| load.name.as_str()));
    let mut table = Table::with_head(head);
    for (name, members) in carriers(agents) {
        let share = |weights: &[u32]| {
            let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            let own: u64 = members.iter().map(|&member| u64::from(weights[member])).sum();
            if sum == 0 { 0.0 } else { own as f64 / sum as f64 }
        };
        let cell = |(load, weights): &(&Load, Vec<u32>)| {
            let part = share(weights);
            let most = match (load.peak_rate(), load.peak_users()) {
                (Some(peak), _) => format!(" (peak {})", rate(peak * part)),
                (None, Some(peak)) => {
                    let dealt = apportion(peak.into(), weights);
                    format!(" ({})", plural(members.iter().map(|&member| dealt[member]).sum(), "user"))
                }
                (None, None) => String::new(),
            };
            Cell::new(Tone::Plain, format!("{}{most}", percent(part)))
        };
        table.push(std::iter::once(Cell::from(name)).chain(dealt.iter().map(cell)));
    }
    table.lines(width, Paint::new(false))
}

/// Agents by their number and region, or regions with their agents when they are many.
fn carriers(agents: &[Region]) -> Vec<(String, Vec<usize>)> {
    if agents.len() <= MOST_AGENTS {
        let named = agents.iter().enumerate();
        return named.map(|(number, region)| (format!("agent {} ({region})", number + 1), vec![number])).collect();
    }
    let mut regions: Vec<&Region> = agents.iter().collect();
    regions.sort();
    regions.dedup();
    let inside = |region: &Region| (0..agents.len()).filter(|&at| agents[at] == *region).collect::<Vec<_>>();
    regions
        .into_iter()
        .map(|region| (region, inside(region)))
        .map(|(region, members)| (format!("{region} ({})", plural(members.len() as u64, "agent")), members))
        .collect()
}

fn judged(plan: &Plan, width: usize) -> Vec<String> {
    let label = |number: usize| if number == 0 { "slo" } else { "" };
    plan.slos.iter().enumerate().flat_map(|(number, slo)| labelled(label(number), &slo.text, width)).collect()
}

/// What to know before running the plan on these agents.
pub fn warnings(plan: &Plan, agents: &[Region]) -> Vec<String> {
    let mut found: Vec<String> = plan
        .loads
        .iter()
        .filter_map(|load| agent_weights(load, agents).err())
        .map(|problem| problem.to_string())
        .collect();
    found.dedup();
    found.extend(caveats::unverified(plan));
    if plan.offered_for().is_some_and(|offered| offered <= plan.warm_up) {
        found.push("the whole run is warm-up: no steady state will be shown".to_owned());
    }
    if plan.series_count() > MAX_FLOWS {
        found.push(format!(
            "{} series beyond {MAX_FLOWS} are counted together as `other`",
            plan.series_count() - MAX_FLOWS
        ));
    }
    if plan.slos.is_empty() {
        found.push("no SLO: any whole result passes".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{Setup, phase, region};
    use crate::terminal::width_of;
    use proptest::prelude::*;
    use squall_common::plan::{MaxInFlight, Phase, PhaseKind, ScenarioId};
    use std::time::Duration;

    fn spiky() -> Plan {
        let mut plan = Setup::three_regions().plan;
        plan.targets[0].tls.insecure = true;
        plan.targets[1].region = Some(region("azure/westeurope"));
        plan.loads[0].from = vec![(region("azure/eastus"), 50), (region("aws/us-west-2"), 50)];
        plan.loads[0].model = LoadModel::Open {
            arrivals: Arrivals::Poisson,
            phases: vec![
                phase("ramp", PhaseKind::Ramp, 5.0, 50.0, 30),
                phase("hold", PhaseKind::Hold, 50.0, 50.0, 300),
                phase("spike", PhaseKind::Spike, 200.0, 200.0, 10),
                phase("pause", PhaseKind::Pause, 0.0, 0.0, 20),
                phase("hold", PhaseKind::Hold, 50.0, 50.0, 60),
            ],
            max_in_flight: Some(MaxInFlight { limit: 500, when_full: WhenFull::Skip }),
        };
        plan.loads.push(Load {
            name: "background".to_owned(),
            drives: vec![(ScenarioId(0), 1)],
            model: LoadModel::Closed { phases: vec![phase("ramp", PhaseKind::Ramp, 0.0, 100.0, 420)], pacing: None },
            from: Vec::new(),
        });
        plan
    }

    fn fleet() -> Vec<Region> {
        ["azure/eastus", "azure/eastus", "aws/us-west-2"].map(region).to_vec()
    }

    #[test]
    fn a_plan_with_a_spike_and_a_closed_load() {
        let text = [80, 120].map(|width| preview(&spiky(), &fleet(), width)).join("\n=====\n\n");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_same_as_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&preview_json(&spiky(), &fleet())).unwrap());
    }

    #[test]
    fn a_load_without_its_region_is_warned_of() {
        let found = warnings(&spiky(), &[region("azure/eastus")]);
        assert!(found[0].contains("no agent is there"), "{found:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_line_fits(width in 40usize..160, name in "\\PC{1,60}", peak in 0.0..1e7, agents in 0usize..30, seconds in 1u64..100_000) {
            let mut plan = spiky();
            plan.name = name.clone();
            plan.loads[1].name = name.clone();
            plan.targets[0].name = name;
            plan.loads[1].model = LoadModel::Closed { phases: vec![Phase { duration: Duration::from_secs(seconds), ..phase("p", PhaseKind::Ramp, 0.0, peak, 1) }], pacing: None };
            let regions = ["azure/eastus", "aws/us-west-2", "gcp/europe-west4"].map(region);
            let fleet: Vec<Region> = (0..agents).map(|at| regions[at % 3].clone()).collect();
            for line in preview(&plan, &fleet, width).lines() {
                prop_assert!(width_of(line) <= width, "{} of {width}: {line}", width_of(line));
            }
        }
    }
}
