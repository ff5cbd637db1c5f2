//! PLACEHOLDER for the plan's parser, to be deleted: reads JSON
//! `{"rate":_,"for_s":_,"drain_s":_,"from":[..],"slo_error_rate":_}`.

use serde_json::Value;
use squall_common::plan::*;
use squall_proto::PlanBundle;
use std::time::Duration;

pub struct LoadedPlan {
    pub plan: Plan,
    pub resolved_yaml: String,
    pub warnings: Vec<String>,
}

pub fn referenced_files(_: &PlanBundle) -> Vec<String> {
    Vec::new()
}

pub fn load_source(bundle: &PlanBundle) -> Result<LoadedPlan, String> {
    let value: Value = serde_json::from_str(&bundle.plan_text).map_err(|error| error.to_string())?;
    let number = |key: &str, default: f64| value.get(key).and_then(Value::as_f64).unwrap_or(default);
    let seconds = number("for_s", 2.0);
    let rate = number("rate", 10.0);
    let from = value.get("from").and_then(Value::as_array).cloned().unwrap_or_default();
    let from = from.iter().filter_map(Value::as_str).filter_map(|name| Some((Region::new(name).ok()?, 1))).collect();
    let phases = vec![Phase {
        name: "hold".into(),
        kind: PhaseKind::Hold,
        from: rate,
        to: rate,
        duration: Duration::from_secs_f64(seconds),
    }];
    let target = Target {
        name: "host".into(),
        scheme: Scheme::Http,
        host: "127.0.0.1".into(),
        port: 1,
        base_path: String::new(),
        region: None,
        weight: 1,
        headers: vec![],
        http: HttpVersion::Auto,
        tls: TlsPolicy::default(),
        connections: ConnectionPolicy::default(),
        dns: DnsPolicy::default(),
        proxy_from_environment: false,
        redirects: Redirects::Off,
        accept_encoding: vec![],
    };
    let step = Step {
        name: "get".into(),
        tags: vec![],
        target: None,
        method: "GET".into(),
        path: Template::literal("/"),
        headers: vec![],
        body: BodyTemplate::None,
        timeout: Duration::from_secs(5),
        checks: vec![],
        extracts: vec![],
        think: None,
    };
    let scenario =
        Scenario { name: "get".into(), tags: vec![], targets: vec![(TargetId(0), 1)], steps: vec![step], cookies: false };
    let load = Load {
        name: "main".into(),
        drives: vec![(ScenarioId(0), 1)],
        model: LoadModel::Open { arrivals: Arrivals::Uniform, phases, max_in_flight: None },
        from,
    };
    let plan = Plan {
        name: "placeholder".into(),
        seed: 1,
        tags: vec![],
        targets: vec![target],
        feeders: vec![],
        variables: vec![],
        secrets: vec![],
        scenarios: vec![scenario],
        loads: vec![load],
        slos: vec![],
        warm_up: Duration::ZERO,
        drain: Duration::from_secs_f64(number("drain_s", 1.0)),
        sample_log: false,
    };
    Ok(LoadedPlan { plan, resolved_yaml: bundle.plan_text.clone(), warnings: vec![] })
}
