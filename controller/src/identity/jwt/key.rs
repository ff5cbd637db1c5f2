//! Keys that sign tokens.

use ring::{hmac, signature};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

/// A secret shorter than its digest is guessed sooner than the digest (RFC 7518, 3.2).
pub const SHORTEST_SECRET: usize = 32;
/// An uncompressed point of P-256.
const P256_POINT: usize = 65;
const SHORTEST_MODULUS: usize = 256;

/// One key, which means one algorithm.
#[derive(Clone)]
pub enum Key {
    Secret(hmac::Key),
    /// Modulus and exponent, big-endian.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
}

/// A key, and the name that tokens call it by.
#[derive(Clone, Debug)]
pub struct Named {
    pub id: Option<String>,
    pub key: Key,
}

impl Named {
    pub fn unnamed(key: Key) -> Self {
        Self { id: None, key }
    }
}

/// Never the key itself.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key for {}", self.algorithm())
    }
}

impl Key {
    /// A secret, or a public key in PEM, as in a file.
    pub fn from_file(bytes: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(bytes);
        if !text.contains("-----BEGIN ") {
            return Self::secret(text.trim_end_matches(['\r', '\n']).as_bytes());
        }
        if text.contains("PRIVATE KEY-----") {
            return Err("it holds a private key; a controller needs only the public one \
                        (`openssl pkey -in FILE -pubout`)"
                .to_owned());
        }
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(bytes)
            .map_err(|_| "it holds no `PUBLIC KEY` (`openssl pkey -in FILE -pubout` makes one)".to_owned())?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki.as_ref()).map_err(|error| error.to_string())?;
        match spki.parsed().map_err(|error| error.to_string())? {
            PublicKey::RSA(rsa) => Self::rsa(rsa.modulus.to_vec(), rsa.exponent.to_vec()),
            PublicKey::EC(point) => Self::p256(point.data().to_vec()),
            _ => Err("its key is neither RSA nor P-256".to_owned()),
        }
    }

    pub fn secret(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < SHORTEST_SECRET {
            return Err(format!(
                "a secret of {} bytes is too short, {SHORTEST_SECRET} are needed: \
                 `head -c 48 /dev/urandom | base64 > FILE` makes one",
                bytes.len()
            ));
        }
        Ok(Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    pub fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, String> {
        // DER puts a zero before a number that would look negative.
        let n: Vec<u8> = n.into_iter().skip_while(|&byte| byte == 0).collect();
        match n.len() {
            SHORTEST_MODULUS..=1_024 => Ok(Self::Rsa { n, e }),
            bytes => Err(format!("an RSA key of {} bits is not taken, 2048 to 8192 are", bytes * 8)),
        }
    }

    pub fn p256(point: Vec<u8>) -> Result<Self, String> {
        match (point.first(), point.len()) {
            (Some(4), P256_POINT) => Ok(Self::P256(point)),
            _ => Err("its curve is not P-256, the one of ES256".to_owned()),
        }
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    pub fn has_signed(&self, message: &[u8], signed: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signed).is_ok(),
            Self::Rsa { n, e } => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signed)
                .is_ok(),
            Self::P256(point) => signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signed)
                .is_ok(),
        }
    }
}
