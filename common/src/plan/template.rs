//! Text with dynamic parts, resolved once per request without copying what is fixed.

use super::FeederId;
use bytes::Bytes;

/// Position in [`Plan::variables`](super::Plan::variables).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VarId(pub u16);

/// Position in [`Plan::secrets`](super::Plan::secrets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretId(pub u16);

/// A secret is a reference; its value exists only on the agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// `${env:NAME}`
    Environment(String),
    /// `${file:PATH}`
    File(String),
    /// An access token that another secret is exchanged for.
    Token(Box<TokenGrant>),
}

/// OAuth 2.0 client credentials (RFC 6749, 4.4), as Microsoft Entra ID serves them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenGrant {
    /// Of the token endpoint.
    pub url: String,
    pub host: String,
    pub port: u16,
    pub client_id: String,
    pub scope: String,
    pub proof: Proof,
}

/// What shows that the client is who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    Secret(SecretId),
    /// A JWT that someone else issued (RFC 7523), e.g. a workload identity's.
    Assertion(SecretId),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// No two literals stand side by side and none is empty.
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Literal(Bytes),
    /// `{{$…}}`: made anew for each use from the iteration's seed.
    Dynamic(Dynamic),
    /// `{{name}}`: extracted by an earlier step.
    Variable(VarId),
    /// `{{feeder.column}}`
    Column(FeederId, u16),
    Secret(SecretId),
}

/// The dynamic values of Postman that need no state, by their names there.
#[derive(Clone, Debug, PartialEq)]
pub enum Dynamic {
    /// Both bounds included. Postman's default is 0–1000.
    Int { min: i64, max: i64 },
    /// RFC 9562 version 4.
    Guid,
    /// Seconds since the epoch.
    Timestamp,
    /// RFC 3339 with milliseconds.
    IsoTimestamp,
    /// A named generator of fake data; the index into the table in `dynamic.rs`.
    Fake(u16),
}

impl Template {
    pub fn literal(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self { parts: if text.is_empty() { Vec::new() } else { vec![Part::Literal(text)] } }
    }

    /// The whole text, when nothing in it is dynamic.
    pub fn as_literal(&self) -> Option<Bytes> {
        match self.parts.as_slice() {
            [] => Some(Bytes::new()),
            [Part::Literal(text)] => Some(text.clone()),
            _ => None,
        }
    }
}
