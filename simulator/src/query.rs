//! A URL's query, decoded, with problems that name their parameter.

use std::ops::RangeInclusive;

use http::Uri;

pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self { pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect() }
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn number(&self, name: &str, usual: f64, range: RangeInclusive<f64>) -> Result<f64, String> {
        let Some(text) = self.text(name) else { return Ok(usual) };
        let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("{name}: `{text}` is no number from {} to {}", range.start(), range.end()))
    }

    /// A body size, up to 1 GiB.
    pub(crate) fn bytes(&self, name: &str, usual: u64) -> Result<u64, String> {
        self.number(name, usual as f64, 0.0..=f64::from(1 << 30)).map(|bytes| bytes as u64)
    }
}
