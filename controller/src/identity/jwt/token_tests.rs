use super::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

const NOW: i64 = 1_900_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key() -> Vec<Named> {
    vec![Named::unnamed(Key::secret(SECRET).unwrap())]
}

fn expected() -> Expected {
    Expected { issuer: Some("https://id.example".to_owned()), audience: "squall".to_owned() }
}

fn good() -> Value {
    json!({"sub": "ann", "squall_role": "operator", "aud": "squall", "iss": "https://id.example", "exp": NOW + 60})
}

fn signed(claims: &Value) -> String {
    sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), claims)
}

fn checked(token: &str, keys: &[Named]) -> Result<Claims, String> {
    Unverified::read(token)?.verify(keys, &expected(), NOW)
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = good();
    claims[key] = value;
    claims
}

#[test]
fn a_good_token_says_who_and_what() {
    let claims = checked(&signed(&good()), &key()).unwrap();
    assert_eq!(claims, Claims { subject: "ann".to_owned(), role: Role::Operator });
    for (key_of_role, value) in [("roles", json!(["x", "viewer", "admin"])), ("roles", json!("admin"))] {
        let mut claims = with(key_of_role, value);
        claims.as_object_mut().unwrap().remove("squall_role");
        assert_eq!(checked(&signed(&claims), &key()).unwrap().role, Role::Admin);
    }
    assert!(checked(&signed(&with("aud", json!(["other", "squall"]))), &key()).is_ok());
    assert!(checked(&signed(&with("exp", json!(NOW - LEEWAY_S))), &key()).is_ok(), "clocks differ a little");
}

#[test]
fn every_claim_that_is_missing_or_wrong_is_named() {
    for (claims, named) in [
        (with("exp", json!(NOW - 60)), "expired"),
        (with("exp", Value::Null), "exp"),
        (with("exp", json!("tomorrow")), "exp"),
        (with("nbf", json!(NOW + 60)), "nbf"),
        (with("nbf", json!("yesterday")), "nbf"),
        (with("aud", json!("another")), "aud"),
        (with("aud", Value::Null), "aud"),
        (with("iss", json!("https://other.example")), "iss"),
        (with("iss", Value::Null), "iss"),
        (with("sub", json!("")), "sub"),
        (with("squall_role", json!("root")), "role"),
        (with("squall_role", Value::Null), "role"),
    ] {
        let told = checked(&signed(&claims), &key()).unwrap_err();
        assert!(told.contains(named), "{claims}: {told}");
    }
}

#[test]
fn another_secret_a_changed_claim_or_no_signature_is_not_taken() {
    let other = sign(&hmac::Key::new(hmac::HMAC_SHA256, b"another secret of thirty-two byte"), &good());
    let token = signed(&good());
    let (head, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let admin = URL_SAFE_NO_PAD.encode(with("squall_role", json!("admin")).to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let claims = URL_SAFE_NO_PAD.encode(good().to_string());
    for forged in [
        other,
        format!("{head}.{admin}.{signature}"),
        format!("{head}.{admin}."),
        format!("{none}.{claims}."),
        "a.b".to_owned(),
        "a.b.c.d".to_owned(),
        String::new(),
        "x".repeat(LONGEST + 1),
    ] {
        checked(&forged, &key()).unwrap_err();
    }
}

/// The old trick: a public key, which everybody has, taken as the secret of an HMAC.
#[test]
fn the_key_and_not_the_token_decides_the_algorithm() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let keys = [Named { id: Some("one".to_owned()), key: Key::p256(point.clone()).unwrap() }];

    let forged = sign(&hmac::Key::new(hmac::HMAC_SHA256, &point), &good());
    assert!(checked(&forged, &keys).unwrap_err().contains("HS256"));

    let signed = |header: &Value| {
        let text =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(good().to_string()));
        let signature = pair.sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    };
    assert!(checked(&signed(&json!({"alg": "ES256", "kid": "one"})), &keys).is_ok());
    assert!(checked(&signed(&json!({"alg": "ES256"})), &keys).is_ok());
    assert!(checked(&signed(&json!({"alg": "ES256", "kid": "two"})), &keys).unwrap_err().contains("`two`"));
    assert!(checked(&signed(&json!({"alg": "ES256", "crit": ["b64"]})), &keys).unwrap_err().contains("crit"));
    assert!(checked(&signed(&json!({"alg": "RS256", "kid": "one"})), &keys).is_err());
}

#[test]
fn a_file_is_a_secret_or_a_public_key_and_never_a_private_one() {
    assert!(Key::from_file(b"too short\n").unwrap_err().contains("too short"));
    assert_eq!(Key::from_file(&[SECRET, b"\n"].concat()).unwrap().algorithm(), "HS256");
    let pair = rcgen::KeyPair::generate().unwrap();
    assert_eq!(Key::from_file(pair.public_key_pem().as_bytes()).unwrap().algorithm(), "ES256");
    assert!(Key::from_file(pair.serialize_pem().as_bytes()).unwrap_err().contains("private"));
    let rsa = include_bytes!("rsa-public.pem");
    assert_eq!(Key::from_file(rsa).unwrap().algorithm(), "RS256");
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert!(Key::from_file(p384.public_key_pem().as_bytes()).unwrap_err().contains("P-256"));
}

/// Made with openssl, from the private key to `rsa-public.pem`.
#[test]
fn a_token_that_openssl_signed_is_taken() {
    let keys = [Named::unnamed(Key::from_file(include_bytes!("rsa-public.pem")).unwrap())];
    let token = include_str!("rsa-token.txt").trim();
    assert_eq!(checked(token, &keys).unwrap().role, Role::Viewer);
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert!(checked(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 256])), &keys).is_err());
}
