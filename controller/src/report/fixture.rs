//! Runs to report on, made by feeding snapshots of seeded samples to the merge.

use super::{AgentRecord, RunRecord};
use squall_common::interval::{FlowKey, Health, IntervalSnapshot, SeriesKey, SkipReason};
use squall_common::merge::{Accepted, AgentIndex, Frame, RunMerge};
use squall_common::plan::{
    Arrivals, BodyTemplate, Comparison, ConnectionPolicy, DnsPolicy, HttpVersion, Load, LoadModel, Metric, OnAgentLoss,
    Phase, PhaseKind, Plan, Quantity, Redirects, Region, Scenario, ScenarioId, Scheme, Slo, SloScope, StartWhen,
    Statistic, Step, StepId, Target, TargetId, Template, TlsPolicy,
};
use squall_common::random::Random;
use squall_common::sample::{Outcome, PhaseTimes, Sample};
use squall_common::slo::judge;
use squall_common::verdict::{Evidence, Hole};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) fn region(text: &str) -> Region {
    Region::new(text).unwrap()
}

pub(crate) fn target(name: &str) -> Target {
    Target {
        name: name.to_owned(),
        scheme: Scheme::Https,
        host: format!("{name}.shop.example"),
        port: 443,
        base_path: "/v2".to_owned(),
        region: None,
        weight: 1,
        headers: Vec::new(),
        http: HttpVersion::Auto,
        tls: TlsPolicy::default(),
        connections: ConnectionPolicy::default(),
        dns: DnsPolicy::default(),
        proxy_from_environment: false,
        redirects: Redirects::Off,
        accept_encoding: Vec::new(),
        endpoint: squall_common::plan::Endpoint::OpenAi { model: None },
    }
}

pub(crate) fn scenario(name: &str, steps: &[&str], targets: u16) -> Scenario {
    let step = |name: &&str| Step {
        name: (*name).to_owned(),
        tags: Vec::new(),
        target: None,
        method: "GET".to_owned(),
        path: Template::literal(format!("/{name}")),
        headers: Vec::new(),
        body: BodyTemplate::None,
        timeout: Duration::from_secs(10),
        checks: Vec::new(),
        extracts: Vec::new(),
        think: None,
        model_call: None,
    };
    Scenario {
        name: name.to_owned(),
        tags: Vec::new(),
        targets: (0..targets).map(|target| (TargetId(target), 1)).collect(),
        steps: steps.iter().map(step).collect(),
        cookies: false,
    }
}

pub(crate) fn phase(name: &str, kind: PhaseKind, from: f64, to: f64, seconds: u64) -> Phase {
    Phase { name: name.to_owned(), kind, from, to, duration: Duration::from_secs(seconds) }
}

pub(crate) fn p99_below_us(text: &str, limit: f64) -> Slo {
    Slo {
        text: text.to_owned(),
        quantity: Quantity::Latency { statistic: Statistic::Percentile(99.0), metric: Metric::ResponseTime },
        comparison: Comparison::Below,
        limit,
        scope: SloScope::default(),
    }
}

pub(crate) fn error_rate_below(text: &str, limit: f64) -> Slo {
    Slo { quantity: Quantity::ErrorRate, ..p99_below_us(text, limit) }
}

pub(crate) fn plan(scenarios: Vec<Scenario>, targets: &[&str], slos: Vec<Slo>) -> Plan {
    let drives = (0..scenarios.len() as u16).map(|id| (ScenarioId(id), 1)).collect();
    let phases = vec![phase("ramp", PhaseKind::Ramp, 10.0, 100.0, 4), phase("hold", PhaseKind::Hold, 100.0, 100.0, 8)];
    Plan {
        name: "checkout-peak".to_owned(),
        seed: 7,
        tags: Vec::new(),
        targets: targets.iter().map(|name| target(name)).collect(),
        prompts: vec![],
        feeders: Vec::new(),
        variables: Vec::new(),
        secrets: Vec::new(),
        scenarios,
        loads: vec![Load {
            name: "checkout".to_owned(),
            drives,
            model: LoadModel::Open { arrivals: Arrivals::Uniform, phases, max_in_flight: None },
            from: Vec::new(),
        }],
        slos,
        warm_up: Duration::from_secs(5),
        drain: Duration::from_secs(5),
        on_agent_loss: OnAgentLoss::Fail,
        min_agents: 1,
        start_when: StartWhen::default(),
        sample_log: false,
        keep_errors: None,
    }
}

/// A run to make: one in `error_one_in` requests is not ok (0: none), and from
/// `stall_from` on requests wait for `stall` before they are sent.
pub(crate) struct Setup {
    pub plan: Plan,
    pub agents: Vec<(&'static str, &'static str)>,
    pub seconds: u32,
    pub per_second: u64,
    pub error_one_in: u64,
    pub stall_us: u64,
    pub lost: Option<(usize, u32)>,
    pub aborted: Option<&'static str>,
    pub warnings: Vec<&'static str>,
}

impl Setup {
    pub(crate) fn one_region() -> Self {
        let slos =
            vec![p99_below_us("p99(response_time) < 250ms", 250_000.0), error_rate_below("error_rate < 1%", 0.01)];
        Self {
            plan: plan(vec![scenario("browse", &["list"], 1)], &["shop"], slos),
            agents: vec![("agent-1", "azure/eastus")],
            seconds: 12,
            per_second: 60,
            error_one_in: 0,
            stall_us: 0,
            lost: None,
            aborted: None,
            warnings: Vec::new(),
        }
    }

    pub(crate) fn three_regions() -> Self {
        let scenarios =
            vec![scenario("browse", &["list", "detail"], 2), scenario("checkout", &["add to cart", "pay"], 2)];
        let slos = vec![
            p99_below_us("p99(response_time) < 250ms", 250_000.0),
            error_rate_below("error_rate < 0.1% over all regions and scenarios of the plan", 0.001),
        ];
        Self {
            plan: plan(scenarios, &["shop-eastus", "shop-westeurope"], slos),
            agents: vec![("agent-1", "azure/eastus"), ("agent-2", "aws/us-west-2"), ("agent-3", "gcp/europe-west4")],
            per_second: 40,
            ..Self::one_region()
        }
    }
}

/// A finished run and its intervals.
pub(crate) struct Run {
    pub record: RunRecord,
    pub frames: Vec<Frame>,
}

pub(crate) fn run(setup: Setup) -> Run {
    let plan = Arc::new(setup.plan.clone());
    let agents: Vec<_> = setup.agents.iter().map(|(slot, at)| ((*slot).to_owned(), region(at))).collect();
    let mut merge = RunMerge::new(Arc::clone(&plan), &agents);
    let mut frames = Vec::new();
    for interval in 0..setup.seconds {
        let mut frame = Frame { interval, ..Frame::default() };
        for (index, (slot, at)) in agents.iter().enumerate() {
            if setup.lost.is_some_and(|(lost, from)| lost == index && interval >= from) {
                continue;
            }
            let snapshot = snapshot(&setup, interval, index);
            assert_eq!(merge.accept(AgentIndex(index), u64::from(interval) + 1, &snapshot), Accepted::Merged);
            frame.add(slot, merge.region_index(at).unwrap(), &snapshot);
        }
        frames.push(frame);
    }
    Run { record: judged(setup, plan, merge), frames }
}

fn judged(setup: Setup, plan: Arc<Plan>, merge: RunMerge) -> RunRecord {
    let load_time = Duration::from_secs(setup.seconds.into());
    let judgements = judge(&merge, load_time);
    let holes: Vec<Hole> = setup
        .lost
        .map(|(index, from)| Hole {
            agent: setup.agents[index].0.to_owned(),
            region: setup.agents[index].1.to_owned(),
            first_interval: from,
            last_interval: None,
            reason: "no sign of life for 10 s".to_owned(),
            noticed_s: Some(f64::from(from) + 10.0),
        })
        .into_iter()
        .collect();
    let evidence = Evidence {
        aborted: setup.aborted.map(str::to_owned),
        holes: holes.clone(),
        judgements: judgements.clone(),
        ..Evidence::default()
    };
    let (verdict, reasons) = evidence.verdict();
    let agents = setup.agents.iter().enumerate().map(|(index, (slot, region))| AgentRecord {
        slot: (*slot).to_owned(),
        region: (*region).to_owned(),
        version: "0.1.0".to_owned(),
        workers: 2,
        clock_offset_ns: 41_300 - 50_000 * index as i64,
        clock_bound_ns: 90_000,
        clock_exchanges: 8,
        first_send_skew_ns: Some(15_200),
        intervals_expected: setup.seconds.into(),
        ended_by: if setup.aborted.is_some() { "stopped" } else { "schedule" }.to_owned(),
        lost: setup.lost.filter(|(lost, _)| *lost == index).map(|_| "no sign of life for 10 s".to_owned()),
    });
    RunRecord {
        run_id: "01JD5T3E9ZQ4W1V8K2M6R7B0XN".to_owned(),
        started_at: UNIX_EPOCH + Duration::from_millis(1_767_225_600_250),
        duration: load_time + Duration::from_millis(412),
        load_time,
        planned_time: plan.offered_for(),
        resolved_yaml: "name: checkout-peak\n".to_owned(),
        planned_by_plan: None,
        verdict,
        reasons,
        judgements,
        holes,
        agents: agents.collect(),
        warnings: setup.warnings.iter().map(|&text| text.to_owned()).collect(),
        transport: crate::identity::transport::Transport::InProcess,
        merge,
    }
}

fn snapshot(setup: &Setup, interval: u32, agent: usize) -> IntervalSnapshot {
    let mut random = Random::at(setup.plan.seed, &[interval.into(), agent as u64]);
    let mut snapshot = IntervalSnapshot::of(interval);
    for number in 0..setup.per_second {
        let scenario = ScenarioId((number % setup.plan.scenarios.len() as u64) as u16);
        let described = setup.plan.scenario(scenario);
        let step = StepId(random.below(described.steps.len() as u64) as u16);
        let target = described.targets[random.below(described.targets.len() as u64) as usize].0;
        let key = FlowKey { scenario, step, target };
        let flow = snapshot.flows.entry(key).or_default();
        flow.planned += 1;
        if setup.aborted.is_some() && interval + 1 == setup.seconds && number % 4 == 0 {
            flow.skipped[SkipReason::Ended as usize] += 1;
            continue;
        }
        flow.sent += 1;
        flow.iterations_started += 1;
        let sample = sample(setup, &mut random, key);
        flow.iterations_completed += u64::from(sample.outcome.is_ok());
        let key = SeriesKey { flow: key, class: sample.outcome.class() };
        snapshot.series.entry(key).or_default().record(&sample);
    }
    snapshot.health = Health {
        wall_us: 1_000_000,
        worker_cpu_us: 240_000,
        workers: 2,
        worst_stall_us: 180,
        in_flight: 3,
        connections: 4,
        resident_bytes: 21_000_000,
        ..Health::default()
    };
    snapshot
}

fn sample(setup: &Setup, random: &mut Random, key: FlowKey) -> Sample {
    let service_us = 9_000 + (4_000.0 * random.exponential()) as u64 + 3_000 * u64::from(key.step.0);
    let lag_us = 20 + random.below(60) + if random.below(10) == 0 { setup.stall_us } else { 0 };
    let wrong = setup.error_one_in > 0 && random.below(setup.error_one_in) == 0;
    let (outcome, status) = match (wrong, random.below(3)) {
        (false, _) => (Outcome::Ok, Some(if key.step.0 == 1 { 201 } else { 200 })),
        (true, 0) => (Outcome::HttpServerError, Some(503)),
        (true, 1) => (Outcome::Throttled, Some(429)),
        (true, _) => (Outcome::TimeoutFirstByte, None),
    };
    let sent_ns = 1_000 * lag_us;
    Sample {
        scenario: key.scenario,
        step: key.step,
        target: key.target,
        intended_ns: 0,
        sent_ns: Some(sent_ns),
        done_ns: sent_ns + 1_000 * service_us,
        outcome,
        status,
        phases: PhaseTimes {
            connect_us: (random.below(50) == 0).then(|| 900 + random.below(400)),
            write_us: Some(10 + random.below(20)),
            wait_us: Some(service_us - 60),
            receive_us: Some(20 + random.below(30)),
            rtt_us: Some(800 + random.below(90)),
            ..PhaseTimes::default()
        },
        bytes_sent: 412,
        bytes_received: 5_300 + random.below(400),
        body_bytes: 5_000,
        decoded_body_bytes: 5_000,
    }
}
