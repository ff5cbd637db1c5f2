//! HTTPS: who is trusted, and that a result says so when nobody is asked.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use squall_tests::machine;
use squall_tests::nginx::{Nginx, Tls};
use squall_tests::squall::{Squall, run};

/// A server certificate for 127.0.0.1, and the authority that signed it.
fn signed() -> (Tls, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of these tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    (Tls { certificate: certificate.pem(), key: key.serialize_pem() }, authority.pem())
}

fn fetch(nginx: &Nginx, trust: &str) -> Squall {
    let url = nginx.url();
    run(&format!(
        "name: tls\ntargets: {{shop: {{url: '{url}', tls: {trust}}}}}\nscenarios: {{fetch: {{get: /}}}}\n\
         load: {{rate: 100/s, for: 2s}}\n"
    ))
}

#[test]
fn a_certificate_of_a_named_authority_is_trusted() {
    let _place = machine::shared();
    let (tls, authority) = signed();
    let nginx = Nginx::with_tls(tls);
    let ended = fetch(&nginx, "{ca: authority.pem}").with_file("authority.pem", &authority).ends();
    let summary = ended.summary();
    summary.expect_whole().expect_all_ok(200);
    assert_eq!(nginx.stop().len(), 200);
    assert!(summary.count("phases.tls.count") > 0, "handshakes are measured");
    assert!(!summary.texts("warnings").join("\n").contains("not verified"));
}

#[test]
fn a_certificate_of_a_stranger_is_refused_before_load() {
    let _place = machine::shared();
    let (tls, _) = signed();
    let nginx = Nginx::with_tls(tls);
    let ended = fetch(&nginx, "{server_name: 127.0.0.1}").ends();
    ended.expect_exit(12);
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
    assert_eq!(nginx.stop().len(), 0);
}

#[test]
fn an_insecure_target_is_shown_in_the_result() {
    let _place = machine::shared();
    let (tls, _) = signed();
    let nginx = Nginx::with_tls(tls);
    let ended = fetch(&nginx, "{insecure: true}").ends();
    let summary = ended.summary();
    summary.expect_whole().expect_all_ok(200);
    assert_eq!(nginx.stop().len(), 200);
    let warnings = summary.texts("warnings").join("\n");
    assert!(warnings.contains("shop") && warnings.contains("insecure"), "{warnings}");
    assert!(ended.stderr.contains("insecure"), "{}", ended.stderr);
}
