//! Access tokens of Microsoft Entra ID: fetched, kept fresh, replaced when refused.

use squall_tests::machine;
use squall_tests::simulator::Simulator;
use squall_tests::squall::{Squall, run};
use squall_tests::summary::Summary;
use squall_tests::wait::secs;

const REGION: &str = "azure/eastus";
const SECRET: &str = "planted-client-secret";

/// A tenant whose tokens live so long, and a deployment that wants them.
fn tenant(lifetime_s: u64, delay_ms: u64) -> Simulator {
    let identity = format!(
        "identity: {{tenant: squall, lifetime_s: {lifetime_s}, delay_ms: {delay_ms}, \
         clients: [{{id: fleet, secret: {SECRET}}}]}}"
    );
    let deployments = "deployments: [{name: gpt-4o, bearer_audience: 'https://cognitiveservices.azure.com'}]";
    Simulator::start_as(&[REGION], &identity, deployments)
}

fn ask(simulator: &Simulator, load: &str) -> Squall {
    let (url, authority) = (simulator.url(REGION), simulator.admin_url());
    run(&format!(
        "
name: tokens
target: {{url: '{url}', deployment: gpt-4o}}
auth: {{entra: {{tenant: squall, client_id: fleet, client_secret: '${{env:CLIENT_SECRET}}', authority: '{authority}'}}}}
scenarios:
  ask: {{chat: {{messages: [{{role: user, content: hi}}], max_tokens: 1}}}}
load: {load}
"
    ))
    .env("CLIENT_SECRET", SECRET)
}

fn tokens(summary: &Summary) -> Summary {
    let agents = summary.agents();
    Summary(agents.values().next().expect("an agent").at("access_tokens").clone())
}

#[test]
fn tokens_are_renewed_under_load_and_no_request_fails() {
    let _place = machine::shared();
    let simulator = tenant(8, 200);
    let ended = ask(&simulator, "{rate: 25/s, for: 16s}").ends();
    let summary = ended.summary();
    summary.expect_whole().expect_all_ok(400);
    let tokens = tokens(&summary);
    let fetched = tokens.count("fetched");
    assert!((3..=4).contains(&fetched), "{fetched} tokens of 8 s in 16 s");
    assert_eq!(tokens.count("failed"), 0);
    // Each takes 200 ms, at no request's cost.
    assert!(tokens.count("time_us") >= fetched * 200_000, "{:#}", tokens.0);
    assert_eq!(simulator.truth().count("identity.issued"), fetched);
    for artefact in ["summary.json", "events.jsonl", "plan.yaml"] {
        assert!(!ended.file(artefact).contains(SECRET), "{artefact} holds the secret");
    }
}

#[test]
fn a_revoked_token_is_replaced_once_and_load_goes_on() {
    let _place = machine::shared();
    let simulator = tenant(3_600, 0);
    let mut running = ask(&simulator, "{rate: 40/s, for: 8s}").start();
    running.until("some requests to be answered", secs(20), || {
        let truth = simulator.truth_now();
        truth.part("regions", REGION).count("total.completed") > 40
    });
    simulator.tell("/admin/identity/revoke", "");
    let summary = running.ends().summary();
    summary.expect_whole();
    let refused = summary.count("status.401");
    assert!(refused >= 1, "the target noticed");
    assert_eq!(summary.count("status.200") + refused, 320);
    assert_eq!(tokens(&summary).count("fetched"), 2, "one refusal or many, one new token");
}

#[test]
fn a_secret_that_is_refused_ends_the_run_before_load_with_the_reason() {
    let _place = machine::shared();
    let simulator = tenant(3_600, 0);
    let ended = ask(&simulator, "{rate: 40/s, for: 8s}").env("CLIENT_SECRET", "another-secret").ends();
    ended.expect_exit(12);
    for said in ["no token for client `fleet`", "AADSTS7000215"] {
        assert!(ended.stderr.contains(said), "{said} is not in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("another-secret"), "{}", ended.stderr);
}
