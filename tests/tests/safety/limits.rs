//! Allow-lists and ceilings, of agents and of the controller.

use crate::fleet::{Fleet, Ran, echo};
use squall_tests::machine;

fn plan_for(url: &str, load: &str) -> String {
    format!("targets: {{t: {{url: '{url}'}}}}\nscenarios: {{s: {{get: /, load: {{{load}}}}}}}\n")
}

/// What a fleet says of a plan that it refuses before any load.
fn refused(serve: &[&str], agent: &[&str], plan: &str) -> Ran {
    let _place = machine::shared();
    Fleet::start(serve, agent, &[]).run(plan, &[])
}

/// The address is documentation's: nothing is ever sent there.
#[test]
fn an_agent_allows_loopback_only_and_tells_the_flag_that_widens_it() {
    let ran = refused(&[], &[], &plan_for("http://192.0.2.1", "rate: 1/s, for: 1s"));
    assert_eq!(ran.exit_code, 12, "{}", ran.stderr);
    let said = ran.said();
    assert!(said.contains("loopback only") && said.contains("`--allow-target 192.0.2.1`"), "{said}");
}

#[test]
fn a_list_that_is_given_replaces_loopback() {
    let (target, seen) = echo();
    let ran = refused(
        &[],
        &["--allow-target", "*.example.com,10.0.0.0/8"],
        &plan_for(&format!("http://{target}"), "rate: 1/s, for: 1s"),
    );
    assert_eq!(ran.exit_code, 12, "{}", ran.stderr);
    assert!(ran.said().contains("(allowed: *.example.com, 10.0.0.0/8)"), "{}", ran.said());
    assert_eq!(*seen.lock().expect("requests"), "");
}

/// The name is allowed; where it leads is not: what it resolves to is this machine.
#[test]
fn an_allowed_name_that_leads_to_a_private_address_is_refused() {
    let (target, seen) = echo();
    let url = format!("http://localhost:{}", target.port());
    let ran = refused(&[], &["--allow-target", "localhost"], &plan_for(&url, "rate: 1/s, for: 1s"));
    assert_eq!(ran.exit_code, 12, "{}", ran.stderr);
    assert!(ran.said().contains("which resolves to"), "{}", ran.said());
    assert_eq!(*seen.lock().expect("requests"), "");
}

#[test]
fn a_plan_must_pass_the_controllers_list_too() {
    let (target, seen) = echo();
    let plan = plan_for(&format!("http://{target}"), "rate: 1/s, for: 1s");
    let ran = refused(&["--allow-target", "*.example.com"], &[], &plan);
    assert_eq!(ran.exit_code, 2, "{}", ran.stderr);
    let said = ran.said();
    assert!(said.contains("`--allow-target 127.0.0.1`") && said.contains("`squall serve`"), "{said}");
    assert_eq!(*seen.lock().expect("requests"), "");
}

#[test]
fn a_share_above_a_ceiling_is_refused_with_its_numbers() {
    let (target, seen) = echo();
    let url = format!("http://{target}");
    let ran = refused(&[], &["--max-rate", "600/min"], &plan_for(&url, "rate: 50/s, for: 1s"));
    assert_eq!(ran.exit_code, 12, "{}", ran.stderr);
    assert!(ran.said().contains("50/s requests") && ran.said().contains("`--max-rate 10/s`"), "{}", ran.said());
    let ran = refused(&[], &["--max-connections", "3"], &plan_for(&url, "users: 4, for: 1s"));
    assert!(ran.said().contains("4 users") && ran.said().contains("`--max-connections 3`"), "{}", ran.said());
    assert_eq!(*seen.lock().expect("requests"), "");
}

#[test]
fn users_held_back_by_a_ceiling_make_the_result_invalid_and_say_why() {
    let _place = machine::shared();
    let (target, seen) = echo();
    let fleet = Fleet::start(&[], &["--max-rate", "30/s"], &[]);
    let ran = fleet.run(&plan_for(&format!("http://{target}"), "users: 3, for: 3s"), &[]);
    assert_eq!(ran.exit_code, 11, "{}", ran.stderr);
    assert!(ran.said().contains("`--max-rate 30/s` held requests back"), "{}", ran.said());
    let sent = seen.lock().expect("requests").matches("GET / ").count();
    assert!((30..=100).contains(&sent), "{sent} requests in 3 s at 30/s");
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a summary");
    assert_eq!(summary["coverage"]["sent"], sent);
}
