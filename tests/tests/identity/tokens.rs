//! Operators with a token in place of a certificate.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use squall_tests::secured::{Certs, Secured, Shown, told};
use squall_tests::squall::{Ended, squall};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of more than thirty-two bytes\n";

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

fn claims() -> Value {
    json!({"sub": "ann", "squall_role": "admin", "aud": "squall", "exp": now_s() + 600})
}

fn pieces(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn hs256(secret: &[u8], claims: &Value) -> String {
    let signed = pieces(&json!({"alg": "HS256"}), claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

struct Es256(EcdsaKeyPair);

impl Es256 {
    fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).expect("a key"))
    }

    fn jwk(&self, id: &str) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id,
               "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }

    fn sign(&self, id: &str, claims: &Value) -> String {
        let signed = pieces(&json!({"alg": "ES256", "kid": id}), claims);
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A controller with certificates that takes tokens signed with [`SECRET`].
fn cluster() -> (Certs, Secured) {
    let certs = Certs::init();
    std::fs::write(certs.path("jwt.key"), SECRET).expect("a key");
    let key = certs.path("jwt.key").display().to_string();
    let controller = Secured::start(&certs.shown_by("controller").and(&["--jwt-key", &key]));
    (certs, controller)
}

fn asks(controller: &Secured, shown: &Shown, command: &[&str], token: &str) -> Ended {
    controller.asked(command.iter().copied(), shown).env("SQUALL_TOKEN", token).ends()
}

fn refused(ended: &Ended, why: &str) {
    ended.expect_exit(2);
    assert!(told(ended).contains(why), "{}", ended.stderr);
}

#[test]
fn a_token_that_squall_made_is_all_that_an_operator_needs() {
    let (certs, controller) = cluster();
    let token = |role: &str| {
        let key = certs.path("jwt.key").display().to_string();
        let made = squall(["token", "--key", &key, "--name", "ci", "--role", role]).ends();
        made.expect_exit(0);
        made.stdout.trim().to_owned()
    };
    let trusted = certs.trusted();
    asks(&controller, &trusted, &["runs"], &token("viewer")).expect_exit(0);
    refused(&asks(&controller, &trusted, &["stop", "latest"], &token("viewer")), "jwt:ci is a viewer");
    refused(&asks(&controller, &trusted, &["stop", "latest"], &token("operator")), "there is no run yet");
    refused(&controller.asked(["runs"], &trusted).ends(), "wants to know who you are");
    // A certificate is as good.
    controller.asked(["runs"], &certs.shown_by("operator-admin")).ends().expect_exit(0);

    std::fs::write(certs.path("token"), token("viewer")).unwrap();
    let file = certs.path("token").display().to_string();
    controller.asked(["runs"], &trusted.and(&["--token-file", &file])).ends().expect_exit(0);

    let audit = controller.audit();
    assert!(audit.contains(r#""who":"jwt:ci","role":"viewer""#), "{audit}");
    let written = audit + &controller.log();
    assert!(!written.contains("eyJ") && !written.contains(SECRET.trim()), "no token and no key is written anywhere");
}

#[test]
fn a_token_that_is_wrong_in_any_way_is_refused_with_the_reason() {
    let (certs, controller) = cluster();
    let (trusted, secret) = (certs.trusted(), SECRET.trim_end().as_bytes());
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        hs256(secret, &claims)
    };
    asks(&controller, &trusted, &["runs"], &hs256(secret, &claims())).expect_exit(0);
    let none = format!("{}.", pieces(&json!({"alg": "none"}), &claims()));
    for (token, why) in [
        (with("exp", json!(now_s() - 3_600)), "it has expired"),
        (with("nbf", json!(now_s() + 3_600)), "not valid yet"),
        (with("aud", json!("another service")), "it is not for `squall`"),
        (with("squall_role", json!("root")), "it has no role"),
        (hs256(b"another secret of more than thirty-two bytes", &claims()), "not by a key of this controller"),
        (Es256::new().sign("x", &claims()), "signed with `ES256`, the key here is for HS256"),
        (none, "signed with `none`"),
        ("rubbish".to_owned(), "it is no JWT"),
    ] {
        refused(&asks(&controller, &trusted, &["runs"], &token), why);
    }
    let denials = controller.audited("ListRuns").into_iter().filter(|line| line["outcome"] == "denied").count();
    assert_eq!(denials, 8);
}

#[test]
fn an_agent_stays_an_agent_whatever_token_it_has() {
    let (certs, controller) = cluster();
    certs.make(&["agent", "local"]);
    let token = hs256(SECRET.trim_end().as_bytes(), &claims());
    refused(&asks(&controller, &certs.shown_by("agent-local"), &["runs"], &token), "is an agent and cannot");
}

/// Serves a key set, counting how often it is asked for.
fn identity_provider(set: &Value, asked: Arc<AtomicUsize>) -> String {
    let body = set.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            asked.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4_096]);
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[test]
fn keys_of_an_identity_provider_are_fetched_and_not_too_often() {
    let (key, certs) = (Es256::new(), Certs::init());
    let asked = Arc::new(AtomicUsize::new(0));
    let url = identity_provider(&json!({"keys": [key.jwk("one")]}), asked.clone());
    let flags = ["--jwks", &url, "--jwt-issuer", "https://id.example"];
    let controller = Secured::start(&certs.shown_by("controller").and(&flags));
    let mut claims = claims();
    refused(
        &asks(&controller, &certs.trusted(), &["runs"], &key.sign("one", &claims)),
        "not issued by `https://id.example`",
    );
    claims["iss"] = json!("https://id.example");
    asks(&controller, &certs.trusted(), &["runs"], &key.sign("one", &claims)).expect_exit(0);
    for _ in 0..5 {
        let stranger = Es256::new().sign("two", &claims);
        refused(&asks(&controller, &certs.trusted(), &["runs"], &stranger), "no key here is called `two`");
    }
    assert!(asked.load(Ordering::SeqCst) <= 3, "asked {} times", asked.load(Ordering::SeqCst));
}

#[test]
fn a_key_set_in_a_file_is_read_again_when_it_changes() {
    let (one, two, certs) = (Es256::new(), Es256::new(), Certs::init());
    let file = certs.path("keys.json");
    std::fs::write(&file, json!({"keys": [one.jwk("one")]}).to_string()).unwrap();
    let flags = ["--jwks", &file.display().to_string(), "--jwt-issuer", "me"];
    // On this machine without TLS: a token is wanted there, too.
    let controller = Secured::start(&Shown::default().and(&flags));
    let mut claims = claims();
    claims["iss"] = json!("me");
    let ask = |token: &str| asks(&controller, &Shown::default(), &["runs"], token);
    ask(&one.sign("one", &claims)).expect_exit(0);
    refused(&ask(&two.sign("two", &claims)), "no key here is called `two`");
    std::fs::write(&file, json!({"keys": [two.jwk("two")]}).to_string()).unwrap();
    ask(&two.sign("two", &claims)).expect_exit(0);
    refused(&ask(&one.sign("one", &claims)), "no key here is called `one`");
    refused(&controller.asked(["runs"], &Shown::default()).ends(), "wants to know who you are");
}
