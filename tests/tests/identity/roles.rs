//! What each certificate may do, and what it may not.

use squall_tests::secured::{Certs, Secured, told};
use squall_tests::squall::Ended;
use squall_tests::wait::secs;

fn cluster() -> (Certs, Secured) {
    let certs = Certs::init();
    certs.make(&["agent", "azure/eastus"]);
    certs.make(&["operator", "vic", "--role", "viewer"]);
    certs.make(&["operator", "olga"]);
    let controller = Secured::start(&certs.shown_by("controller"));
    (certs, controller)
}

fn denied(ended: &Ended, why: &str) {
    ended.expect_exit(2);
    assert!(told(ended).contains(why), "{}", ended.stderr);
}

#[test]
fn a_viewer_looks_and_does_not_touch() {
    let (certs, controller) = cluster();
    let vic = certs.shown_by("operator-vic");
    for look in ["runs", "agents"] {
        controller.asked([look], &vic).ends().expect_exit(0);
    }
    denied(&controller.asked(["stop", "latest"], &vic).ends(), "StopRun needs the role operator");
    let run = ["run", "http://127.0.0.1:9/", "--rate", "1/s", "--for", "1s", "--no-out"];
    denied(&controller.asked(run, &vic).ends(), "SubmitRun needs the role operator");
    // May touch, but there is nothing to stop.
    let olga = controller.asked(["stop", "latest"], &certs.shown_by("operator-olga")).ends();
    denied(&olga, "there is no run yet");

    let stops = controller.audited("StopRun");
    let seen: Vec<_> =
        stops.iter().map(|line| (line["who"].as_str().unwrap(), line["outcome"].as_str().unwrap())).collect();
    let (vic, olga) = ("squall://operator/viewer/vic", "squall://operator/operator/olga");
    assert_eq!(seen, [(vic, "denied"), (olga, "asked"), (olga, "not_found")]);
    assert!(stops[0]["why"].as_str().unwrap().contains("needs the role operator"));
}

#[test]
fn an_agent_does_nothing_that_operators_do() {
    let (certs, controller) = cluster();
    let agent = certs.shown_by("agent-azure-eastus");
    for command in [&["runs"][..], &["agents"], &["stop", "latest"], &["watch"], &["report", "latest"]] {
        let ended = controller.asked(command.iter().copied(), &agent).ends();
        denied(&ended, "squall://agent/azure/eastus is an agent and cannot do what operators do");
    }
    assert!(controller.audited("ListRuns").iter().all(|line| line["outcome"] == "denied"));
}

#[test]
fn an_operator_does_not_join_as_an_agent_and_an_agent_not_from_elsewhere() {
    let (certs, controller) = cluster();
    let mut posing = controller.agent("posing", "azure/eastus", &certs.shown_by("operator-admin"));
    assert_eq!(posing.exit_code_within(secs(20)), 77);
    assert!(posing.stderr().contains("is an operator and cannot join as an agent"), "{}", posing.stderr());
    let mut elsewhere = controller.agent("elsewhere", "aws/us-east-1", &certs.shown_by("agent-azure-eastus"));
    assert_eq!(elsewhere.exit_code_within(secs(20)), 77);
    assert!(elsewhere.stderr().contains("is for region `azure/eastus`"), "{}", elsewhere.stderr());
    let listed = controller.asked(["agents", "--json"], &certs.shown_by("operator-vic")).ends();
    assert_eq!(listed.stdout.trim(), "[]");
    assert_eq!(controller.audited("Session")[0]["outcome"], "denied");
}
