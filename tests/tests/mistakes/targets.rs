//! Targets that cannot be reached, and secrets that are not there.

use crate::servers::{self, Authority, Certificate};
use crate::told::Told;
use std::net::{Ipv4Addr, TcpListener};

fn plan(url: &str, tls: &str) -> String {
    format!(
        "targets:\n  shop: {{url: \"{url}\"{tls}}}\nscenarios: {{browse: {{get: /}}}}\nload: {{rate: 10/s, for: 1s}}\n"
    )
}

/// Runs a plan against a target; nothing is sent.
fn told_of(url: &str, tls: &str) -> Told {
    let mut told = Told::new();
    told.file("plan.yaml", plan(url, tls));
    against(&mut told);
    told
}

fn against(told: &mut Told) {
    told.squall(&["run", "plan.yaml", "--no-out"]);
}

#[test]
fn a_port_that_refuses() {
    told_of(&format!("http://127.0.0.1:{}", servers::refusing()), "").is_as_in("target_refuses");
}

/// No such label can be asked for, so no question leaves the machine.
#[test]
fn a_host_that_is_unknown() {
    let host = "no-such-host-".repeat(6);
    let mut told = Told::new();
    told.redact(&host, "no-such-host");
    told.file("plan.yaml", plan(&format!("http://{host}.invalid"), ""));
    against(&mut told);
    told.is_as_in("target_unknown_host");
}

/// Its queue is full and nobody takes from it: the kernel answers nothing.
#[test]
fn a_target_that_does_not_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    rustix::net::listen(&listener, 0).expect("a queue of one");
    let address = listener.local_addr().expect("an address");
    let waiting: Vec<_> =
        (0..2).map(|_| std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300))).collect();
    told_of(&format!("http://{address}"), ", connections: {connect_timeout: 1s}").is_as_in("target_silent");
    drop(waiting);
}

fn trusting(authority: &Authority, url: &str, more: &str) -> Told {
    let mut told = Told::new();
    told.file("ca.pem", authority.pem());
    told.file("plan.yaml", plan(url, &format!(", tls: {{ca: ca.pem{more}}}")));
    against(&mut told);
    told
}

#[test]
fn a_certificate_that_nobody_vouches_for() {
    let port = Authority::named("theirs").serving(&Certificate::Good);
    trusting(&Authority::named("ours"), &format!("https://127.0.0.1:{port}"), "").is_as_in("target_untrusted");
}

#[test]
fn a_certificate_that_has_expired() {
    let authority = Authority::named("ours");
    let port = authority.serving(&Certificate::Expired);
    trusting(&authority, &format!("https://127.0.0.1:{port}"), "").is_as_in("target_expired");
}

#[test]
fn a_certificate_for_another_name() {
    let authority = Authority::named("ours");
    let port = authority.serving(&Certificate::For("shop.example"));
    trusting(&authority, &format!("https://127.0.0.1:{port}"), "").is_as_in("target_other_name");
}

#[test]
fn a_server_without_tls() {
    told_of(&format!("https://127.0.0.1:{}", servers::plain()), "").is_as_in("target_without_tls");
}

#[test]
fn a_server_without_http2() {
    let authority = Authority::named("ours");
    let port = authority.serving(&Certificate::Good);
    let mut told = Told::new();
    told.file("ca.pem", authority.pem());
    told.file("plan.yaml", plan(&format!("https://127.0.0.1:{port}"), ", tls: {ca: ca.pem}, http: '2'"));
    against(&mut told);
    told.is_as_in("target_without_http2");
}

#[test]
fn an_authority_that_is_no_certificate() {
    let mut told = Told::new();
    told.file("ca.pem", "to be pasted here\n");
    told.file("plan.yaml", plan("https://127.0.0.1:9", ", tls: {ca: ca.pem}"));
    against(&mut told);
    told.is_as_in("target_ca_is_no_certificate");
}

#[test]
fn secrets_that_are_not_there() {
    let mut told = Told::new();
    let url = format!("http://127.0.0.1:{}", servers::plain());
    for secret in ["${env:SHOP_TOKEN}", "${file:/nowhere/token}"] {
        let headers = format!(", headers: {{authorization: \"Bearer {secret}\"}}");
        told.file("plan.yaml", plan(&url, &headers));
        against(&mut told);
    }
    told.is_as_in("target_secrets");
}

/// It would end the header and begin another; the secret itself is not told.
#[test]
fn a_secret_that_would_break_a_header() {
    let mut told = Told::new();
    told.environment("SHOP_TOKEN", "one\r\nx-admin: yes");
    let url = format!("http://127.0.0.1:{}", servers::plain());
    told.file("plan.yaml", plan(&url, ", headers: {authorization: \"Bearer ${env:SHOP_TOKEN}\"}"));
    against(&mut told);
    assert!(!told.text().contains("x-admin"), "a secret is told:\n{}", told.text());
    told.is_as_in("target_secret_breaks_header");
}

#[test]
fn a_sample_log_that_has_no_place() {
    let mut told = Told::new();
    let plan = plan(&format!("http://127.0.0.1:{}", servers::plain()), "");
    told.file("plan.yaml", plan + "sample_log: true\n");
    against(&mut told);
    told.is_as_in("target_sample_log");
}

/// Without progress and summary, the reason is still told.
#[test]
fn a_quiet_run_says_why_it_came_to_nothing() {
    let mut told = Told::new();
    told.file("plan.yaml", plan(&format!("http://127.0.0.1:{}", servers::refusing()), ""));
    told.squall(&["run", "plan.yaml", "--no-out", "--quiet"]);
    told.is_as_in("target_refuses_quietly");
}
