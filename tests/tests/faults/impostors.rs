//! Somebody who shows a certificate that is not right for what they ask: of
//! another CA, expired, or of another role. Each asks for what would spoil the
//! run under way: to stop it, or the struck agent's slot.

use crate::head::{Head, certificate_of};
use crate::stage::{REGIONS, STRUCK, Stage, slot};
use squall_tests::cluster::Agent;
use squall_tests::process::Process;
use squall_tests::secured::{Certs, Shown, told};
use squall_tests::squall::{Ended, squall};
use squall_tests::wait::secs;

/// `squall` exits with it when no controller lets it in.
const NOT_LET_IN: i32 = 12;
const NOT_PERMITTED: i32 = 2;
/// `squall-agent` exits with it when it is told that it may not join.
const REFUSED: i32 = 77;

pub fn of_another_ca(stage: &mut Stage) {
    let theirs = Certs::init();
    theirs.make(&["agent", REGIONS[STRUCK]]);
    let ours = stage.certs();
    // They believe us, and we do not believe them; and the other way round.
    let posing = |stem: &str| {
        let file = |ending: &str| theirs.path(&format!("{stem}.{ending}")).display().to_string();
        ours.trusted().and(&["--tls-cert", &file("pem"), "--tls-key", &file("key")])
    };
    stage.expect_stop_refused(&posing("operator-admin"), NOT_LET_IN, "another CA signed it");
    stage.expect_stop_refused(&theirs.shown_by("operator-admin"), NOT_LET_IN, "not trusted here");
    stage.expect_kept_out(&posing(&certificate_of(STRUCK)), "another CA signed it");
    stage.expect_kept_out(&theirs.shown_by(&certificate_of(STRUCK)), "not trusted here");
}

pub fn with_expired_certificates(stage: &mut Stage) {
    let certs = stage.certs();
    certs.make(&["operator", "ann", "--for", "1s"]);
    certs.make(&["renew", &certificate_of(STRUCK), "--for", "1s"]);
    certs.wait_for_the_end_of("operator-ann");
    stage.expect_stop_refused(&certs.shown_by("operator-ann"), NOT_LET_IN, "has expired");
    // The agent that shows this file, too, goes on in the session that it has.
    certs.wait_for_the_end_of(&certificate_of(STRUCK));
    stage.expect_kept_out(&certs.shown_by(&certificate_of(STRUCK)), "has expired");
}

pub fn in_the_wrong_role(stage: &mut Stage) {
    let certs = stage.certs();
    let no_operator = format!("squall://agent/{} is an agent and cannot do what operators do", REGIONS[STRUCK]);
    stage.expect_stop_refused(&certs.shown_by(&certificate_of(STRUCK)), NOT_PERMITTED, &no_operator);
    let no_agent = "is an operator and cannot join as an agent";
    let mut posing = stage.expect_kept_out(&certs.shown_by("operator-admin"), no_agent);
    assert_eq!(posing.exit_code_within(secs(20)), REFUSED, "{}", posing.stderr());
    // From a region that is not the certificate's.
    let elsewhere = certs.shown_by(&certificate_of(STRUCK + 1));
    let mut elsewhere = stage.expect_kept_out(&elsewhere, &format!("is for region `{}`", REGIONS[STRUCK + 1]));
    assert_eq!(elsewhere.exit_code_within(secs(20)), REFUSED, "{}", elsewhere.stderr());
}

impl Stage {
    fn certs(&self) -> &Certs {
        match &self.head {
            Head::WithCertificates { certs, .. } => certs,
            _ => panic!("nobody shows certificates here"),
        }
    }

    /// From the struck region, somebody asks to stop the run.
    fn expect_stop_refused(&self, shown: &Shown, exit_code: i32, why: &str) {
        let ask = || squall(["stop", "latest"]).on(&self.head.urls()).args(shown.flags()).ends();
        let ended: Ended = self.world.region(STRUCK).run(ask);
        ended.expect_exit(exit_code);
        assert!(told(&ended).contains(why), "{}", ended.stderr);
    }

    /// From the struck region, somebody asks for the struck agent's slot.
    fn expect_kept_out(&self, shown: &Shown, why: &str) -> Process {
        let (urls, dir) = (self.head.urls(), self.dir.path());
        self.world.region(STRUCK).run(|| {
            let mut process = Agent::dial("impostor", shown, &urls, &slot(STRUCK), REGIONS[STRUCK], dir);
            process.says(why, secs(20));
            assert!(!process.stderr().contains("registered"), "{}", process.stderr());
            process
        })
    }
}
