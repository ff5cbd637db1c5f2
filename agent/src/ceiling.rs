//! The ceilings of an agent, held against its share of a plan.
//!
//! What a plan says it will do is judged before the run: the peak rate of open
//! loads, the users of closed ones. What answers decide (how fast users loop,
//! how large bodies are, how many connections an open load needs) becomes a
//! [`Budget`] that workers hold to while they run, each its own part of it.

use squall_common::plan::{HttpVersion, Load, LoadModel, Phase, Plan, Scheme, Target};
use squall_common::split::Share;
use squall_common::units::{show_count, show_rate};
use std::time::Duration;

/// What one agent may do at the most, whatever a plan asks. `None`: as the plan says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceilings {
    /// Requests a second.
    pub max_rate: Option<f64>,
    /// Open at once, to all targets together.
    pub max_connections: Option<u32>,
    /// Sent and received, a second.
    pub max_bytes_per_s: Option<u64>,
}

/// What is left to enforce while a plan runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    pub ceilings: Ceilings,
    /// Requests a second for the closed loads: what the open ones leave at their peak.
    pub closed_per_s: Option<f64>,
    pub bytes_per_s: Option<f64>,
    /// By target: the most connections, where the ceiling allows fewer than the plan.
    pub connections: Vec<Option<u32>>,
}

/// Why a share is too much for this agent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Exceeded {
    #[error(
        "the plan asks {wanted} requests of this agent at its peak, and the agent's ceiling is `--max-rate {ceiling}`; \
         lower the rate, add agents, or raise the ceiling where the agent is started"
    )]
    Rate { wanted: String, ceiling: String },
    #[error(
        "the plan's open loads take {wanted} requests of this agent, all that its ceiling `--max-rate {ceiling}` \
         allows, and leave nothing for its users; lower the rate, add agents, or raise the ceiling"
    )]
    NothingForUsers { wanted: String, ceiling: String },
    #[error(
        "the plan asks {wanted} users of this agent, each with a connection of its own, and the agent's ceiling is \
         `--max-connections {ceiling}`; lower the users, add agents, or raise the ceiling where the agent is started"
    )]
    Users { wanted: String, ceiling: u32 },
    #[error(
        "the plan has {targets} targets and the agent's ceiling is `--max-connections {ceiling}`: not one for each; \
         raise the ceiling where the agent is started"
    )]
    Targets { targets: usize, ceiling: u32 },
}

impl Ceilings {
    /// Judges a share; `shares` by load.
    pub fn judge(&self, plan: &Plan, shares: &[Share]) -> Result<Budget, Exceeded> {
        Ok(Budget {
            ceilings: *self,
            closed_per_s: self.max_rate.map(|rate| judge_rate(rate, plan, shares)).transpose()?.flatten(),
            bytes_per_s: self.max_bytes_per_s.map(|bytes| bytes as f64),
            connections: match self.max_connections {
                Some(most) => judge_connections(most, plan, shares)?,
                None => vec![None; plan.targets.len()],
            },
        })
    }
}

/// What is left for users, if there are any.
fn judge_rate(ceiling: f64, plan: &Plan, shares: &[Share]) -> Result<Option<f64>, Exceeded> {
    let wanted = peak_rate(plan, shares);
    let text = |rate| (show_rate(rate), show_rate(ceiling));
    // Levels are sums of fractions: a share of exactly the ceiling passes.
    if wanted > ceiling * (1.0 + 1e-9) {
        let (wanted, ceiling) = text(wanted);
        return Err(Exceeded::Rate { wanted, ceiling });
    }
    if users(plan, shares) == 0 {
        return Ok(None);
    }
    let left = ceiling - wanted;
    if left < ceiling * 1e-3 {
        let (wanted, ceiling) = text(wanted);
        return Err(Exceeded::NothingForUsers { wanted, ceiling });
    }
    Ok(Some(left))
}

/// Requests a second of this share's open loads at their highest point together.
fn peak_rate(plan: &Plan, shares: &[Share]) -> f64 {
    let open: Vec<(&[Phase], f64)> = plan
        .loads
        .iter()
        .zip(shares)
        .filter(|(load, _)| matches!(load.model, LoadModel::Open { .. }))
        .map(|(load, share)| {
            let part = share.numerator() as f64 / share.denominator() as f64;
            (load.phases(), part * requests_an_arrival(plan, load))
        })
        .collect();
    // Levels are straight lines: their sum is highest where one of them bends.
    let bends = open.iter().flat_map(|(phases, _)| ends(phases)).chain([Duration::ZERO]);
    let sum = |at: Duration, side: Side| open.iter().map(|(phases, factor)| factor * level(phases, at, side)).sum();
    bends.map(|at| f64::max(sum(at, Side::Before), sum(at, Side::After))).fold(0.0, f64::max)
}

fn requests_an_arrival(plan: &Plan, load: &Load) -> f64 {
    let weights: u64 = load.drives.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let steps = |&(scenario, weight): &(_, u32)| plan.scenario(scenario).steps.len() as f64 * f64::from(weight);
    load.drives.iter().map(steps).sum::<f64>() / weights.max(1) as f64
}

fn ends(phases: &[Phase]) -> impl Iterator<Item = Duration> {
    phases.iter().scan(Duration::ZERO, |at, phase| {
        *at += phase.duration;
        Some(*at)
    })
}

/// Levels jump between phases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

fn level(phases: &[Phase], at: Duration, side: Side) -> f64 {
    let mut began = Duration::ZERO;
    for phase in phases {
        let end = began + phase.duration;
        let is_here = if side == Side::Before { at > began && at <= end } else { at >= began && at < end };
        if is_here {
            let done = (at - began).as_secs_f64() / phase.duration.as_secs_f64();
            return phase.from + (phase.to - phase.from) * done;
        }
        began = end;
    }
    0.0
}

fn users(plan: &Plan, shares: &[Share]) -> u64 {
    let of = |(load, share): (&Load, &Share)| share.count_of(load.peak_users().unwrap_or(0).into());
    plan.loads.iter().zip(shares).map(of).sum()
}

/// By target, the connections that the ceiling leaves it; `None` where the plan's own limit is not above it.
fn judge_connections(ceiling: u32, plan: &Plan, shares: &[Share]) -> Result<Vec<Option<u32>>, Exceeded> {
    if plan.targets.len() > ceiling as usize {
        return Err(Exceeded::Targets { targets: plan.targets.len(), ceiling });
    }
    let limits: Vec<Option<u32>> = plan.targets.iter().map(|target| target.connections.max_connections).collect();
    let of_targets: Option<u64> = limits.iter().map(|limit| limit.map(u64::from)).sum();
    // A user has one request under way, and on HTTP/1.1 a connection of its own for it.
    let wanted = users(plan, shares).min(of_targets.unwrap_or(u64::MAX));
    if plan.targets.iter().all(one_request_a_connection) && wanted > ceiling.into() {
        return Err(Exceeded::Users { wanted: show_count(wanted), ceiling });
    }
    let parts = parts(ceiling, &limits);
    Ok(parts
        .into_iter()
        .zip(limits)
        .map(|(part, limit)| limit.is_none_or(|limit| limit > part).then_some(part))
        .collect())
}

fn one_request_a_connection(target: &Target) -> bool {
    target.http == HttpVersion::Http1 || (target.http == HttpVersion::Auto && target.scheme == Scheme::Http)
}

/// The ceiling dealt evenly to the targets; what one may not use goes to the others.
fn parts(ceiling: u32, limits: &[Option<u32>]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..limits.len()).collect();
    order.sort_by_key(|&target| limits[target].unwrap_or(u32::MAX));
    let mut parts = vec![0; limits.len()];
    let mut left = ceiling;
    for (dealt, &target) in order.iter().enumerate() {
        let even = left / (limits.len() - dealt) as u32;
        parts[target] = limits[target].map_or(even, |limit| limit.min(even));
        left -= parts[target];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use squall_common::plan::file::{PlanSource, load};

    fn plan(text: &str) -> Plan {
        let source = PlanSource { name: "plan.yaml".into(), text: text.into(), ..PlanSource::default() };
        load(&source).unwrap_or_else(|problems| panic!("{problems}")).plan
    }

    fn judged(text: &str, share: &Share, ceilings: Ceilings) -> Result<Budget, String> {
        let plan = plan(text);
        let shares = vec![share.clone(); plan.loads.len()];
        ceilings.judge(&plan, &shares).map_err(|exceeded| exceeded.to_string())
    }

    fn rate(most: f64) -> Ceilings {
        Ceilings { max_rate: Some(most), ..Ceilings::default() }
    }

    fn connections(most: u32) -> Ceilings {
        Ceilings { max_connections: Some(most), ..Ceilings::default() }
    }

    const OPEN: &str = "{url: 'http://localhost/', rate: 100/s, hold_for: 10s}";
    const USERS: &str = "{url: 'http://localhost/', concurrency: 100, hold_for: 10s}";

    #[test]
    fn a_share_above_a_ceiling_is_refused_with_both_numbers() {
        let told = judged(OPEN, &Share::whole(), rate(99.0)).unwrap_err();
        assert!(told.contains("100/s") && told.contains("--max-rate 99/s"), "{told}");
        let told = judged(USERS, &Share::whole(), connections(99)).unwrap_err();
        assert!(told.contains("100 users") && told.contains("--max-connections 99"), "{told}");
    }

    #[test]
    fn only_the_agents_own_share_counts() {
        let half = Share::new([1, 1], 0).unwrap();
        assert!(judged(OPEN, &half, rate(50.0)).is_ok());
        assert!(judged(OPEN, &half, rate(49.0)).is_err());
        assert!(judged(USERS, &half, connections(50)).is_ok());
        assert!(judged(USERS, &half, connections(49)).is_err());
    }

    #[test]
    fn users_get_what_open_loads_leave_of_the_rate() {
        let both = "
targets: {t: {url: 'http://localhost'}}
scenarios:
  open: {steps: [{get: /a}, {get: /b}], load: {rate: 40/s, for: 10s}}
  closed: {get: /, load: {users: 5, for: 10s}}
";
        assert_eq!(judged(both, &Share::whole(), rate(100.0)).unwrap().closed_per_s, Some(20.0));
        let told = judged(both, &Share::whole(), rate(80.0)).unwrap_err();
        assert!(told.contains("leave nothing for its users"), "{told}");
        assert_eq!(judged(OPEN, &Share::whole(), rate(100.0)).unwrap().closed_per_s, None);
    }

    #[test]
    fn loads_that_peak_one_after_the_other_do_not_add_up() {
        let turns = "
targets: {t: {url: 'http://localhost'}}
scenarios:
  first: {get: /a, load: {phases: [{hold: 100/s, for: 5s}, {hold: 10/s, for: 5s}]}}
  then: {get: /b, load: {phases: [{hold: 10/s, for: 5s}, {ramp: {from: 10/s, to: 90/s, over: 5s}}]}}
";
        assert!(judged(turns, &Share::whole(), rate(110.0)).is_ok());
        assert!(judged(turns, &Share::whole(), rate(109.0)).is_err());
    }

    #[test]
    fn connections_of_a_plan_with_own_limits_are_dealt_where_they_may_be_used() {
        let plan = "
targets:
  a: {url: 'http://localhost', connections: {max: 10}}
  b: {url: 'http://localhost'}
scenarios: {s: {get: /, targets: [a, b], load: {rate: 10/s, for: 10s}}}
";
        let plan_without = plan.replace(", connections: {max: 10}", "");
        let of = |text: &str, most| judged(text, &Share::whole(), connections(most)).map(|budget| budget.connections);
        assert_eq!(of(&plan_without, 101), Ok(vec![Some(50), Some(51)]));
        assert!(of(&plan_without, 1).unwrap_err().contains("2 targets"));
    }

    proptest! {
        #[test]
        fn targets_never_get_more_than_the_ceiling_together(
            ceiling in 1u32..1000, limits in prop::collection::vec(prop::option::of(1u32..200), 1..8)
        ) {
            prop_assume!(limits.len() <= ceiling as usize);
            let parts = parts(ceiling, &limits);
            prop_assert!(parts.iter().all(|&part| part > 0));
            prop_assert!(parts.iter().zip(&limits).all(|(&part, limit)| limit.is_none_or(|limit| part <= limit)));
            let sum: u32 = parts.iter().sum();
            let wanted = limits.iter().map(|limit| limit.map(u64::from)).sum::<Option<u64>>();
            prop_assert_eq!(u64::from(sum), wanted.map_or(ceiling.into(), |wanted| wanted.min(ceiling.into())));
        }
    }
}
