//! A run that has ended → its record, its verdict, its stored result.

use crate::fleet::Member;
use crate::frames::Frames;
use crate::identity::transport::Transport;
use crate::recovery;
use crate::report::{self, AgentRecord, RunRecord};
use crate::reporting;
use crate::run::Outcome;
use crate::store::{STATE_DONE, Store, StoreError, StoredRun};
use squall_common::merge::RunMerge;
use squall_common::mixing::scenario_of;
use squall_common::plan::{Load, LoadId, LoadModel, Plan};
use squall_common::schedule::{ArrivalSchedule, planned_arrivals};
use squall_common::slo::{self, Apart, Judgement};
use squall_common::split::Share;
use squall_common::verdict::{Evidence, Hole};
use squall_common::wire::read_totals;
use squall_proto::{Armed, Finished};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

/// What one agent said of its run.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub armed: Option<Armed>,
    pub finished: Option<Finished>,
    pub lost: Option<String>,
}

/// Everything a record is made from.
pub struct Material {
    pub run_id: String,
    pub started_at: SystemTime,
    /// On the controller's monotonic clock.
    pub concluded_ns: u64,
    pub load_ended_ns: u64,
    pub resolved_yaml: String,
    pub warnings: Vec<String>,
    pub members: Vec<Member>,
    pub told: Vec<Told>,
    pub merge: RunMerge,
    pub outcome: Outcome,
    pub transport: Transport,
}

/// Judges the run. Blocks for long schedules: it counts their arrivals.
pub fn record(material: Material, store: &dyn Store) -> RunRecord {
    let Material { outcome, merge, members, told, .. } = &material;
    let plan = merge.plan().clone();
    let since_start =
        |until_ns: u64| Duration::from_nanos(outcome.start_at_ns.map_or(0, |start| until_ns.saturating_sub(start)));
    let duration = since_start(material.concluded_ns);
    let load_time = since_start(material.load_ended_ns).min(duration);
    let holes = holes(outcome, members);
    let whole = outcome.start_at_ns.is_some() && !outcome.stopped_early;
    let planned_by_plan = if whole { planned_by_plan(&plan) } else { None };
    let mut judgements = if outcome.start_at_ns.is_some() { slo::judge(merge, load_time) } else { Vec::new() };
    let mut warnings = material.warnings.clone();
    if outcome.losses_accepted
        && let Some(affected) = affected_seconds(&holes)
        && let Err(error) = judge_apart(&mut judgements, store, &material, load_time, &affected)
    {
        warnings.push(format!("SLOs could not be judged without seconds {affected:?}: {error}"));
    }
    let evidence = Evidence {
        aborted: outcome.aborted.as_deref().map(|why| with_names(why, members)),
        imbalances: imbalances(&material, planned_by_plan, &holes),
        generator_limited: generator_limited(merge),
        holes,
        holes_accepted: outcome.losses_accepted,
        judgements,
    };
    let (verdict, reasons) = evidence.verdict();
    for (member, told) in members.iter().zip(told) {
        let of_agent = told.armed.iter().flat_map(|armed| &armed.warnings);
        let all = of_agent.chain(told.finished.iter().flat_map(|finished| &finished.warnings));
        warnings.extend(all.map(|warning| format!("agent `{}`: {warning}", member.slot)));
    }
    let last_interval = merge.agents().iter().filter_map(|agent| agent.last_interval).max();
    let agents = members.iter().zip(told).enumerate().map(|(place, (member, told))| {
        // One that finished says itself where its last interval is; the others owe all of them.
        let own = merge.agents()[place].last_interval.filter(|_| told.finished.is_some());
        agent_record(member, told, own.or(last_interval).map_or(0, |last| u64::from(last) + 1))
    });
    RunRecord {
        run_id: material.run_id.clone(),
        started_at: material.started_at,
        duration,
        load_time,
        planned_time: plan.offered_for(),
        resolved_yaml: material.resolved_yaml.clone(),
        planned_by_plan,
        verdict,
        reasons,
        judgements: evidence.judgements,
        holes: evidence.holes,
        agents: agents.collect(),
        warnings,
        transport: material.transport,
        merge: material.merge,
    }
}

fn agent_record(member: &Member, told: &Told, intervals_expected: u64) -> AgentRecord {
    let armed = told.armed.clone().unwrap_or_default();
    let sent_anything = told.finished.as_ref().filter(|finished| finished.sent > 0);
    AgentRecord {
        slot: member.slot.clone(),
        region: member.region.to_string(),
        version: member.version.clone(),
        workers: member.workers,
        clock_offset_ns: armed.clock_offset_ns,
        clock_bound_ns: armed.clock_bound_ns,
        clock_exchanges: armed.exchanges,
        first_send_skew_ns: sent_anything.map(|finished| finished.first_send_skew_ns),
        intervals_expected,
        ended_by: told.finished.as_ref().map(|finished| finished.ended_by.clone()).unwrap_or_default(),
        lost: told.lost.clone(),
    }
}

/// Puts slots where the state machine, which knows only places, wrote `agent #2`.
fn with_names(text: &str, members: &[Member]) -> String {
    // From the last, so that #1 does not eat into #10.
    members.iter().enumerate().rev().fold(text.to_owned(), |text, (place, member)| {
        text.replace(&format!("agent #{place}:"), &format!("agent `{}` ({}):", member.slot, member.region))
    })
}

fn holes(outcome: &Outcome, members: &[Member]) -> Vec<Hole> {
    let hole = |missing: &crate::run::Missing| Hole {
        agent: members[missing.agent].slot.clone(),
        region: members[missing.agent].region.to_string(),
        first_interval: missing.first_interval,
        last_interval: missing.last_interval,
        reason: missing.reason.clone(),
        noticed_s: outcome.start_at_ns.map(|start| missing.noticed_ns.saturating_sub(start) as f64 / 1e9),
    };
    outcome.missing.iter().map(hole).collect()
}

/// The seconds in which some agent was missing.
fn affected_seconds(holes: &[Hole]) -> Option<RangeInclusive<u32>> {
    let first = holes.iter().map(|hole| hole.first_interval).min()?;
    let last = holes.iter().map(|hole| hole.last_interval.unwrap_or(u32::MAX)).max()?;
    Some(first..=last)
}

/// Judges every SLO once more, on what is left without the affected seconds.
fn judge_apart(
    judgements: &mut [Judgement],
    store: &dyn Store,
    material: &Material,
    load_time: Duration,
    affected: &RangeInclusive<u32>,
) -> Result<(), StoreError> {
    if judgements.is_empty() {
        return Ok(());
    }
    let apart = recovery::merge_without(store, &material.run_id, &material.merge, affected)?;
    let second = |second: u32| Duration::from_secs(second.into()).min(load_time);
    let taken = second(affected.end().saturating_add(1)).saturating_sub(second(*affected.start()));
    let again = slo::judge(&apart, load_time.saturating_sub(taken));
    for (judgement, again) in judgements.iter_mut().zip(again) {
        judgement.apart = Some(Apart { value: again.value, passed: again.passed });
    }
    Ok(())
}

/// Every law that does not hold, with the agent and the seconds it was held against.
fn imbalances(material: &Material, planned_by_plan: Option<u64>, holes: &[Hole]) -> Vec<String> {
    let mut found = Vec::new();
    for ((agent, member), told) in material.merge.agents().iter().zip(&material.members).zip(&material.told) {
        // What a hole has taken is told as the hole.
        if holes.iter().any(|hole| hole.agent == member.slot) || material.outcome.start_at_ns.is_none() {
            continue;
        }
        let seconds = agent.last_interval.map_or("no second".to_owned(), |last| format!("seconds 0 to {last}"));
        let mut laws = agent.ledger.imbalances();
        laws.extend(told.finished.iter().flat_map(|finished| read_totals(finished).differences(&agent.ledger)));
        found.extend(laws.into_iter().map(|law| format!("agent `{}`, {seconds}: {law}", member.slot)));
    }
    let planned = material.merge.ledger().planned;
    match planned_by_plan {
        Some(meant) if meant != planned && holes.is_empty() => {
            found.push(format!("the plan means {meant} requests, the agents planned {planned}"));
        }
        _ => {}
    }
    found
}

/// One line an agent and reason, however many seconds it held.
fn generator_limited(merge: &RunMerge) -> Vec<String> {
    let mut lines = Vec::new();
    for agent in merge.agents() {
        let mut reasons: Vec<&str> = agent.limited.iter().map(|(_, reason)| reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons {
            let mut at = agent.limited.iter().filter(|(_, why)| why == reason).map(|(interval, _)| *interval);
            let first = at.next().unwrap_or(0);
            let more = match at.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            lines.push(format!("agent `{}`, second {first}{more}: {reason}", agent.slot));
        }
    }
    lines
}

/// Requests the whole plan means; `None` where answers decide how many.
pub fn planned_by_plan(plan: &Plan) -> Option<u64> {
    plan.load_ids().map(|id| planned_by_load(plan, plan.load(id), id)).sum()
}

fn planned_by_load(plan: &Plan, load: &Load, id: LoadId) -> Option<u64> {
    let steps = |scenario| plan.scenario(scenario).steps.len() as u64;
    let first = steps(load.drives.first()?.0);
    let all_alike = load.drives.iter().all(|&(scenario, _)| steps(scenario) == first);
    let by_number =
        |numbers: &mut dyn Iterator<Item = u64>| numbers.map(|number| steps(scenario_of(load, number))).sum();
    Some(match &load.model {
        LoadModel::Closed { .. } => return None,
        LoadModel::Open { arrivals, phases, .. } => {
            let schedule = ArrivalSchedule::new(phases, *arrivals, plan.seed, id, &Share::whole());
            if all_alike {
                planned_arrivals(schedule, u64::MAX) * first
            } else {
                by_number(&mut schedule.map(|arrival| arrival.number))
            }
        }
        // Iterations not begun when the load ends are planned and skipped.
        LoadModel::SharedIterations { iterations, .. } if all_alike => iterations * first,
        LoadModel::SharedIterations { iterations, .. } => by_number(&mut (0..*iterations)),
        LoadModel::PerUserIterations { users, iterations, .. } if all_alike => u64::from(*users) * iterations * first,
        LoadModel::PerUserIterations { users, iterations, .. } => by_number(&mut (0..u64::from(*users) * iterations)),
    })
}

/// Makes and stores the result, and gives the run's last status; a failure to
/// store comes beside it, since a verdict that cannot be kept can still be told.
pub fn store_result(store: &dyn Store, mut status: StoredRun, record: &RunRecord) -> (StoredRun, Option<StoreError>) {
    status.state = STATE_DONE.to_owned();
    status.verdict = record.verdict.name().to_owned();
    status.reason = record.reasons.join("; ");
    status.duration_s = record.duration.as_secs_f64();
    status.sent = record.merge.ledger().sent;
    let regions = record.merge.agents().iter().map(|agent| (agent.slot.clone(), agent.region)).collect();
    let made = store.snapshots(&record.run_id).and_then(|snapshots| {
        let events = store.events(&record.run_id)?;
        let mut frames = Frames::new(snapshots, regions, record.merge.plan().keep_errors);
        let made = reporting::make(record, &mut frames, &events);
        frames.failure().map_or(Ok(made), Err)
    });
    let stored = made.and_then(|made| {
        status.summary_json = made.summary_json;
        store.conclude(&status, &made.files)
    });
    match stored {
        Ok(()) => (status, None),
        Err(error) => {
            let before = if status.reason.is_empty() { String::new() } else { format!("{}; ", status.reason) };
            status.reason = format!("{before}the result is not stored whole: {error}");
            status.summary_json = format!("{:#}", report::summary(record));
            let kept = store.update_run(&status);
            (status, kept.err().or(Some(error)))
        }
    }
}
