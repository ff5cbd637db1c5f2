//! Redirects inside one origin.

use http::Method;

/// Where the next request of the same attempt goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// `None`: as the first request.
    pub(super) method: Option<Method>,
    /// The full path, base path included.
    pub(super) path: Vec<u8>,
    pub(super) drops_body: bool,
}

/// The next hop, or `None` when the response stands as the result: it is no
/// redirect, or it leads to another origin.
pub(super) fn next_hop(origin: &str, path_now: &[u8], method: &Method, status: u16, location: &[u8]) -> Option<Hop> {
    let becomes_get = match status {
        301..=303 => method != Method::HEAD && method != Method::GET,
        307 | 308 => false,
        _ => return None,
    };
    let path = same_origin_path(origin, path_now, location)?;
    Some(Hop { method: becomes_get.then_some(Method::GET), path, drops_body: becomes_get })
}

fn same_origin_path(origin: &str, path_now: &[u8], location: &[u8]) -> Option<Vec<u8>> {
    let location = std::str::from_utf8(location).ok()?.trim();
    let location = location.split('#').next().unwrap_or_default();
    if location.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    if let Some((scheme, rest)) = location.split_once("://")
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return same_origin(origin, scheme, authority).then(|| rooted(path));
    }
    if let Some(rest) = location.strip_prefix("//") {
        let (scheme, _) = origin.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return same_origin(origin, scheme, authority).then(|| rooted(path));
    }
    if location.starts_with('/') {
        return Some(location.as_bytes().to_vec());
    }
    let now = std::str::from_utf8(path_now).ok()?;
    let now = now.split('?').next().unwrap_or_default();
    if location.starts_with('?') || location.is_empty() {
        return Some(format!("{now}{location}").into_bytes());
    }
    let folder = &now[..=now.rfind('/')?];
    Some(without_dots(&format!("{folder}{location}")).into_bytes())
}

fn rooted(path: &str) -> Vec<u8> {
    if path.starts_with('/') { path.as_bytes().to_vec() } else { format!("/{path}").into_bytes() }
}

fn same_origin(origin: &str, scheme: &str, authority: &str) -> bool {
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    origin.eq_ignore_ascii_case(&format!("{scheme}://{authority}"))
}

/// Resolves `.` and `..` of a relative reference (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let slash = if ends_open && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(location: &str) -> Option<String> {
        next_hop("http://a:81", b"/x/y?q=1", &Method::GET, 302, location.as_bytes())
            .and_then(|hop| String::from_utf8(hop.path).ok())
    }

    #[test]
    fn a_location_is_resolved_within_the_origin() {
        assert_eq!(path_of("/z").as_deref(), Some("/z"));
        assert_eq!(path_of("z").as_deref(), Some("/x/z"));
        assert_eq!(path_of("../z?n=2").as_deref(), Some("/z?n=2"));
        assert_eq!(path_of("?n=2").as_deref(), Some("/x/y?n=2"));
        assert_eq!(path_of("http://A:81/z#part").as_deref(), Some("/z"));
        assert_eq!(path_of("//a:81").as_deref(), Some("/"));
    }

    #[test]
    fn a_location_of_another_scheme_host_or_port_is_not_followed() {
        for location in ["https://a:81/z", "http://b:81/z", "http://a/z", "//b:81/z"] {
            assert_eq!(path_of(location), None, "{location}");
        }
    }

    #[test]
    fn a_see_other_becomes_get_and_a_temporary_redirect_keeps_the_method() {
        let hop = |method: Method, status| {
            next_hop("http://a", b"/", &method, status, b"/z").map(|hop| (hop.method, hop.drops_body))
        };
        for status in [301, 302, 303] {
            assert_eq!(hop(Method::POST, status), Some((Some(Method::GET), true)));
            assert_eq!(hop(Method::HEAD, status), Some((None, false)));
        }
        assert_eq!(hop(Method::POST, 307), Some((None, false)));
        assert_eq!(hop(Method::POST, 308), Some((None, false)));
        assert_eq!(hop(Method::POST, 304), None);
    }
}
