//! Which targets load may be sent to: patterns of hosts, addresses and networks.
//!
//! Pure: whoever looks names up brings the addresses along. A host is allowed
//! by its own name, or by what it resolves to. A name that is allowed only by
//! itself may lead anywhere on the public internet, but into a private network,
//! to this machine or to a cloud's metadata service only where the list holds
//! those addresses too: otherwise whoever answers for the name could turn the
//! load on what its owner never meant (DNS rebinding).

use crate::plan::{Plan, SecretSource};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Targets that load may be sent to. The default is loopback only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    patterns: Vec<Pattern>,
    /// The list was made from a plan on this very machine: its user chose the
    /// names, the resolver and the proxy, so names may lead anywhere.
    trusts_names: bool,
}

/// One entry: `api.example.com`, `*.example.com`, `10.0.0.7`, `10.0.0.0/8` or
/// `*`, each with an optional `:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    Name(String),
    /// Every name below this one, and not the name itself.
    Below(String),
    Network(IpAddr, u8),
}

/// Why a pattern cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a target to allow: {advice}")]
pub struct InvalidPattern {
    text: String,
    advice: String,
}

/// A target that the list does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not allowed here (allowed: {allowed}); to allow it, add `--allow-target {pattern}`")]
pub struct NotAllowed {
    /// The host, and what it resolves to where that matters.
    pub what: String,
    /// The whole list.
    pub allowed: String,
    /// What to add.
    pub pattern: String,
}

impl Default for AllowList {
    fn default() -> Self {
        let host = |host| Pattern { host, port: None };
        Self {
            patterns: vec![
                host(HostPattern::Name("localhost".to_owned())),
                host(HostPattern::Network(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8)),
                host(HostPattern::Network(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)),
            ],
            trusts_names: false,
        }
    }
}

impl AllowList {
    /// Every target there is.
    pub fn any() -> Self {
        Self { patterns: vec![Pattern { host: HostPattern::Any, port: None }], trusts_names: true }
    }

    /// What was asked for, or the default where nothing was.
    pub fn of(patterns: Vec<Pattern>) -> Self {
        if patterns.is_empty() { Self::default() } else { Self { patterns, trusts_names: false } }
    }

    /// Just the targets and token endpoints that a plan names, wherever their names lead: for agents
    /// in the process of the user who wrote the plan.
    pub fn exactly(plan: &Plan) -> Self {
        let targets = plan.targets.iter().map(|target| (&target.host, target.port));
        let endpoints = plan.secrets.iter().filter_map(|source| match source {
            SecretSource::Token(grant) => Some((&grant.host, grant.port)),
            SecretSource::Environment(_) | SecretSource::File(_) => None,
        });
        let patterns = targets.chain(endpoints).map(|(host, port)| {
            let host = match host.parse::<IpAddr>() {
                Ok(address) => HostPattern::Network(address, width(address)),
                Err(_) => HostPattern::Name(canonical(host)),
            };
            Pattern { host, port: Some(port) }
        });
        Self { patterns: patterns.collect(), trusts_names: true }
    }

    /// Whether the host stands on the list as it is written: a name by its name,
    /// an address by its network.
    pub fn names(&self, host: &str, port: u16) -> bool {
        match host.parse::<IpAddr>() {
            Ok(address) => self.holds(address, port),
            Err(_) => {
                let host = canonical(host);
                self.patterns.iter().any(|pattern| pattern.is_for(port) && pattern.host.names(&host))
            }
        }
    }

    /// Whether the host is on the list by its own name or address.
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), NotAllowed> {
        if self.names(host, port) { Ok(()) } else { Err(self.refusal(host, port, None)) }
    }

    /// Whether load may go to all the addresses that a host has now.
    pub fn check_addresses(&self, host: &str, port: u16, addresses: &[SocketAddr]) -> Result<(), NotAllowed> {
        let is_named = self.names(host, port);
        let refused = addresses.iter().map(SocketAddr::ip).find(|&address| {
            let by_name = is_named && (self.trusts_names || is_public(address));
            !by_name && !self.holds(address, port)
        });
        match refused {
            None => Ok(()),
            Some(address) => Err(self.refusal(host, port, Some((address, is_named)))),
        }
    }

    /// A proxy is a target too, except where the user of this process chose it.
    pub fn trusts_proxy(&self) -> bool {
        self.trusts_names
    }

    fn holds(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.patterns.iter().any(|pattern| pattern.is_for(port) && pattern.host.holds(address))
    }

    fn refusal(&self, host: &str, port: u16, leads_to: Option<(IpAddr, bool)>) -> NotAllowed {
        let shown = |host: &str| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        let (what, pattern) = match leads_to {
            // The name is fine, what it resolves to is not.
            Some((address, true)) if !is_address => {
                (format!("`{}`, which resolves to {address},", shown(host)), address.to_string())
            }
            Some((address, false)) if !is_address => (format!("`{}` ({address})", shown(host)), canonical(host)),
            _ => (format!("`{}`", shown(host)), host.to_owned()),
        };
        NotAllowed { what, allowed: self.to_string(), pattern }
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("loopback only");
        }
        for (n, pattern) in self.patterns.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{pattern}")?;
        }
        Ok(())
    }
}

impl Pattern {
    fn is_for(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

impl HostPattern {
    /// `host` is canonical and no address.
    fn names(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(name) => host == name,
            Self::Below(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
            Self::Network(..) => false,
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Any, _) => true,
            (Self::Network(IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                same_front(network.to_bits().into(), address.to_bits().into(), u32::from(*bits), 32)
            }
            (Self::Network(IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                same_front(network.to_bits(), address.to_bits(), u32::from(*bits), 128)
            }
            _ => false,
        }
    }
}

fn same_front(a: u128, b: u128, bits: u32, width: u32) -> bool {
    bits == 0 || (a ^ b) >> (width - bits) == 0
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Lower case, without the root's dot.
fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Reached over the public internet: not this machine, a private network, a link
/// (where clouds keep their metadata services) or nobody.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            !(a == 0 || a >= 224 || is_shared || v4.is_private() || v4.is_loopback() || v4.is_link_local())
        }
        IpAddr::V6(v6) => match v6.segments() {
            // NAT64 and 6to4 carry an IPv4 address.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public(IpAddr::V4(joined(high, low))),
            [0x2002, high, low, ..] => is_public(IpAddr::V4(joined(high, low))),
            [first, ..] => {
                let is_special = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00;
                !(is_special || v6.is_loopback() || v6.is_unspecified())
            }
        },
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Name(name) => name.clone(),
            HostPattern::Below(name) => format!("*.{name}"),
            HostPattern::Network(address, bits) if *bits == width(*address) => address.to_string(),
            HostPattern::Network(address, bits) => format!("{address}/{bits}"),
        };
        match self.port {
            None => f.write_str(&host),
            Some(port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Some(port) => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |advice: &str| InvalidPattern { text: text.to_owned(), advice: advice.to_owned() };
        if text.contains("://") {
            return Err(invalid("write only the host of the URL, e.g. `api.example.com`, or `api.example.com:8443`"));
        }
        let (host, port) = split_port(text).ok_or_else(|| invalid("its port is not a number from 1 to 65535"))?;
        Ok(Self { host: host_pattern(host).map_err(|advice| invalid(&advice))?, port })
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare IPv6 address or network.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
    if let Some((host, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match after.strip_prefix(':') {
            Some(after) => Some((host, Some(port(after)?))),
            None if after.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match text.rsplit_once(':') {
        Some((host, after)) if !host.contains(':') => Some((host, Some(port(after)?))),
        _ => Some((text, None)),
    }
}

fn host_pattern(host: &str) -> Result<HostPattern, String> {
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some((network, bits)) = host.split_once('/') {
        let network: IpAddr =
            network.parse().map_err(|_| "a network is written `10.0.0.0/8` or `fd00::/8`, a host without a path")?;
        let bits = bits.parse().ok().filter(|bits| *bits <= width(network));
        return bits
            .map(|bits| HostPattern::Network(network, bits))
            .ok_or_else(|| format!("the length after `/` goes from 0 to {}", width(network)));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        return Ok(HostPattern::Network(address, width(address)));
    }
    let (name, is_below) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let name = canonical(name);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("write a host, `*.` and a domain, an address, or a network like `10.0.0.0/8`".to_owned());
    }
    Ok(if is_below { HostPattern::Below(name) } else { HostPattern::Name(name) })
}

#[cfg(test)]
mod tests;
