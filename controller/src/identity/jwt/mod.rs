//! Operators' tokens: which keys sign them, and what they must say.
//!
//! A key decides the algorithm, never the token: a secret means HS256, an RSA
//! key RS256, a P-256 key ES256. Built on ring, which TLS brings along, since a
//! token is three pieces of base64 and the crates for it bring a second set of
//! ciphers.

mod jwks;
mod key;
mod token;

pub use key::{Key, Named};
pub use token::{Claims, Expected, sign};

use super::access::Token;
use jwks::Remote;
use squall_agent::reread::Reread;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A secret for HS256, or a public key in PEM.
    Key(PathBuf),
    /// A JSON Web Key Set: a file, or an `http(s)` URL.
    Jwks(String),
}

/// What is taken as a token.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    expected: Expected,
}

#[derive(Debug)]
enum Keys {
    Files(Reread<Vec<Named>>),
    Remote(Remote),
}

impl Tokens {
    /// Reads keys from files; from a URL with the first token.
    pub fn new(source: &Source, expected: Expected) -> Result<Self, String> {
        let keys = match source {
            Source::Key(path) => {
                Keys::Files(from_file(path, |bytes| Ok(vec![Named::unnamed(Key::from_file(bytes)?)]))?)
            }
            Source::Jwks(url) if url.contains("://") => Keys::Remote(Remote::new(url)?),
            Source::Jwks(path) => Keys::Files(from_file(Path::new(path), jwks::keys)?),
        };
        Ok(Self { keys, expected })
    }

    /// What becomes of the `authorization` header of a call.
    pub async fn check(&self, authorization: Option<&str>, now_unix_s: i64) -> Token {
        let Some(header) = authorization else { return Token::Missing };
        let Some(token) = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer ")) else {
            return Token::Bad("`authorization` is not `Bearer TOKEN`".to_owned());
        };
        match self.verify(token.trim(), now_unix_s).await {
            Ok(claims) => Token::Good(claims),
            Err(why) => Token::Bad(why),
        }
    }

    async fn verify(&self, token: &str, now_unix_s: i64) -> Result<Claims, String> {
        let unverified = token::Unverified::read(token)?;
        let keys: Arc<Vec<Named>> = match &self.keys {
            Keys::Files(keys) => keys.current(),
            Keys::Remote(remote) => remote.keys_for(unverified.key_id()).await?,
        };
        unverified.verify(&keys, &self.expected, now_unix_s)
    }
}

fn from_file(
    path: &Path,
    keys: impl Fn(&[u8]) -> Result<Vec<Named>, String> + Send + Sync + 'static,
) -> Result<Reread<Vec<Named>>, String> {
    let read = path.to_owned();
    Reread::new([path.to_owned()], move || {
        let named = |why: String| format!("{}: {why}", read.display());
        let bytes = std::fs::read(&read).map_err(|error| named(format!("it cannot be read: {error}")))?;
        keys(&bytes).map_err(named)
    })
}
