use super::*;
use crate::plan::*;
use std::time::Duration;

mod examples;
mod guide;
mod mistakes;
mod never_panics;
mod prompts;
mod quick;

fn source(text: &str) -> PlanSource {
    PlanSource { name: "plan.yaml".to_owned(), text: text.to_owned(), ..PlanSource::default() }
}

fn plan(text: &str) -> Plan {
    match load(&source(text)) {
        Ok(loaded) => loaded.plan,
        Err(problems) => panic!("{problems}"),
    }
}

fn with(text: &str, overrides: &[(&str, &str)]) -> Result<LoadedPlan, PlanProblems> {
    let overrides = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    load(&PlanSource { overrides, ..source(text) })
}

const SHORT: &str = include_str!("../../../tests/data/short-form.yaml");

#[test]
fn the_short_form_is_a_whole_plan() {
    let plan = with(SHORT, &[("target", "http://127.0.0.1:8080")]).unwrap().plan;
    let target = plan.target(TargetId(0));
    assert_eq!((target.scheme, target.host.as_str(), target.port), (Scheme::Http, "127.0.0.1", 8080));
    let step = &plan.scenarios[0].steps[0];
    assert_eq!(step.method, "POST");
    assert_eq!(step.path.as_literal().unwrap(), "/api/v1/order");
    assert_eq!(step.headers, [("content-type".to_owned(), Template::literal("application/json"))]);
    let BodyTemplate::Text(body) = &step.body else { panic!("{:?}", step.body) };
    assert_eq!(body.parts.len(), 3);
    assert_eq!(body.parts[1], Part::Dynamic(Dynamic::Int { min: 0, max: 1000 }));
    let phases = plan.loads[0].phases();
    let shape: Vec<_> = phases.iter().map(|p| (p.kind, p.from, p.to, p.duration.as_secs())).collect();
    assert_eq!(shape, [(PhaseKind::Ramp, 0.0, 100.0, 30), (PhaseKind::Hold, 100.0, 100.0, 300)]);
}

#[test]
fn the_short_form_without_a_host_says_so() {
    let problems = load(&source(SHORT)).unwrap_err();
    assert_eq!(problems.problems().len(), 1);
    assert!(problems.to_string().contains("--target"), "{problems}");
}

#[test]
fn a_rate_makes_the_short_form_open() {
    let plan = plan("url: http://h/x?a=b c\nrate: 500/s\nconcurrency: 20\nhold_for: 10s\n");
    let LoadModel::Open { max_in_flight, .. } = &plan.loads[0].model else { panic!("{:?}", plan.loads) };
    assert_eq!(*max_in_flight, Some(MaxInFlight { limit: 20, when_full: WhenFull::Wait }));
    assert_eq!(plan.loads[0].peak_rate(), Some(500.0));
    assert_eq!(plan.scenarios[0].steps[0].path.as_literal().unwrap(), "/x?a=b%20c");
}

#[test]
fn a_ramp_begins_where_the_phase_before_ended() {
    let plan = plan(
        "target: http://h\nload:\n  phases:\n    - ramp: {to: 10/s, over: 1s}\n    - hold: 10/s\n      for: 1s\n    - spike: 50/s\n      for: 1s\n      base: 20/s\n    - ramp: {to: 5/s, over: 1s}\n    - steps: {from: 1/s, by: 1/s, every: 1s, until: 3/s}\n",
    );
    let levels: Vec<_> = plan.loads[0].phases().iter().map(|phase| (phase.from, phase.to)).collect();
    assert_eq!(levels, [(0.0, 10.0), (10.0, 10.0), (50.0, 50.0), (20.0, 5.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]);
}

#[test]
fn percentages_become_the_smallest_weights() {
    let plan = plan(
        "target: http://h\nrate: 1/s\nhold_for: 1s\nfrom: {azure/eastus: 50%, azure/westeurope: 30%, aws/us-west-2: 20%}\n",
    );
    let weights: Vec<u32> = plan.loads[0].from.iter().map(|(_, weight)| *weight).collect();
    assert_eq!(weights, [5, 3, 2]);
}

#[test]
fn variables_columns_and_secrets_become_parts() {
    let text = r#"
target: http://h
feeders: {users: {rows: [{id: 1, name: a}]}}
rate: 1/s
hold_for: 1s
steps:
  - post: /login
    headers: {Authorization: "Bearer ${env:TOKEN}"}
    json: {user: "{{users.name}}", deep: [1, {x: null}]}
    extract: {session: {json: /session}}
  - get: /me/{{session}}
    query: {q: "a b&c", id: "{{users.id}}"}
"#;
    let plan = plan(text);
    let [login, me] = plan.scenarios[0].steps.as_slice() else { panic!() };
    assert_eq!(plan.secrets, [SecretSource::Environment("TOKEN".to_owned())]);
    assert_eq!(login.headers[0].1.parts[1], Part::Secret(SecretId(0)));
    assert_eq!(login.headers[1].0, "content-type");
    let BodyTemplate::Json(body) = &login.body else { panic!() };
    assert_eq!(body.parts[1], Part::Column(FeederId(0), 1));
    assert_eq!(body.parts[2], Part::Literal("\",\"deep\":[1,{\"x\":null}]}".into()));
    assert_eq!(
        me.path.parts,
        [
            Part::Literal("/me/".into()),
            Part::Variable(VarId(0)),
            Part::Literal("?q=a%20b%26c&id=".into()),
            Part::Column(FeederId(0), 0)
        ]
    );
}

#[test]
fn slo_lines_are_typed_with_their_scope() {
    let text = "targets: {a: {url: http://h, region: azure/eastus}}\nscenarios: {buy: {get: /}}\nload: {users: 1, for: 1s}\nslo:\n  - p99.9(service_time) <= 1.5s for buy in region azure/eastus in steady state\n  - error_rate < 0.1%\n  - throughput > 100/s\n";
    let slos = plan(text).slos;
    assert_eq!(
        slos[0].quantity,
        Quantity::Latency { statistic: Statistic::Percentile(99.9), metric: Metric::ServiceTime }
    );
    assert_eq!((slos[0].comparison, slos[0].limit), (Comparison::AtMost, 1_500_000.0));
    assert_eq!(slos[0].scope.scenario, Some(ScenarioId(0)));
    assert_eq!(slos[0].scope.region, Some(Region::new("azure/eastus").unwrap()));
    assert!(slos[0].scope.steady_state);
    assert_eq!((slos[1].limit, slos[2].limit), (0.001, 100.0));
}

#[test]
fn set_changes_vars_and_any_key() {
    let text = "vars: {peak: 10/s}\ntargets: {a: http://h, b: {url: http://i}}\nload: {rate: \"{{peak}}\", for: 1s}\nscenarios: {buy: {get: /, load: {users: 5, for: 1s}}, see: {get: /}}\nslo: [error_rate < 1%]\n";
    let changed = with(
        text,
        &[
            ("peak", "20/s"),
            ("load.max_in_flight.limit", "7"),
            ("scenarios.buy.load.users", "6"),
            ("targets.a.url", "http://other:81"),
            ("slo.0", "error_rate < 2%"),
            ("drain", "5s"),
        ],
    );
    let plan = changed.map_err(|problems| problems.to_string()).unwrap().plan;
    assert_eq!(plan.loads[1].peak_rate(), Some(20.0));
    assert_eq!(plan.loads[0].peak_users(), Some(6));
    assert_eq!(plan.targets[0].authority(), "other:81");
    assert_eq!(plan.slos[0].limit, 0.02);
    assert_eq!(plan.drain, Duration::from_secs(5));
}

#[test]
fn json_bodies_keep_their_types_when_resolved() {
    let text = "target: http://h\nrate: 1/s\nhold_for: 1s\nmethod: POST\njson: {a: -5, b: .5, c: '7', d: ~, e: 'true', f: false, g: 'a: b', '': ' x', 'y: z': 1e3}\n";
    let loaded = load(&source(text)).unwrap();
    let BodyTemplate::Json(body) = &loaded.plan.scenarios[0].steps[0].body else { panic!() };
    let body = body.as_literal().unwrap();
    assert_eq!(body, r#"{"a":-5,"b":0.5,"c":"7","d":null,"e":"true","f":false,"g":"a: b","":" x","y: z":1000.0}"#);
    assert_eq!(plan(&loaded.resolved_yaml), loaded.plan);
}

#[test]
fn merge_keys_and_aliases_are_followed() {
    let plan =
        plan("target: http://h\nscenarios:\n  a: &a {get: /a, load: {users: 1, for: 1s}}\n  b: {<<: *a, get: /b}\n");
    assert_eq!(plan.scenarios[1].steps[0].name, "GET /b");
    assert_eq!(plan.loads.len(), 2);
}

#[test]
fn kept_errors_are_off_unless_asked_for_and_a_number_is_short_for_a_map() {
    let keep = |text: &str| {
        let plan = format!("target: http://h\nconcurrency: 1\nhold_for: 1s\n{text}\n");
        let loaded = load(&source(&plan)).unwrap();
        (loaded.plan.keep_errors, loaded.plan.secrets, loaded.warnings.len())
    };
    let plain = KeepErrors { per_target: 7, body_bytes: 0, pseudonymise: None };
    assert_eq!(keep(""), (None, vec![], 0));
    assert_eq!(keep("keep_errors: 7"), (Some(plain), vec![], 0));
    assert_eq!(keep("keep_errors: {per_target: 7}"), (Some(plain), vec![], 0));
    // Bodies as they are: that is said.
    assert_eq!(keep("keep_errors: {body_bytes: 9}").2, 1);
    let hashed = KeepErrors { per_target: 20, body_bytes: 9, pseudonymise: Some(Pseudonyms::Random) };
    assert_eq!(keep("keep_errors: {body_bytes: 9, pseudonymise: true}"), (Some(hashed), vec![], 0));
    let keyed = KeepErrors { pseudonymise: Some(Pseudonyms::Keyed(SecretId(0))), ..hashed };
    let key = SecretSource::File("/k".to_owned());
    assert_eq!(
        keep("keep_errors: {body_bytes: 9, pseudonymise: true, key: '${file:/k}'}"),
        (Some(keyed), vec![key], 0)
    );
}
