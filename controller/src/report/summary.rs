//! `summary.json`, schema `squall.summary/1`: the contract is docs/results.md.
//! Fields may be added; none changes its meaning or goes.

use super::caveats::caveats;
use super::numbers::rfc3339;
use super::requests::requests;
use super::{RunRecord, coverage, models, names, origin};
use serde_json::{Map, Value, json};
use squall_common::histogram::Latencies;
use squall_common::interval::{Series, SkipReason};
use squall_common::ledger::Ledger;
use squall_common::merge::{Part, RegionIndex, Scope};
use squall_common::plan::{Metric, Quantity, Slo};
use squall_common::sample::Outcome;
use squall_common::verdict::Hole;
use std::time::Duration;

/// The value of the `schema` field.
pub const SCHEMA: &str = "squall.summary/1";

/// The metrics that every latency block has, samples or not.
const ALWAYS: [Metric; 3] = [Metric::ResponseTime, Metric::ServiceTime, Metric::DispatchLag];

/// The whole summary of a run.
pub fn summary(record: &RunRecord) -> Value {
    let plan = record.merge.plan();
    let all = record.merge.part(Scope::default());
    let mut summary = object(json!({
        "schema": SCHEMA,
        "run_id": record.run_id,
        "name": plan.name,
        "verdict": record.verdict.name(),
        "exit_code": record.verdict.exit_code(),
        "reasons": record.reasons,
        "warnings": caveats(record),
        "security": record.transport.summary(),
        "started_at": rfc3339(record.started_at),
        "duration_s": seconds(record.duration),
        "load_time_s": seconds(record.load_time),
        "planned_time_s": record.planned_time.map(seconds),
        "seed": plan.seed,
        "tags": plan.tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>(),
    }));
    let whole = part(record, &all, coverage::ratio(record), &record.holes);
    let mut whole = object(with_latency_ok(record, Scope::default(), &all, whole));
    if let Some(Value::Object(coverage)) = whole.get_mut("coverage") {
        coverage.insert("planned_by_plan".to_owned(), json!(record.planned_by_plan));
    }
    summary.append(&mut whole);
    summary.insert("steady_state".to_owned(), steady_state(record));
    summary.insert("slo".to_owned(), slos(record));
    summary.insert("scenarios".to_owned(), scenarios(record));
    summary.insert("regions".to_owned(), regions(record));
    summary.insert("targets".to_owned(), targets(record));
    summary.insert("agents".to_owned(), agents(record));
    summary.insert("data".to_owned(), origin::data(record));
    Value::Object(summary)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn per_second(count: u64, time_s: f64) -> f64 {
    if time_s > 0.0 { count as f64 / time_s } else { 0.0 }
}

/// The blocks that a run and each of its parts share.
fn part(record: &RunRecord, part: &Part, ratio: f64, holes: &[Hole]) -> Value {
    let mut blocks = object(json!({
        "coverage": coverage_block(part, ratio, holes),
        "throughput": {
            "sent_per_s": per_second(part.ledger.sent, seconds(record.load_time)),
            "completed_per_s": per_second(part.ledger.completed, seconds(record.duration)),
        },
    }));
    blocks.append(&mut came_of(&part.series, seconds(record.duration)));
    blocks.insert(
        "iterations".to_owned(),
        json!({"started": part.iterations_started, "completed": part.iterations_completed}),
    );
    Value::Object(blocks)
}

fn coverage_block(part: &Part, ratio: f64, holes: &[Hole]) -> Value {
    let Ledger { planned, sent, skipped, completed, failed, cut_off } = part.ledger;
    let skipped_by: Map<String, Value> = SkipReason::ALL
        .into_iter()
        .zip(part.skipped)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| (reason.name().to_owned(), json!(count)))
        .collect();
    json!({
        "planned": planned,
        "sent": sent,
        "skipped": skipped,
        "skipped_by": skipped_by,
        "completed": completed,
        "failed": failed,
        "cut_off": cut_off,
        "ratio": ratio,
        "holes": holes.iter().map(hole).collect::<Vec<_>>(),
    })
}

fn hole(hole: &Hole) -> Value {
    json!({
        "agent": hole.agent,
        "region": hole.region,
        "first_interval": hole.first_interval,
        "last_interval": hole.last_interval,
        "noticed_s": hole.noticed_s,
        "reason": hole.reason,
    })
}

/// Latencies, phases, what models did, statuses, outcomes and bytes. `time_s`: what rates are of.
fn came_of(series: &Series, time_s: f64) -> Map<String, Value> {
    let outcomes: Map<String, Value> = Outcome::ALL
        .into_iter()
        .zip(series.outcomes)
        // `ok` is always there: its absence would read as another schema.
        .filter(|(outcome, count)| *count > 0 || outcome.is_ok())
        .map(|(outcome, count)| (outcome.name().to_owned(), json!(count)))
        .collect();
    let statuses: Map<String, Value> =
        series.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    let mut blocks = object(json!({"latency": latency(series)}));
    let phases = phases(series);
    if !phases.is_empty() {
        blocks.insert("phases".to_owned(), Value::Object(phases));
    }
    if let Some(models) = models::block(series, time_s, latency_block) {
        blocks.insert("models".to_owned(), models);
    }
    blocks.insert("status".to_owned(), Value::Object(statuses));
    blocks.insert("outcomes".to_owned(), Value::Object(outcomes));
    blocks.insert(
        "bytes".to_owned(),
        json!({
            "sent": series.bytes_sent,
            "received": series.bytes_received,
            "body": series.body_bytes,
            "decoded_body": series.decoded_body_bytes,
        }),
    );
    blocks
}

fn latency(series: &Series) -> Value {
    let empty = Latencies::new();
    let block = |metric: Metric| (metric.name().to_owned(), latency_block(series.latencies(metric).unwrap_or(&empty)));
    Value::Object(ALWAYS.into_iter().map(block).collect())
}

fn phases(series: &Series) -> Map<String, Value> {
    series
        .metrics()
        .filter(|(metric, latencies)| {
            !ALWAYS.contains(metric) && !Metric::OF_MODELS.contains(metric) && !latencies.is_empty()
        })
        .map(|(metric, latencies)| (metric.name().to_owned(), latency_block(latencies)))
        .collect()
}

fn latency_block(latencies: &Latencies) -> Value {
    json!({
        "count": latencies.count(),
        "mean_us": latencies.mean_us(),
        "min_us": latencies.min_us(),
        "p50_us": latencies.percentile_us(50.0),
        "p90_us": latencies.percentile_us(90.0),
        "p95_us": latencies.percentile_us(95.0),
        "p99_us": latencies.percentile_us(99.0),
        "p999_us": latencies.percentile_us(99.9),
        "max_us": latencies.max_us(),
        "overflow": latencies.overflow(),
    })
}

/// Adds `latency_ok` when what was not ok colours the figures of `scope`.
fn with_latency_ok(record: &RunRecord, scope: Scope, of: &Part, mut blocks: Value) -> Value {
    if of.error_rate() > 0.0
        && let Value::Object(blocks) = &mut blocks
    {
        let ok = record.merge.part(Scope { ok_only: true, ..scope });
        blocks.insert("latency_ok".to_owned(), latency(&ok.series));
    }
    blocks
}

/// Without warm-up, ramps, spikes, pauses and the drain.
fn steady_state(record: &RunRecord) -> Value {
    let scope = Scope { steady: true, ..Scope::default() };
    let steady = record.merge.part(scope);
    let time_s = record.merge.steady_seconds() as f64;
    let mut blocks = object(json!({
        "seconds": record.merge.steady_seconds(),
        "sent": steady.ledger.sent,
        "completed": steady.ledger.completed,
        "failed": steady.ledger.failed,
        "error_rate": steady.error_rate(),
        "throughput": {
            "sent_per_s": per_second(steady.ledger.sent, time_s),
            "completed_per_s": per_second(steady.ledger.completed, time_s),
        },
    }));
    blocks.append(&mut came_of(&steady.series, time_s));
    with_latency_ok(record, scope, &steady, Value::Object(blocks))
}

fn slos(record: &RunRecord) -> Value {
    let defined = &record.merge.plan().slos;
    let line = |(place, judged): (usize, &squall_common::slo::Judgement)| {
        // Judged in the order of the plan; the text guards against a record made otherwise.
        let slo = defined.get(place).filter(|slo| slo.text == judged.text);
        json!({
            "slo": judged.text,
            "value": judged.value,
            "unit": slo.or_else(|| defined.iter().find(|slo| slo.text == judged.text)).map(unit),
            "limit": judged.limit,
            "passed": judged.passed,
            "without_affected_seconds": judged.apart.map(|apart| json!({"value": apart.value, "passed": apart.passed})),
        })
    };
    record.judgements.iter().enumerate().map(line).collect()
}

/// The unit of an SLO's value and limit.
pub fn unit(slo: &Slo) -> &'static str {
    match slo.quantity {
        Quantity::Latency { .. } => "us",
        Quantity::ErrorRate | Quantity::Goodput => "ratio",
        Quantity::Throughput => "per_s",
    }
}

fn scoped(record: &RunRecord, scope: Scope, region: Option<RegionIndex>, holes: &[Hole]) -> Value {
    let folded = record.merge.part(scope);
    let ratio = coverage::ratio_of(record, &folded.ledger, region);
    with_latency_ok(record, scope, &folded, part(record, &folded, ratio, holes))
}

fn scenarios(record: &RunRecord) -> Value {
    let plan = record.merge.plan();
    let mut all = Map::new();
    for id in names::scenario_ids(record) {
        let scope = Scope { scenario: Some(id), ..Scope::default() };
        let mut blocks = object(scoped(record, scope, None, &record.holes));
        let requests = requests(record, id)
            .into_iter()
            .map(|(step, scope, _)| {
                (names::step(plan, id, step).to_owned(), scoped(record, scope, None, &record.holes))
            })
            .collect();
        blocks.insert("requests".to_owned(), Value::Object(requests));
        all.insert(names::scenario(plan, id).to_owned(), Value::Object(blocks));
    }
    Value::Object(all)
}

fn regions(record: &RunRecord) -> Value {
    let block = |index| {
        let name = names::region(record, index).to_owned();
        let holes: Vec<Hole> = record.holes.iter().filter(|hole| hole.region == name).cloned().collect();
        let scope = Scope { region: Some(index), ..Scope::default() };
        (name, scoped(record, scope, Some(index), &holes))
    };
    Value::Object(names::region_indices(record).map(block).collect())
}

fn targets(record: &RunRecord) -> Value {
    let plan = record.merge.plan();
    let block = |id| {
        let scope = Scope { target: Some(id), ..Scope::default() };
        (names::target(plan, id).to_owned(), scoped(record, scope, None, &record.holes))
    };
    Value::Object(names::target_ids(record).into_iter().map(block).collect())
}

fn agents(record: &RunRecord) -> Value {
    let us = |ns: f64| ns / 1e3;
    let agent = |(merged, known): (&squall_common::merge::AgentMerge, &super::AgentRecord)| {
        let health = &merged.health;
        let Ledger { planned, sent, skipped, completed, failed, cut_off } = merged.ledger;
        let limited = merged.limited.iter().map(|(interval, reason)| json!({"interval": interval, "reason": reason}));
        json!({
            "slot": merged.slot,
            "region": names::region(record, merged.region),
            "version": known.version,
            "workers": known.workers,
            "clock_offset_us": us(known.clock_offset_ns as f64),
            "clock_bound_us": us(known.clock_bound_ns as f64),
            "clock_exchanges": known.clock_exchanges,
            "first_send_skew_us": known.first_send_skew_ns.map(|ns| us(ns as f64)),
            "cpu": cpu_of(health),
            "throttled_us": health.cgroup_throttled_us,
            "worst_stall_us": health.worst_stall_us,
            "resident_bytes": health.resident_bytes,
            "access_tokens": access_tokens(health),
            "connections_opened": health.connections_opened,
            "intervals_received": merged.intervals_received,
            "intervals_expected": known.intervals_expected,
            "ledger": {
                "planned": planned, "sent": sent, "skipped": skipped,
                "completed": completed, "failed": failed, "cut_off": cut_off,
            },
            "ended_by": known.ended_by,
            "lost": known.lost,
            "limited": limited.collect::<Vec<_>>(),
        })
    };
    record.merge.agents().iter().zip(&record.agents).map(agent).collect()
}

/// What its targets' access tokens cost, off the requests' time; null where there are none.
fn access_tokens(health: &squall_common::interval::Health) -> Value {
    if health.tokens_fetched + health.tokens_failed == 0 {
        return Value::Null;
    }
    json!({"fetched": health.tokens_fetched, "failed": health.tokens_failed, "time_us": health.token_fetch_us})
}

/// CPU time of an agent's workers over the time they had, 0–1.
pub fn cpu_of(health: &squall_common::interval::Health) -> Option<f64> {
    let available = health.wall_us * u64::from(health.workers);
    (available > 0).then(|| health.worker_cpu_us as f64 / available as f64)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run};
    use super::*;
    use squall_common::verdict::Verdict;

    #[test]
    fn a_small_run_reads_as_documented() {
        let record = run(Setup { seconds: 8, error_one_in: 40, ..Setup::one_region() }).record;
        insta::assert_snapshot!(serde_json::to_string_pretty(&summary(&record)).unwrap());
    }

    #[test]
    fn parts_sum_to_the_whole() {
        let summary = summary(&run(Setup { error_one_in: 50, ..Setup::three_regions() }).record);
        for field in ["planned", "sent", "skipped", "completed", "failed", "cut_off"] {
            let whole = summary["coverage"][field].as_u64().unwrap();
            for parts in ["scenarios", "regions", "targets"] {
                let sum: u64 = summary[parts]
                    .as_object()
                    .unwrap()
                    .values()
                    .map(|part| part["coverage"][field].as_u64().unwrap())
                    .sum();
                assert_eq!(sum, whole, "{field} over {parts}");
            }
            let agents = summary["agents"].as_array().unwrap();
            assert_eq!(agents.iter().map(|agent| agent["ledger"][field].as_u64().unwrap()).sum::<u64>(), whole);
        }
        let completed = |part: &Value| part["completed"].as_u64().unwrap();
        for scenario in summary["scenarios"].as_object().unwrap().values() {
            let requests = scenario["requests"].as_object().unwrap().values();
            assert_eq!(
                requests.map(|request| completed(&request["coverage"])).sum::<u64>(),
                completed(&scenario["coverage"])
            );
        }
        let statuses = summary["status"].as_object().unwrap().values().map(|count| count.as_u64().unwrap());
        assert_eq!(statuses.sum::<u64>(), completed(&summary["coverage"]));
    }

    #[test]
    fn a_hole_stands_in_the_whole_and_in_its_region_only() {
        let record = run(Setup { lost: Some((2, 3)), ..Setup::three_regions() }).record;
        assert_eq!(record.verdict, Verdict::Invalid);
        let summary = summary(&record);
        assert_eq!(summary["coverage"]["ratio"], 0.75);
        assert_eq!(summary["exit_code"], 11);
        assert_eq!(summary["regions"]["gcp/europe-west4"]["coverage"]["holes"][0]["agent"], "agent-3");
        assert_eq!(summary["regions"]["azure/eastus"]["coverage"]["holes"], json!([]));
        assert_eq!(summary["regions"]["azure/eastus"]["coverage"]["ratio"], 1.0);
    }

    #[test]
    fn a_run_of_nothing_still_has_every_field() {
        let record =
            run(Setup { seconds: 0, aborted: Some("no agent was armed in time"), ..Setup::one_region() }).record;
        let summary = summary(&record);
        assert_eq!(summary["verdict"], "aborted");
        assert_eq!(summary["latency"]["response_time"]["count"], 0);
        assert_eq!(summary["throughput"]["sent_per_s"], 0.0);
        assert_eq!(summary["outcomes"], json!({"ok": 0}));
        assert_eq!(summary["agents"][0]["cpu"], Value::Null);
    }
}
