//! The listening port: who may listen where, and strangers who knock.

use squall_tests::secured::{Certs, Secured, Shown, told};
use squall_tests::squall::squall;
use std::io::{Read, Write};
use std::net::TcpStream;

/// The address is refused before anything listens: no packet is sent.
#[test]
fn plain_text_does_not_leave_this_machine_unasked() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let ended = squall(["serve", "--listen", listen]).ends();
        ended.expect_exit(2);
        assert!(told(&ended).contains("squall certs init") && told(&ended).contains("--insecure"), "{}", ended.stderr);
    }
    let ended = squall(["serve", "--listen", "0.0.0.0:0", "--insecure", "--jwt-key", "k"]).ends();
    ended.expect_exit(2);
    assert!(told(&ended).contains("in the clear"), "{}", ended.stderr);
    let ended = squall(["serve", "--tls-cert", "c", "--tls-key", "k"]).ends();
    ended.expect_exit(2);
    assert!(told(&ended).contains("--tls-ca"), "{}", ended.stderr);
}

#[test]
fn a_token_is_not_sent_to_another_machine_in_the_clear() {
    let ended = squall(["runs", "--controller", "http://192.0.2.1:7700"]).env("SQUALL_TOKEN", "a.b.c").ends();
    ended.expect_exit(2);
    assert!(told(&ended).contains("in the clear"), "{}", ended.stderr);
}

/// What a port scanner sends, and what it does not.
fn knock(address: &str) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for round in 0..40_u8 {
        let garbage: &[&[u8]] = &[
            b"",
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            b"\x16\x03\x01\x00\xff\x01\x00\x00\xfb\x03\x03",
            b"\x16\x03\x01\xff\xff",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"SSH-2.0-scan\r\n",
            &[round; 4_096],
        ];
        for bytes in garbage {
            let mut stream = TcpStream::connect(address).expect("the port is open");
            // It may be closed already, which is what we want.
            let _ = stream.write_all(bytes);
            if round % 4 == 0 {
                held.push(stream);
            }
        }
    }
    held
}

#[test]
fn strangers_on_the_port_hold_up_nobody() {
    let certs = Certs::init();
    for (flags, operator) in
        [(certs.shown_by("controller"), certs.shown_by("operator-admin")), (Shown::default(), Shown::default())]
    {
        let controller = Secured::start(&flags);
        let held = knock(controller.address());
        controller.asked(["runs"], &operator).ends().expect_exit(0);
        drop(held);
        controller.asked(["agents"], &operator).ends().expect_exit(0);
        assert!(!controller.log().contains("panicked"), "{}", controller.log());
        assert!(controller.log().lines().count() < 60, "a scan does not fill the log:\n{}", controller.log());
    }
}

#[test]
fn one_who_says_garbage_is_hung_up_on() {
    let controller = Secured::start(&Shown::default());
    let mut stranger = TcpStream::connect(controller.address()).expect("the port is open");
    stranger.set_read_timeout(Some(squall_tests::wait::secs(20))).expect("a timeout");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it is taken");
    let mut answer = Vec::new();
    // A reset is an end, too; a timeout is not.
    if let Err(error) = stranger.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(answer.is_empty());
}
