//! What a person gets wrong, and what they are told.

use super::*;

/// The short form with `text` in place of its load.
fn short(text: &str) -> String {
    format!("target: http://h\nrate: 1/s\nhold_for: 10s\n{text}\n")
}

fn full(text: &str) -> String {
    format!("targets: {{shop: http://h}}\nload: {{users: 1, for: 10s}}\nscenarios: {{buy: {{get: /}}}}\n{text}\n")
}

fn loaded(text: &str) -> String {
    format!("target: http://h\nload: {text}\n")
}

fn step(text: &str) -> String {
    format!("target: http://h\nrate: 1/s\nhold_for: 10s\nsteps:\n  - {text}\n")
}

fn slo(text: &str) -> String {
    full(&format!("slo:\n  - {text}"))
}

/// The plans themselves would drown the snapshot's header.
fn snapshot(name: &str, said: String) {
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(name, said) });
}

fn told(texts: &[(&str, String)]) -> String {
    let mut all = String::new();
    for (what, text) in texts {
        let said = match load(&source(text)) {
            Ok(loaded) if loaded.warnings.is_empty() => panic!("nothing is said about {what}"),
            Ok(loaded) => ShowWarnings { name: "plan.yaml", text, warnings: &loaded.warnings }.to_string(),
            Err(problems) => problems.to_string(),
        };
        all += &format!("## {what}\n{said}\n\n");
    }
    all
}

#[test]
fn about_yaml_and_keys() {
    snapshot(
        "about_yaml_and_keys",
        told(&[
            ("an empty plan", String::new()),
            ("not a map", "- a\n- b\n".into()),
            ("broken YAML", "load: {users: 1\nname: x\n".into()),
            ("a tab", "load:\n\tusers: 1\n".into()),
            ("two documents", short("---\na: b")),
            ("a duplicate key", short("seed: 1\nseed: 2")),
            ("an unquoted template", short("name: {{x}}")),
            ("a misspelt key", "concurency: 100\nhold_for: 5m\nurl: http://h/\n".into()),
            ("a key from nowhere", full("colour: red")),
            ("a key without a value", full("seed:")),
            ("a list where a text belongs", short("name: [a, b]")),
            ("a text where a map belongs", short("headers: none")),
            ("a word that is no choice", short("arrivals: possion")),
            ("a boolean that is none", short("sample_log: yes")),
        ]),
    );
}

#[test]
fn about_quantities_and_loads() {
    snapshot(
        "about_quantities_and_loads",
        told(&[
            ("a duration without a unit", "target: http://h\nconcurrency: 1\nhold_for: 30\n".into()),
            ("a rate without a unit", loaded("{rate: 500, for: 30s}")),
            ("no time at all", loaded("{users: 5, for: 0s}")),
            ("no users", loaded("{users: 0, for: 1s}")),
            ("too many users", loaded("{users: 2M, for: 1s}")),
            ("too high a rate", loaded("{rate: 20M/s, for: 1s}")),
            ("no length", loaded("{users: 5}")),
            ("no level", loaded("{for: 5s}")),
            ("users and a rate", loaded("{users: 5, rate: 5/s, for: 5s}")),
            ("a rate of 0", loaded("{phases: [{hold: 0/s, for: 5s}, {hold: 5/s, for: 5s}]}")),
            ("users and rates mixed", loaded("{phases: [{hold: 5, for: 5s}, {hold: 5/s, for: 5s}]}")),
            ("a model that does not fit", loaded("{model: closed, rate: 5/s, for: 5s}")),
            ("a hold without a length", loaded("{phases: [{hold: 5}]}")),
            ("a ramp to nowhere", loaded("{phases: [{ramp: {over: 5s}}]}")),
            ("for on a ramp", loaded("{phases: [{ramp: {to: 5, over: 5s}, for: 5s}]}")),
            ("two phases in one", loaded("{phases: [{pause: 1s, spike: 5/s, for: 1s}]}")),
            ("pacing of arrivals", loaded("{rate: 5/s, for: 5s, pacing: 1s}")),
            ("poisson users", loaded("{users: 5, for: 5s, arrivals: poisson}")),
            ("a rate for iterations", loaded("{rate: 5/s, iterations: 10}")),
            ("fewer iterations than users", loaded("{users: 5, iterations: 2}")),
            ("phases and users", loaded("{users: 5, phases: [{hold: 5, for: 1s}]}")),
            ("a warm-up as long as the run", short("warm_up: 10s")),
            ("percentages that do not add up", short("from: {a/b: 50%, a/c: 30%}")),
            ("a region that is none", short("from: {Azure East: 100%}")),
            ("a scenario without load", "target: http://h\nscenarios: {a: {get: /}}\n".into()),
        ]),
    );
}

#[test]
fn about_kept_errors() {
    snapshot(
        "about_kept_errors",
        told(&[
            ("none to keep", short("keep_errors: 0")),
            ("too many", short("keep_errors: 5000")),
            ("neither a number nor a map", short("keep_errors: yes")),
            ("a misspelt key", short("keep_errors: {pseudonymize: true}")),
            ("too much of a body", short("keep_errors: {body_bytes: 1M}")),
            ("nothing to pseudonymise", short("keep_errors: {pseudonymise: true}")),
            ("a key without pseudonyms", short("keep_errors: {body_bytes: 64, key: '${env:KEY}'}")),
            ("a key in the plan", short("keep_errors: {body_bytes: 64, pseudonymise: true, key: hush}")),
            (
                "a key with words around it",
                short("keep_errors: {body_bytes: 64, pseudonymise: true, key: 'a${env:K}'}"),
            ),
        ]),
    );
}

#[test]
fn about_targets() {
    let target = |text: &str| full("").replace("shop: http://h", &format!("shop: {text}"));
    snapshot(
        "about_targets",
        told(&[
            ("no scheme", target("shop.example")),
            ("another scheme", target("ftp://h")),
            ("a password", target("http://u:p@h")),
            ("a fragment", target("\"http://h/#x\"")),
            ("a port out of range", target("http://h:70000")),
            ("no url", target("{region: a/b}")),
            ("tls on http", target("{url: http://h, tls: {insecure: true}}")),
            ("a key without a certificate", target("{url: https://h, tls: {client_key: /k}}")),
            ("a missing file", target("{url: https://h, tls: {ca: ca.pem}}")),
            ("weight 0", target("{url: http://h, weight: 0}")),
            ("an address that is none", target("{url: http://h, connections: {source_addresses: [here]}}")),
            ("no target at all", "rate: 1/s\nhold_for: 1s\nurl: /x\n".into()),
            ("a scenario's unknown target", full("").replace("get: /", "get: /, target: shpo")),
            ("both target and targets", full("target: http://h")),
            ("the short form beside scenarios", full("url: /x\nconcurrency: 4")),
        ]),
    );
}

#[test]
fn about_requests() {
    snapshot(
        "about_requests",
        told(&[
            ("no path", step("name: x")),
            ("a path without a slash", step("get: orders")),
            ("a whole URL", step("get: http://h/orders")),
            ("two paths", step("{get: /a, post: /b}")),
            ("a method that is none", step("{method: 'GE T', url: /}")),
            ("two bodies", step("{post: /, body: x, json: {a: 1}}")),
            ("a header that is none", step("{get: /, headers: {'bad name': x}}")),
            ("a header twice", step("{get: /, headers: {Accept: x, accept: y}}")),
            ("a length by hand", step("{get: /, headers: {Content-Length: 5}}")),
            ("a secret in the clear", step("{get: /, headers: {Authorization: Bearer abc}}")),
            ("a secret in the path", step("get: /${env:KEY}")),
            ("an unknown dynamic value", step("get: /{{$randomFristName}}")),
            ("bounds the wrong way", step("get: /{{$randomInt 9 1}}")),
            ("an open template", step("'get': '/{{name'")),
            ("an unknown variable", step("get: /a\n    extract: {token: {json: /t}}\n  - get: /b/{{tokne}}")),
            ("a variable used too early", step("get: /{{token}}\n  - get: /b\n    extract: {token: {json: /t}}")),
            ("a forgotten dollar", step("get: /{{randomInt}}")),
            ("a status that is none", step("{get: /, checks: [{status: 2000}]}")),
            ("a template in a check", step("{get: /, checks: [{body_contains: 'x{{id}}'}]}")),
            ("two checks in one", step("{get: /, checks: [{status: 200, body_contains: x}]}")),
            ("a pointer that is none", step("{get: /, extract: {a: {json: '$.items[0].id'}}}")),
            ("a regex that does not compile", step("{get: /, extract: {a: {regex: '(x'}}}")),
            ("a think time upside down", step("{get: /, think_time: {between: [3s, 1s]}}")),
            ("two steps of one name", step("{get: /, name: a}\n  - {get: /b, name: a}")),
        ]),
    );
}

#[test]
fn about_prompts() {
    let prompts = |text: &str| short(&format!("prompts: {{p: {text}}}"));
    snapshot(
        "about_prompts",
        told(&[
            ("a name that is none", short("prompts: {1st: {texts: [a]}}")),
            ("no source", prompts("{order: random}")),
            ("two sources", prompts("{texts: [a], tokens: 5}")),
            ("a file that is missing", prompts("chats.jsonl")),
            ("a trace and a tokenizer that are missing", prompts("{trace: azure.csv, tokenizer: llama.json}")),
            ("a key of another source", prompts("{texts: [a], speed: 2}")),
            ("a misspelt key", prompts("{tokns: 5}")),
            ("a role that is none", prompts("{messages: [{role: human, content: a}]}")),
            ("nobody asks", prompts("{messages: [{role: system, content: a}]}")),
            ("a message without content", prompts("{messages: [{role: user}, {content: a}]}")),
            ("no text", prompts("{texts: []}")),
            ("no tokens", prompts("{tokens: 0}")),
            ("too many tokens", prompts("{tokens: {min: 1, max: 5M}}")),
            ("bounds the wrong way", prompts("{tokens: {min: 9, max: 3}}")),
            ("half a distribution", prompts("{tokens: {mean: 9}}")),
            ("a misspelt figure", prompts("{tokens: {meen: 9, stddev: 2}}")),
            ("two distributions", prompts("{tokens: {mean: 9, stddev: 2, p50: 9, p99: 20}}")),
            ("percentiles the wrong way", prompts("{tokens: {p50: 90, p99: 20}}")),
            ("bounds beside the middle", prompts("{tokens: {mean: 100, stddev: 5, max: 50}}")),
            ("a shape of percentiles", prompts("{tokens: {p50: 9, p99: 20, shape: normal}}")),
            ("a histogram of nothing", prompts("{tokens: {histogram: []}}")),
            ("a bar without a length", prompts("{tokens: {histogram: [{weight: 2}]}}")),
            ("a prefix without a length", prompts("{tokens: 5, prefix: {count: 3}}")),
            ("an exponent that is none", prompts("{tokens: 5, prefix: {tokens: 3, zipf: steep}}")),
            ("too steep", prompts("{tokens: 5, prefix: {tokens: 3, zipf: 99}}")),
            ("a trace that stands still", prompts("{trace: t.csv, speed: 0}")),
            ("an output of a trace", prompts("{trace: t.csv, output: 5}")),
            ("a recorded answer to nothing", prompts("{tokens: 5, output: recorded}")),
        ]),
    );
}

#[test]
fn about_feeders_and_slos() {
    snapshot(
        "about_feeders_and_slos",
        told(&[
            ("an unknown column", short("feeders: {u: {rows: [{id: 1}]}}\nurl: /{{u.di}}")),
            ("rows of different columns", short("feeders: {u: {rows: [{id: 1}, {name: x}]}}")),
            ("no rows", short("feeders: {u: {order: random}}")),
            ("a file that is missing", short("feeders: {u: users.csv}")),
            ("too few unique rows", short("feeders: {u: {rows: [{id: 1}], order: unique}}\nurl: /{{u.id}}")),
            ("an unknown metric", slo("p99(reponse_time) < 250ms")),
            ("a metric without a statistic", slo("response_time < 250ms")),
            ("an unknown statistic", slo("avg(response_time) < 250ms")),
            ("p100", slo("p100(response_time) < 250ms")),
            ("a limit without a unit", slo("p99(response_time) < 250")),
            ("an error rate without a unit", slo("error_rate < 1")),
            ("nothing compared", slo("p99(response_time)")),
            ("another grammar", slo("error_rate < 0.1% over 10s, else stop")),
            ("an unknown scenario", slo("error_rate < 1% for byu")),
            ("a var that is not used", full("vars: {peak: 1}")),
        ]),
    );
}

#[test]
fn several_in_one_plan_are_told_together() {
    snapshot("several_in_one_plan_are_told_together", told(&[(
        "a plan with much wrong",
        "name: many\nvars: {limit: 250}\ntargets:\n  shop: {url: shop.example, regon: azure/eastus}\nload:\n  phases:\n    - ramp: {from: 1/s, to: 50, over: 30}\nscenarios:\n  buy:\n    steps:\n      - get: orders\n        headers: {Content-Length: 3}\n      - post: /orders/{{id}}\n        json: {name: \"{{$randomFulName}}\"}\nslo:\n  - p99(response_time) < {{limit}} for by\n".into(),
    )]));
}

#[test]
fn about_the_command_line() {
    let text = full("vars: {peak: 1}\nname: 'x{{peak}}'");
    let said: Vec<String> = [
        ("peek", "2"),
        ("load.user", "3"),
        ("load", "3"),
        ("load.users", "many"),
        ("scenarios.by.weight", "3"),
        ("slo.3", "error_rate < 1%"),
        ("target", "h:80"),
    ]
    .iter()
    .map(|one| with(&text, &[*one]).unwrap_err().to_string())
    .collect();
    snapshot("about_the_command_line", said.join("\n\n"));
}

fn model(target: &str, scenario: &str) -> String {
    format!("targets: {{m: {target}}}\nload: {{users: 1, for: 10s}}\nscenarios:\n  ask: {scenario}\n")
}

#[test]
fn about_models() {
    const OPENAI: &str = "{url: 'http://h', model: tiny}";
    let asked = |call: &str| model(OPENAI, call);
    snapshot(
        "about_models",
        told(&[
            ("nothing to say", asked("{chat: {stream: true}}")),
            ("no messages", asked("{chat: {messages: []}}")),
            ("messages that are a text", asked("{chat: {messages: hello}}")),
            ("nothing at all", asked("{chat: [a]}")),
            ("two calls", asked("{chat: hello, embeddings: hello}")),
            ("a call and a path", asked("{chat: hello, get: /}")),
            ("streamed embeddings", asked("{embeddings: {input: a, stream: true}}")),
            ("a stream that may be", asked("{chat: {messages: [{role: user, content: a}], stream: maybe}}")),
            ("no model", model("http://h", "{chat: hello}")),
            ("no deployment", model("{url: 'http://h', api: azure}", "{chat: hello}")),
            ("a model on Azure", model("{url: 'http://h', deployment: d, model: m}", "{chat: hello}")),
            ("a version without Azure", model("{url: 'http://h', model: m, api_version: v1}", "{chat: hello}")),
            ("a deployment with a path", model("{url: 'http://h', deployment: a/b}", "{chat: hello}")),
            (
                "a compressed stream",
                model(
                    "{url: 'http://h', model: m, accept_encoding: [gzip]}",
                    "{chat: {messages: [{role: user, content: a}], stream: true}}",
                ),
            ),
            (
                "two ways in",
                model("{url: 'http://h', model: m, auth: {api_key: '${env:A}', bearer: '${env:B}'}}", "{chat: a}"),
            ),
            ("an application without anything", model("{url: 'http://h', model: m, auth: {entra: {}}}", "{chat: a}")),
            (
                "a secret that is none",
                model(
                    "{url: 'http://h', model: m, auth: {entra: {tenant: t, client_id: c, client_secret: abc}}}",
                    "{chat: a}",
                ),
            ),
            (
                "a token over plain text",
                model(
                    "{url: 'http://h', model: m, auth: {entra: {tenant: t, client_id: c, client_secret: '${env:S}', authority: 'http://login.test'}}}",
                    "{chat: a}",
                ),
            ),
            (
                "prompts that are not there",
                format!("prompts: {{short: {{texts: [a]}}}}\n{}", asked("{chat: {prompts: shrt}}")),
            ),
            (
                "prompts and messages",
                format!(
                    "prompts: {{short: {{texts: [a]}}}}\n{}",
                    asked("{chat: {prompts: short, messages: [{role: user, content: a}]}}"),
                ),
            ),
            ("prompts that nothing asks", format!("prompts: {{short: {{texts: [a]}}}}\n{}", asked("{chat: a}"))),
            ("a way in that says nothing", model("{url: 'http://h', model: m, auth: {}}", "{chat: a}")),
            ("a key in the plan", model("{url: 'http://h', model: m, auth: {api_key: abc}}", "{chat: a}")),
            ("goodput of something else", asked("{chat: a, goodput: [ttfb < 1s]}")),
            ("goodput without a limit", asked("{chat: a, goodput: [ttft]}")),
            ("goodput without a unit", asked("{chat: a, goodput: [ttft < 400]}")),
            ("goodput of what is no model", asked("{get: /, goodput: [ttft < 1s], stall_above: 1s}")),
            ("an SLO on goodput that nothing defines", slo("goodput > 90%")),
        ]),
    );
}
