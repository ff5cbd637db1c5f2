//! Tokens: asked for, checked, expired, revoked.

#![allow(clippy::unwrap_used)] // clippy's leave for tests ends at test functions

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use squall_simulator::BearerTruth;
use support::{Cloud, EAST, cloud_from, hello};

const CHAT: &str = "/openai/deployments/gpt-4o/chat/completions";
const AUDIENCE: &str = "https://cognitiveservices.azure.com";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

async fn cloud(assertion_keys: &Value) -> Cloud {
    cloud_from(
        &json!({
            "identity": {"tenant": "contoso", "clients": [
                {"id": "fleet", "secret": "s3cret", "assertion_keys": assertion_keys, "assertion_subject": "system:agent"},
            ]},
            "regions": [{"name": EAST, "api_key": "key", "deployments": [{"name": "gpt-4o", "bearer_audience": AUDIENCE}]}],
        })
        .to_string(),
    )
    .await
}

async fn ask(cloud: &Cloud, tenant: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let form: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
    let url = format!("{}/{tenant}/oauth2/v2.0/token", cloud.simulator.admin_url());
    let request = cloud.client.post(url).header("content-type", "application/x-www-form-urlencoded");
    let response = request.body(form.join("&")).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

const GOOD: [(&str, &str); 4] =
    [("grant_type", "client_credentials"), ("client_id", "fleet"), ("scope", SCOPE), ("client_secret", "s3cret")];

async fn token(cloud: &Cloud) -> String {
    let (status, answer) = ask(cloud, "contoso", &GOOD).await;
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")), "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn chat(cloud: &Cloud, token: &str) -> u16 {
    let request = cloud.client.post(cloud.url(CHAT)).bearer_auth(token).json(&hello(1, false));
    request.send().await.unwrap().status().as_u16()
}

async fn admin(cloud: &Cloud, path: &str, body: Value) {
    let url = format!("{}/admin/{path}", cloud.simulator.admin_url());
    assert_eq!(cloud.client.post(url).json(&body).send().await.unwrap().status(), 200);
}

fn bearers(cloud: &Cloud) -> BearerTruth {
    cloud.simulator.truth().deployment(EAST, "gpt-4o").unwrap().bearer
}

#[tokio::test]
async fn a_token_opens_its_deployment_and_nothing_else_does() {
    let cloud = cloud(&json!([])).await;
    let good = token(&cloud).await;
    assert_eq!(chat(&cloud, &good).await, 200);
    assert_eq!(chat(&cloud, "key").await, 401);
    let keyed =
        cloud.client.post(cloud.url(CHAT)).header("api-key", "key").json(&hello(1, false)).send().await.unwrap();
    assert_eq!((keyed.status().as_u16(), keyed.headers().contains_key("www-authenticate")), (401, true));
    let mut elsewhere = GOOD;
    elsewhere[2] = ("scope", "https://vault.azure.net/.default");
    let (_, answer) = ask(&cloud, "contoso", &elsewhere).await;
    assert_eq!(chat(&cloud, answer["access_token"].as_str().unwrap()).await, 401);
    let expected = BearerTruth { valid: 1, missing: 1, invalid: 1, wrong_audience: 1, ..BearerTruth::default() };
    assert_eq!(bearers(&cloud), expected);
    let identity = cloud.simulator.truth().identity.unwrap();
    assert_eq!((identity.asked, identity.issued), (2, 2));
}

#[tokio::test]
async fn the_key_set_verifies_its_tokens() {
    let cloud = cloud(&json!([])).await;
    let token = token(&cloud).await;
    let url = format!("{}/contoso/discovery/v2.0/keys", cloud.simulator.admin_url());
    let keys: Value = cloud.client.get(url).send().await.unwrap().json().await.unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(keys["keys"][0][name].as_str().unwrap()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key =
        ring::signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [vec![4], part("x"), part("y")].concat());
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
}

#[tokio::test]
async fn revocation_strikes_tokens_issued_before_it_and_no_others() {
    let cloud = cloud(&json!([])).await;
    let before = token(&cloud).await;
    assert_eq!(chat(&cloud, &before).await, 200);
    admin(&cloud, "identity/revoke", json!({})).await;
    assert_eq!(chat(&cloud, &before).await, 401);
    let after = token(&cloud).await;
    assert_eq!(chat(&cloud, &after).await, 200);
    assert_eq!(bearers(&cloud), BearerTruth { valid: 2, revoked: 1, ..BearerTruth::default() });
}

#[tokio::test]
async fn a_token_expires_when_its_lifetime_is_over() {
    let cloud = cloud(&json!([])).await;
    admin(&cloud, "identity", json!({"lifetime_s": 1})).await;
    let (_, answer) = ask(&cloud, "contoso", &GOOD).await;
    assert_eq!(answer["expires_in"], 1);
    let token = answer["access_token"].as_str().unwrap();
    while bearers(&cloud).expired == 0 {
        chat(&cloud, token).await;
    }
    assert_eq!(chat(&cloud, token).await, 401);
}

#[tokio::test]
async fn refusals_have_entras_shape_and_codes() {
    let cloud = cloud(&json!([])).await;
    let with = |at: usize, field: (&'static str, &'static str)| {
        let mut fields = GOOD;
        fields[at] = field;
        fields
    };
    let wrong = [
        ("contoso", with(0, ("x", "")), 400, "invalid_request", 900_144),
        ("contoso", with(0, ("grant_type", "password")), 400, "unsupported_grant_type", 70_003),
        ("contoso", with(1, ("client_id", "nobody")), 400, "unauthorized_client", 700_016),
        ("contoso", with(2, ("scope", AUDIENCE)), 400, "invalid_scope", 1_002_012),
        ("contoso", with(3, ("client_secret", "guess")), 401, "invalid_client", 7_000_215),
        ("contoso", with(3, ("x", "")), 401, "invalid_client", 7_000_218),
        ("fabrikam", GOOD, 400, "invalid_request", 90_002),
    ];
    for (tenant, fields, status, error, code) in wrong {
        let (answered, answer) = ask(&cloud, tenant, &fields).await;
        assert_eq!((answered, &answer["error"], &answer["error_codes"]), (status, &json!(error), &json!([code])));
        assert!(answer["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")));
        assert!(
            answer["trace_id"].is_string() && answer["correlation_id"].is_string() && answer["timestamp"].is_string()
        );
    }
    let truth = cloud.simulator.truth().identity.unwrap();
    assert_eq!((truth.issued, truth.refused.len(), truth.refused["AADSTS7000215"]), (0, 7, 1));
}

#[tokio::test]
async fn an_assertion_stands_for_a_secret_if_all_of_it_is_right() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    let cloud = cloud(&json!([jwk])).await;
    let assertion = |claims: Value| {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(json!({"alg": "ES256"})), encode(claims));
        let signature = pair.sign(&random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let claims = |aud: &str, sub: &str, exp: u64| json!({"aud": aud, "sub": sub, "exp": exp});
    let (exchange, later) = ("api://AzureADTokenExchange", 99_999_999_999);
    let mut forged = assertion(claims(exchange, "system:agent", later));
    forged.truncate(forged.len() - 4);
    forged.push_str("AAAA");
    let cases = [
        (assertion(claims(exchange, "system:agent", later)), None),
        (assertion(claims("https://login/contoso/oauth2/v2.0/token", "system:agent", later)), None),
        (assertion(claims(exchange, "system:intruder", later)), Some(700_213)),
        (assertion(claims("https://elsewhere", "system:agent", later)), Some(700_212)),
        (assertion(claims(exchange, "system:agent", 1)), Some(700_024)),
        (forged, Some(700_027)),
        ("nonsense".to_owned(), Some(50_027)),
    ];
    for (assertion, code) in cases {
        let mut fields = GOOD[..3].to_vec();
        fields.extend([("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion.as_str())]);
        let (status, answer) = ask(&cloud, "contoso", &fields).await;
        match code {
            None => assert_eq!(chat(&cloud, answer["access_token"].as_str().unwrap()).await, 200),
            Some(code) => assert_eq!((status, &answer["error_codes"]), (401, &json!([code]))),
        }
    }
}

#[tokio::test]
async fn a_tenant_can_be_unavailable_for_a_while() {
    let cloud = cloud(&json!([])).await;
    admin(&cloud, "identity", json!({"unavailable": true})).await;
    assert_eq!(ask(&cloud, "contoso", &GOOD).await.0, 503);
    admin(&cloud, "identity", json!({"unavailable": false})).await;
    token(&cloud).await;
    assert_eq!(cloud.simulator.truth().identity.unwrap().unavailable, 1);
}
