//! The proxy that the agent's environment names, when the plan asks for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use squall_common::plan::Scheme;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `proxy-authorization`, when the URL has a user.
    pub(super) authorization: Option<String>,
}

/// The proxy for a target, read through `variable` (a name to its value).
pub(super) fn proxy_for(
    scheme: Scheme,
    host: &str,
    port: u16,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, String> {
    let either_case = |name: &str| {
        variable(&name.to_ascii_lowercase()).or_else(|| variable(name)).filter(|value| !value.trim().is_empty())
    };
    let name = match scheme {
        Scheme::Http => "HTTP_PROXY",
        Scheme::Https => "HTTPS_PROXY",
    };
    let Some(url) = either_case(name) else { return Ok(None) };
    if either_case("NO_PROXY").is_some_and(|list| is_exempt(&list, host, port)) {
        return Ok(None);
    }
    parse(url.trim()).map(Some).map_err(|problem| format!("{name} {problem}"))
}

// The problem never shows the URL: it may hold a password.
fn parse(url: &str) -> Result<Proxy, &'static str> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err("is not an http:// URL; other proxies are not supported"),
        None => url,
    };
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, after)) => (host, after.strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if host.is_empty() {
        return Err("names no host");
    }
    let port = port.unwrap_or("80").parse().map_err(|_| "has a port that is not a number below 65536")?;
    let authorization = user.map(|user| {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let mut pair = decoded(name);
        pair.push(b':');
        pair.extend(decoded(password));
        format!("Basic {}", STANDARD.encode(pair))
    });
    Ok(Proxy { host: host.to_owned(), port, authorization })
}

/// Undoes percent-encoding; what is not one stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Whether NO_PROXY covers a host: `*`, names with their subdomains, addresses,
/// networks in CIDR notation, each but the last with an optional port.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
            return network.parse().is_ok_and(|network| in_network(address, network, bits));
        }
        if let Ok(listed) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            return address == Some(listed);
        }
        let (name, of_port) = match entry.rsplit_once(':') {
            Some((name, of_port)) if !name.contains(':') || name.ends_with(']') => (name, Some(of_port)),
            _ => (entry, None),
        };
        if of_port.is_some_and(|of_port| of_port.parse() != Ok(port)) {
            return false;
        }
        let name = name.trim_matches(['[', ']']).trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let host = host.to_ascii_lowercase();
        host == name || host.strip_suffix(&name).is_some_and(|front| front.ends_with('.'))
    })
}

fn in_network(address: IpAddr, network: IpAddr, bits: &str) -> bool {
    let same_front = |a: u128, b: u128, width: u32| {
        bits.parse::<u32>().is_ok_and(|bits| bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0))
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same_front(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same_front(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], host: &str) -> Result<Option<Proxy>, String> {
        proxy_for(Scheme::Http, host, 8080, |name| {
            variables.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_proxy_and_its_user_come_from_the_variable_in_either_case() {
        for name in ["HTTP_PROXY", "http_proxy"] {
            let proxy = with(&[(name, "http://us%40er:p:w@proxy.test:3128/")], "a.test").unwrap().unwrap();
            assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.test", 3128));
            assert_eq!(proxy.authorization, Some(format!("Basic {}", STANDARD.encode("us@er:p:w"))));
        }
        assert_eq!(with(&[], "a.test"), Ok(None));
        assert_eq!(with(&[("http_proxy", "[::1]:99")], "a.test").unwrap().unwrap().host, "::1");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        let problem = with(&[("HTTP_PROXY", "socks5://u:secret@p:1")], "a.test").unwrap_err();
        assert!(problem.contains("HTTP_PROXY") && !problem.contains("secret"), "{problem}");
    }

    #[test]
    fn no_proxy_exempts_names_subdomains_addresses_networks_and_ports() {
        let exempt =
            |list: &str, host: &str| with(&[("HTTP_PROXY", "http://p:1"), ("NO_PROXY", list)], host).unwrap().is_none();
        for (list, host) in [
            ("*", "a.test"),
            ("b.test, a.test", "a.test"),
            (".a.test", "x.A.test"),
            ("a.test:8080", "a.test"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("::1", "::1"),
        ] {
            assert!(exempt(list, host), "{list} {host}");
        }
        for (list, host) in [("a.test", "ba.test"), ("a.test:81", "a.test"), ("10.0.0.0/8", "11.0.0.1"), ("", "a.test")]
        {
            assert!(!exempt(list, host), "{list} {host}");
        }
    }
}
