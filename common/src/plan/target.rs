//! Targets: where requests go and how connections to it are kept.

use super::{Endpoint, Template};
use bytes::Bytes;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Position in [`Plan::targets`](super::Plan::targets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u16);

/// `cloud/region`, e.g. `azure/eastus`: where an agent or a target lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

impl Region {
    /// Takes 1–64 characters of `[a-z0-9._-]` with at most one `/` inside.
    pub fn new(text: &str) -> Result<Self, InvalidRegion> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        if text.len() <= 64 && parts.len() <= 2 && parts.iter().all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRegion { text: text.to_owned() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Region {
    type Error = InvalidRegion;

    fn try_from(text: String) -> Result<Self, InvalidRegion> {
        Self::new(&text)
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a region: write `cloud/region` in lower case, e.g. `azure/eastus`")]
pub struct InvalidRegion {
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub name: String,
    pub scheme: Scheme,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// Put before every step's path; empty or `/…` without a final slash.
    pub base_path: String,
    pub region: Option<Region>,
    pub weight: u32,
    /// Sent with every request to this target unless the step sets the same name. Lower-case names.
    pub headers: Vec<(String, Template)>,
    pub http: HttpVersion,
    pub tls: TlsPolicy,
    pub connections: ConnectionPolicy,
    pub dns: DnsPolicy,
    /// Take the proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the agent.
    pub proxy_from_environment: bool,
    pub redirects: Redirects,
    /// Content codings offered in `accept-encoding`; empty: none is asked for and bodies are not decoded.
    pub accept_encoding: Vec<ContentCoding>,
    /// How it serves models, for steps that call one.
    pub endpoint: Endpoint,
}

impl Target {
    /// The value of the `host` header and of `:authority`: without the scheme's default port.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1 on `http`; whatever ALPN agrees on `https`.
    Auto,
    Http1,
    /// Prior knowledge on `http`; ALPN offers only h2 on `https`.
    Http2,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsPolicy {
    /// Trusted beside the system's roots.
    pub extra_ca: Option<PemSource>,
    pub client_certificate: Option<ClientCertificate>,
    /// Certificates are not verified; every result shows it.
    pub insecure: bool,
    /// Overrides the name sent in SNI and verified.
    pub server_name: Option<String>,
}

/// PEM text in the plan's bundle (certificates), or a path on the agent (keys: they are secrets).
#[derive(Clone, Debug, PartialEq)]
pub enum PemSource {
    Inline(Bytes),
    AgentPath(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    pub certificate: PemSource,
    pub key: PemSource,
}

/// Limits are for the whole agent and are dealt to its workers.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionPolicy {
    /// `None`: as many as users or arrivals need.
    pub max_connections: Option<u32>,
    /// A connection idle longer is closed instead of reused.
    pub idle_timeout: Duration,
    /// A connection older is closed instead of reused.
    pub lifetime: Option<Duration>,
    /// Requests after which a connection is closed; 1 means no keep-alive.
    pub max_requests: Option<u64>,
    /// Concurrent streams a HTTP/2 connection carries before another is opened.
    pub streams_per_connection: u32,
    /// Local addresses, used in turn. Empty: the kernel chooses.
    pub source_addresses: Vec<IpAddr>,
    pub tcp_nodelay: bool,
    /// TCP keep-alive probes after this idle time.
    pub keepalive_probes: Option<Duration>,
    pub connect_timeout: Duration,
}

impl Default for ConnectionPolicy {
    fn default() -> Self {
        Self {
            max_connections: None,
            idle_timeout: Duration::from_secs(90),
            lifetime: None,
            max_requests: None,
            streams_per_connection: 100,
            source_addresses: Vec::new(),
            tcp_nodelay: true,
            keepalive_probes: None,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct DnsPolicy {
    /// Names are looked up again after this time, off the request path.
    pub refresh: Duration,
}

impl Default for DnsPolicy {
    fn default() -> Self {
        Self { refresh: Duration::from_secs(30) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    Off,
    /// Follow up to this many; every hop is a part of the same attempt's time.
    Follow(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    Gzip,
    Brotli,
    Deflate,
    Zstd,
}
