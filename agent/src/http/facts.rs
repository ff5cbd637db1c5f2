//! The few response headers the engine itself looks at, read in one pass.

use squall_common::plan::ContentCoding;

/// What one response's headers say, beside its framing.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) server_us: Option<u64>,
    pub(super) coding: Coding,
    /// Kept only when `wants_location`: redirects are off by default.
    pub(super) location: Option<Vec<u8>>,
    pub(super) wants_location: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Identity,
    Known(ContentCoding),
    Unknown,
}

impl Facts {
    pub(super) fn new(wants_location: bool) -> Self {
        Self { wants_location, ..Self::default() }
    }

    /// Looks at one header. The length picks the few names worth comparing.
    #[inline]
    pub(super) fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            8 if self.wants_location && name.eq_ignore_ascii_case(b"location") => {
                self.location = Some(value.to_vec());
            }
            13 if name.eq_ignore_ascii_case(b"server-timing") => {
                self.server_us = server_timing_us(value).or(self.server_us);
            }
            16 if name.eq_ignore_ascii_case(b"content-encoding") => self.coding = Coding::of(value),
            20 if name.eq_ignore_ascii_case(b"openai-processing-ms") => {
                self.server_us = us_of_ms(value).or(self.server_us);
            }
            29 if name.eq_ignore_ascii_case(b"x-envoy-upstream-service-time") => {
                self.server_us = us_of_ms(value).or(self.server_us);
            }
            _ => {}
        }
    }
}

impl Coding {
    fn of(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
        if value.is_empty() || is("identity") {
            Self::Identity
        } else if is("gzip") || is("x-gzip") {
            Self::Known(ContentCoding::Gzip)
        } else if is("br") {
            Self::Known(ContentCoding::Brotli)
        } else if is("deflate") {
            Self::Known(ContentCoding::Deflate)
        } else if is("zstd") {
            Self::Known(ContentCoding::Zstd)
        } else {
            Self::Unknown
        }
    }
}

/// Milliseconds as decimal text, with or without a fraction, in microseconds.
fn us_of_ms(value: &[u8]) -> Option<u64> {
    let ms: f64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    (ms.is_finite() && ms >= 0.0).then(|| (ms * 1_000.0).round() as u64)
}

/// The duration of the entry `total`, else of the first entry that has one.
fn server_timing_us(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let mut first = None;
    for entry in text.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let dur = parts
            .filter_map(|part| part.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case("dur"))
            .and_then(|(_, ms)| us_of_ms(ms.trim().trim_matches('"').as_bytes()));
        if name.eq_ignore_ascii_case("total") && dur.is_some() {
            return dur;
        }
        first = first.or(dur);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_time_is_read_from_each_of_its_headers() {
        let of = |name: &str, value: &str| {
            let mut facts = Facts::default();
            facts.note(name.as_bytes(), value.as_bytes());
            facts.server_us
        };
        assert_eq!(of("x-envoy-upstream-service-time", "12"), Some(12_000));
        assert_eq!(of("OpenAI-Processing-Ms", "7"), Some(7_000));
        assert_eq!(of("Server-Timing", "db;dur=53, total;dur=61.5;desc=\"all\""), Some(61_500));
        assert_eq!(of("Server-Timing", "app;dur=4.2"), Some(4_200));
        assert_eq!(of("Server-Timing", "cache;desc=hit"), None);
        assert_eq!(of("openai-processing-ms", "soon"), None);
    }
}
