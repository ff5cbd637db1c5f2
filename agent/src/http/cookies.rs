//! A user's cookies: the part of RFC 6265 that load needs.

use std::time::Duration;

/// Beyond this many the oldest makes room, so a server that mints names cannot
/// fill memory.
const COOKIES_MAX: usize = 64;

/// Longer `set-cookie` values are ignored, as browsers do.
const COOKIE_BYTES_MAX: usize = 4096;

#[derive(Clone, Debug)]
struct Cookie {
    name: Vec<u8>,
    value: Vec<u8>,
    domain: String,
    /// No `domain` attribute: only this very host.
    host_only: bool,
    path: String,
    secure: bool,
    /// Nanoseconds on the caller's clock; `None`: for the user's life.
    expires_ns: Option<u64>,
}

/// One user's cookies. The caller decides when to use it.
#[derive(Clone, Debug, Default)]
pub struct CookieJar {
    cookies: Vec<Cookie>,
}

impl CookieJar {
    /// An empty jar.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the values of a response's `set-cookie` headers. `now_ns` is any
    /// monotonic clock, the same for every call; `path` is the request's path.
    pub fn store<'a>(&mut self, set_cookie: impl Iterator<Item = &'a [u8]>, host: &str, path: &str, now_ns: u64) {
        for value in set_cookie {
            if let Some(cookie) = parse(value, host, path, now_ns) {
                self.replace(cookie, now_ns);
            }
        }
    }

    fn replace(&mut self, cookie: Cookie, now_ns: u64) {
        let is_same = |old: &Cookie| old.name == cookie.name && old.domain == cookie.domain && old.path == cookie.path;
        self.cookies.retain(|old| !is_same(old) && old.expires_ns.is_none_or(|expires_ns| expires_ns > now_ns));
        if cookie.expires_ns.is_some_and(|expires_ns| expires_ns <= now_ns) {
            return;
        }
        if self.cookies.len() == COOKIES_MAX {
            self.cookies.remove(0);
        }
        self.cookies.push(cookie);
    }

    /// Appends the `cookie` header's value for a request to `out`; returns whether
    /// there was anything to append. Longer paths come first.
    pub fn header_for(&self, host: &str, path: &str, secure: bool, now_ns: u64, out: &mut Vec<u8>) -> bool {
        let mut fitting: Vec<&Cookie> =
            self.cookies.iter().filter(|cookie| cookie.fits(host, path, secure, now_ns)).collect();
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        for (place, cookie) in fitting.iter().enumerate() {
            if place > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(&cookie.name);
            out.push(b'=');
            out.extend_from_slice(&cookie.value);
        }
        !fitting.is_empty()
    }

    /// Forgets every cookie: a new user begins.
    pub fn clear(&mut self) {
        self.cookies.clear();
    }
}

impl Cookie {
    fn fits(&self, host: &str, path: &str, secure: bool, now_ns: u64) -> bool {
        let is_host = host.eq_ignore_ascii_case(&self.domain);
        (is_host || !self.host_only && is_under(host, &self.domain))
            && path_fits(path, &self.path)
            && (secure || !self.secure)
            && self.expires_ns.is_none_or(|expires_ns| expires_ns > now_ns)
    }
}

fn is_under(host: &str, domain: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    !is_address && host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'))
}

fn path_fits(path: &str, of_cookie: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.strip_prefix(of_cookie)
        .is_some_and(|rest| rest.is_empty() || of_cookie.ends_with('/') || rest.starts_with('/'))
}

fn parse(value: &[u8], host: &str, path: &str, now_ns: u64) -> Option<Cookie> {
    if value.len() > COOKIE_BYTES_MAX || value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return None;
    }
    let mut parts = value.split(|&byte| byte == b';');
    let (name, text) = split_at_equals(parts.next()?)?;
    if name.is_empty() {
        return None;
    }
    let mut cookie = Cookie {
        name: name.to_vec(),
        value: text.to_vec(),
        domain: host.to_ascii_lowercase(),
        host_only: true,
        path: default_path(path),
        secure: false,
        expires_ns: None,
    };
    let mut has_max_age = false;
    for part in parts {
        let (key, text) = split_at_equals(part).unwrap_or((part.trim_ascii(), b""));
        let text = std::str::from_utf8(text).unwrap_or_default();
        match key.to_ascii_lowercase().as_slice() {
            b"secure" => cookie.secure = true,
            b"path" if text.starts_with('/') => cookie.path = text.to_owned(),
            b"domain" if !text.trim_start_matches('.').is_empty() => {
                let domain = text.trim_start_matches('.').to_ascii_lowercase();
                if domain != cookie.domain {
                    // One label is a public suffix for sure; others we do not list.
                    if !domain.contains('.') || !is_under(host, &domain) {
                        return None;
                    }
                    cookie.domain = domain;
                    cookie.host_only = false;
                } else if host.parse::<std::net::IpAddr>().is_err() {
                    cookie.host_only = false;
                }
            }
            b"max-age" => {
                if let Ok(seconds) = text.parse::<i64>() {
                    has_max_age = true;
                    let age = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                    cookie.expires_ns = Some(super::deadline::due_after(now_ns, age));
                }
            }
            b"expires" if !has_max_age => cookie.expires_ns = expires_ns(text, now_ns).or(cookie.expires_ns),
            _ => {}
        }
    }
    Some(cookie)
}

fn split_at_equals(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|&byte| byte == b'=')?;
    Some((part[..at].trim_ascii(), part[at + 1..].trim_ascii()))
}

fn default_path(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    match path.rfind('/') {
        Some(at) if at > 0 && path.starts_with('/') => path[..at].to_owned(),
        _ => "/".to_owned(),
    }
}

/// An `expires` date as an instant of the monotonic clock.
fn expires_ns(text: &str, now_ns: u64) -> Option<u64> {
    let expires = unix_seconds(text)?;
    let unix_now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let left = u64::try_from(expires).unwrap_or(0).saturating_sub(unix_now);
    Some(super::deadline::due_after(now_ns, Duration::from_secs(left)))
}

/// Reads a cookie date (RFC 6265, 5.1.1) loosely: tokens in any order.
fn unix_seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (mut day, mut month, mut year, mut time) = (None, None, None, None);
    for token in text.split([' ', ',', '-']).filter(|token| !token.is_empty()) {
        let lower = token.to_ascii_lowercase();
        if token.contains(':') {
            let mut parts = token.split(':').map(|part| part.parse::<i64>().ok());
            time = Some((parts.next()??, parts.next()??, parts.next()??));
        } else if let Some(place) = lower.get(..3).and_then(|front| MONTHS.iter().position(|name| *name == front)) {
            month = Some(place as i64 + 1);
        } else if let Ok(number) = token.parse::<i64>() {
            match number {
                1..=31 if day.is_none() => day = Some(number),
                0..=69 => year = Some(2000 + number),
                70..=99 => year = Some(1900 + number),
                1601..=9999 => year = Some(number),
                _ => return None,
            }
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return None;
    }
    // Days from the civil calendar: years begin in March, so leap days come last.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar_of(set_cookie: &[&str]) -> CookieJar {
        let mut jar = CookieJar::new();
        jar.store(set_cookie.iter().map(|value| value.as_bytes()), "shop.example.com", "/cart/add", 1_000);
        jar
    }

    fn sent(jar: &CookieJar, host: &str, path: &str, secure: bool, now_ns: u64) -> String {
        let mut out = Vec::new();
        jar.header_for(host, path, secure, now_ns, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_cookie_without_domain_is_for_its_host_and_folder_only() {
        let jar = jar_of(&["a=1"]);
        assert_eq!(sent(&jar, "shop.example.com", "/cart/x", false, 1_000), "a=1");
        assert_eq!(sent(&jar, "shop.example.com", "/other", false, 1_000), "");
        assert_eq!(sent(&jar, "shop.example.com", "/cartoon", false, 1_000), "");
        assert_eq!(sent(&jar, "x.shop.example.com", "/cart/x", false, 1_000), "");
    }

    #[test]
    fn a_domain_covers_its_hosts_and_a_foreign_one_is_refused() {
        let jar = jar_of(&["a=1; Domain=.example.com; Path=/", "b=2; domain=evil.test", "c=3; domain=com"]);
        assert_eq!(sent(&jar, "www.example.com", "/", false, 1_000), "a=1");
        assert_eq!(sent(&jar, "badexample.com", "/", false, 1_000), "");
    }

    #[test]
    fn secure_cookies_stay_off_plain_connections() {
        let jar = jar_of(&["a=1; Secure; Path=/"]);
        assert_eq!(sent(&jar, "shop.example.com", "/", false, 1_000), "");
        assert_eq!(sent(&jar, "shop.example.com", "/", true, 1_000), "a=1");
    }

    #[test]
    fn age_ends_a_cookie_and_wins_over_a_date() {
        let mut jar = jar_of(&["a=1; Max-Age=10; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        assert_eq!(sent(&jar, "shop.example.com", "/", false, 9_000_000_000), "a=1");
        assert_eq!(sent(&jar, "shop.example.com", "/", false, 11_000_000_000), "");
        jar.store(
            [&b"a=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT"[..]].into_iter(),
            "shop.example.com",
            "/",
            1_000,
        );
        assert_eq!(sent(&jar, "shop.example.com", "/", false, 1_000), "", "a past date deletes");
    }

    #[test]
    fn longer_paths_come_first_and_a_new_value_replaces_the_old() {
        let jar = jar_of(&["a=1; path=/", "b=2; path=/cart", "a=3; path=/"]);
        assert_eq!(sent(&jar, "shop.example.com", "/cart", false, 1_000), "b=2; a=3");
    }

    #[test]
    fn a_jar_is_bounded() {
        let many: Vec<String> = (0..200).map(|n| format!("n{n}=1; path=/")).collect();
        let jar = jar_of(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(jar.cookies.len(), COOKIES_MAX);
    }

    #[test]
    fn a_date_with_a_time_that_is_none_is_no_date() {
        for date in
            ["Wed, 21 Oct 2015 9223372036854775807:00:00 GMT", "Wed, 21 Oct 2015 24:00:00 GMT", "1 Jan 2030 0:0:-1"]
        {
            assert_eq!(unix_seconds(date), None, "{date}");
        }
        assert_eq!(unix_seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
    }

    #[test]
    fn cookie_dates_are_read() {
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Sun, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_seconds("soon"), None);
    }
}
