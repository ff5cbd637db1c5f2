//! Certificates between all parts: good ones, wrong ones, and new ones.

use squall_tests::machine;
use squall_tests::nginx::Nginx;
use squall_tests::secured::{Certs, Secured, told};
use squall_tests::wait::{self, secs};
use std::os::unix::fs::PermissionsExt;

const EASTUS: &str = "agent-azure-eastus";

fn certs() -> Certs {
    let certs = Certs::init();
    certs.make(&["agent", "azure/eastus"]);
    certs
}

#[test]
fn a_run_over_certificates_is_whole_and_its_result_says_so() {
    let _place = machine::shared();
    let (certs, nginx) = (certs(), Nginx::start());
    let controller = Secured::start(&certs.shown_by("controller"));
    let mut agent = controller.agent("agent", "azure/eastus", &certs.shown_by(EASTUS));
    agent.says("registered", secs(10));
    let url = nginx.url();
    let run = ["run", &url, "--rate", "50/s", "--for", "2s", "--json", "--out", "out"];
    let ended = controller.asked(run, &certs.shown_by("operator-admin")).ends();
    let summary = ended.expect_exit(0).summary();
    summary.expect_whole().expect_all_ok(100);
    assert_eq!(nginx.stop().len(), 100);
    assert_eq!((summary.text("security.transport"), summary.at("security.insecure").as_bool()), ("mtls", Some(false)));

    let lines = controller.audited("SubmitRun");
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["asked", "ok"], "before it is done, and after");
    assert_eq!(lines[1]["run_id"], summary.text("run_id"));
    assert_eq!((&lines[1]["who"], &lines[1]["role"]), (&"squall://operator/admin/admin".into(), &"admin".into()));
    assert!(lines[1]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let mode = std::fs::metadata(controller.audit_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn without_a_certificate_nobody_comes_in() {
    let certs = certs();
    let controller = Secured::start(&certs.shown_by("controller"));
    let ended = controller.asked(["runs"], &certs.trusted()).ends();
    ended.expect_exit(12);
    assert!(told(&ended).contains("it wants a certificate"), "{}", ended.stderr);
    let mut agent = controller.agent("agent", "azure/eastus", &certs.trusted());
    agent.says("it wants a certificate", secs(10));
    controller.asked(["runs"], &certs.shown_by("operator-admin")).ends().expect_exit(0);
}

#[test]
fn another_ca_is_refused_both_ways() {
    let (ours, theirs) = (certs(), certs());
    let controller = Secured::start(&ours.shown_by("controller"));
    let mixed = ours.trusted().and(&[
        "--tls-cert",
        &theirs.path("operator-admin.pem").display().to_string(),
        "--tls-key",
        &theirs.path("operator-admin.key").display().to_string(),
    ]);
    let ended = controller.asked(["runs"], &mixed).ends();
    ended.expect_exit(12);
    assert!(told(&ended).contains("another CA signed it"), "{}", ended.stderr);
    let ended = controller.asked(["runs"], &theirs.shown_by("operator-admin")).ends();
    ended.expect_exit(12);
    assert!(told(&ended).contains("not trusted here"), "{}", ended.stderr);
    let mut agent = controller.agent("agent", "azure/eastus", &theirs.shown_by(EASTUS));
    agent.says("not trusted here", secs(10));
}

#[test]
fn an_expired_certificate_is_refused_both_ways() {
    let certs = Certs::init();
    certs.make(&["agent", "azure/eastus", "--for", "1s"]);
    certs.make(&["operator", "ann", "--for", "1s"]);
    let controller = Secured::start(&certs.shown_by("controller"));
    certs.wait_for_the_end_of("operator-ann");
    let ended = controller.asked(["runs"], &certs.shown_by("operator-ann")).ends();
    ended.expect_exit(12);
    assert!(told(&ended).contains("has expired") && told(&ended).contains("squall certs renew"), "{}", ended.stderr);
    certs.wait_for_the_end_of(EASTUS);
    let mut agent = controller.agent("agent", "azure/eastus", &certs.shown_by(EASTUS));
    agent.says("has expired", secs(10));
    certs.make(&["renew", EASTUS]);
    // The agent is still there, and finds the new files by itself.
    agent.says("registered", secs(20));

    certs.make(&["renew", "controller", "--for", "1s"]);
    certs.wait_for_the_end_of("controller");
    let ended = controller.asked(["runs"], &certs.shown_by("operator-admin")).ends();
    ended.expect_exit(12);
    assert!(told(&ended).contains("its certificate has expired"), "{}", ended.stderr);
}

#[test]
fn changed_files_are_in_use_with_the_next_handshake() {
    let (certs, newer) = (certs(), certs());
    let mut controller = Secured::start(&certs.shown_by("controller"));
    let ask = |controller: &Secured, by: &Certs| controller.asked(["runs"], &by.shown_by("operator-admin")).ends();
    let mut agent = controller.agent("agent", "azure/eastus", &certs.shown_by(EASTUS));
    agent.says("registered", secs(10));
    ask(&controller, &certs).expect_exit(0);
    ask(&controller, &newer).expect_exit(12);

    // Half of a change: what was read before stays in use.
    let before = std::fs::read(certs.path("controller.key")).unwrap();
    certs.become_those_of(&newer, &["controller.key"]);
    ask(&controller, &certs).expect_exit(0);
    assert!(controller.log().contains("cannot be used"), "{}", controller.log());
    std::fs::write(certs.path("controller.key"), before).unwrap();

    let old = Certs::init();
    old.become_those_of(&certs, &["ca.pem", "operator-admin.pem", "operator-admin.key"]);
    let mine = [&format!("{EASTUS}.pem")[..], &format!("{EASTUS}.key")];
    certs.become_those_of(&newer, &[&["ca.pem", "controller.pem", "controller.key"][..], &mine].concat());
    ask(&controller, &newer).expect_exit(0);
    ask(&controller, &old).expect_exit(12);
    assert!(agent.ended().is_none(), "a session that is there goes on");

    controller.restart(&certs.shown_by("controller"));
    wait::until("the agent to come back with its new certificate", secs(30), || {
        let listed = controller.asked(["agents", "--json"], &newer.shown_by("operator-admin")).ends();
        listed.stdout.contains("azure/eastus").then_some(())
    });
    assert!(agent.ended().is_none());
}

#[test]
fn files_are_made_once_and_renewed_with_the_same_names() {
    let certs = certs();
    for key in ["ca.key", "controller.key", "operator-admin.key", &format!("{EASTUS}.key")] {
        let mode = std::fs::metadata(certs.path(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    for again in [&["init"][..], &["agent", "azure/eastus"], &["controller"], &["operator", "admin"]] {
        let ended = certs.command(again);
        ended.expect_exit(2);
        assert!(told(&ended).contains("squall certs renew"), "{}", ended.stderr);
    }
    let list = || certs.make(&["list"]).stdout;
    let names = |listed: String| -> Vec<String> {
        listed.lines().map(|line| line.split_whitespace().last().unwrap_or_default().to_owned()).collect()
    };
    let (before, read) = (names(list()), std::fs::read(certs.path("controller.pem")).unwrap());
    assert!(certs.make(&["renew", "--within", "30d"]).stderr.contains("0 of 3"));
    assert!(certs.make(&["renew"]).stderr.contains("3 of 3"));
    assert_eq!(names(list()), before);
    assert_ne!(std::fs::read(certs.path("controller.pem")).unwrap(), read);
    certs.command(&["renew", "nobody"]).expect_exit(2);
}
