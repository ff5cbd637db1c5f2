//! JSON web tokens: signed with ES256, verified with ES256, RS256 and PS256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Value, json};

const UNCOMPRESSED_POINT: u8 = 4;
const COORDINATE_BYTES: usize = 32;

/// A key of our own, made at the start.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    id: String,
}

/// Someone's public key, from a JWK.
#[derive(Clone, Debug)]
pub(crate) enum PublicKey {
    Ec(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// A token taken apart; nothing of it has been verified.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) algorithm: String,
    pub(crate) claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn generate() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .map_err(|_| "no random numbers")
            .and_then(|pkcs8| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).map_err(|_| "bad key"));
        let pair = made.expect("the system has random numbers, and a fresh key can be read");
        let id = URL_SAFE_NO_PAD.encode(&pair.public_key().as_ref()[1..17]);
        Self { pair, random, id }
    }

    /// None only when the system has no random numbers.
    pub(crate) fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({"typ": "JWT", "alg": "ES256", "kid": self.id});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::Ec(self.pair.public_key().as_ref().to_vec())
    }

    /// The public key, as key sets list it.
    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(COORDINATE_BYTES);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"kty": "EC", "use": "sig", "crv": "P-256", "alg": "ES256", "kid": self.id, "x": x, "y": y})
    }
}

impl<'a> Parts<'a> {
    /// None when it is no token at all.
    pub(crate) fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let algorithm = json(header)?.get("alg")?.as_str()?.to_owned();
        Some(Self { algorithm, claims: json(claims)?, signed, signature: URL_SAFE_NO_PAD.decode(signature).ok()? })
    }

    pub(crate) fn text(&self, claim: &str) -> &str {
        self.claims.get(claim).and_then(Value::as_str).unwrap_or_default()
    }

    /// A time in seconds since 1970.
    pub(crate) fn seconds(&self, claim: &str) -> Option<u64> {
        self.claims.get(claim).and_then(Value::as_u64)
    }

    pub(crate) fn is_signed_by(&self, key: &PublicKey) -> bool {
        let (message, signature) = (self.signed.as_bytes(), &self.signature);
        let verified = match (key, self.algorithm.as_str()) {
            (PublicKey::Ec(point), "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (PublicKey::Rsa { n, e }, "RS256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (PublicKey::Rsa { n, e }, "PS256") => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, message, signature)
            }
            _ => return false,
        };
        verified.is_ok()
    }
}

impl PublicKey {
    /// A key of P-256 or RSA; none when it is another, or broken.
    pub(crate) fn of_jwk(jwk: &Value) -> Option<Self> {
        let bytes = |field: &str| URL_SAFE_NO_PAD.decode(jwk.get(field)?.as_str()?).ok();
        match jwk.get("kty")?.as_str()? {
            "EC" => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                let is_whole = x.len() == COORDINATE_BYTES && y.len() == COORDINATE_BYTES;
                is_whole.then(|| Self::Ec([vec![UNCOMPRESSED_POINT], x, y].concat()))
            }
            "RSA" => Some(Self::Rsa { n: bytes("n")?, e: bytes("e")? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_verified_by_its_key_and_by_no_other() {
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let token = key.sign(&json!({"aud": "sea"})).unwrap();
        let parts = Parts::of(&token).unwrap();
        assert_eq!((parts.algorithm.as_str(), parts.text("aud")), ("ES256", "sea"));
        assert!(parts.is_signed_by(&key.public()) && !parts.is_signed_by(&other.public()));
        assert!(parts.is_signed_by(&PublicKey::of_jwk(&key.jwk()).unwrap()), "the key set has the same key");
    }

    #[test]
    fn changed_claims_break_the_signature() {
        let key = SigningKey::generate();
        let token = key.sign(&json!({"aud": "sea"})).unwrap();
        let (header, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let forged = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"aud":"land"}"#));
        assert!(!Parts::of(&forged).unwrap().is_signed_by(&key.public()));
        assert!(Parts::of("no token").is_none() && Parts::of("a.b.c").is_none());
    }

    #[test]
    fn rsa_signatures_of_both_kinds_are_verified() {
        let jwk: Value = serde_json::from_str(include_str!("testdata/rsa.jwk.json")).unwrap();
        let key = PublicKey::of_jwk(&jwk).unwrap();
        for token in [include_str!("testdata/rs256.jwt"), include_str!("testdata/ps256.jwt")] {
            let token = token.trim();
            let parts = Parts::of(token).unwrap();
            assert!(parts.is_signed_by(&key), "{}", parts.algorithm);
            let forged = token.replacen("eyJ", "eyI", 2);
            assert!(Parts::of(&forged).is_none_or(|parts| !parts.is_signed_by(&key)));
        }
    }
}
