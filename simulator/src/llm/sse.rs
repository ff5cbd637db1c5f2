//! Writes server-sent events, in the dialect asked for.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::dialect::{Dialect, LineEnd};

/// One piece of a body holds a chunk or two.
const PIECE_BYTES: usize = 512;

/// Events on their way into one piece of a body.
#[derive(Debug)]
pub(crate) struct Writer {
    out: BytesMut,
    line_end: &'static str,
    is_multi_line: bool,
    last_event: usize,
}

impl Writer {
    pub(crate) fn new(dialect: &Dialect) -> Self {
        let mut out = BytesMut::with_capacity(PIECE_BYTES);
        if dialect.byte_order_mark {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        let line_end = dialect.line_end.unwrap_or(LineEnd::Lf).text();
        Self { out, line_end, is_multi_line: dialect.multi_line_data, last_event: 0 }
    }

    /// An event whose JSON object is `parts`, one after the other.
    pub(crate) fn event(&mut self, name: Option<&str>, parts: &[&str]) {
        self.last_event = self.out.len();
        if let Some(name) = name {
            self.raw(&["event: ", name, self.line_end]);
        }
        self.raw(&["data: "]);
        if self.is_multi_line
            && let [first, rest @ ..] = parts
            && let Some(first) = first.strip_prefix('{')
        {
            // A line break between tokens of JSON says nothing.
            self.raw(&["{", self.line_end, "data: ", first]);
            self.raw(rest);
        } else {
            self.raw(parts);
        }
        self.raw(&[self.line_end, self.line_end]);
    }

    pub(crate) fn json(&mut self, name: Option<&str>, value: &Value) {
        self.event(name, &[&value.to_string()]);
    }

    pub(crate) fn comment(&mut self, text: &str) {
        self.raw(&[": ", text, self.line_end, self.line_end]);
    }

    /// Takes the second half of the last event back.
    pub(crate) fn halve_last_event(&mut self) {
        let length = self.out.len() - self.last_event;
        self.out.truncate(self.last_event + length / 2);
    }

    fn raw(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    /// What was written since the last call.
    pub(crate) fn take(&mut self) -> Bytes {
        let piece = self.out.split().freeze();
        self.out.reserve(PIECE_BYTES);
        self.last_event = 0;
        piece
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(text: &str, to: &mut String) {
    let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    if is_plain {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dialect: &Dialect) -> String {
        let mut writer = Writer::new(dialect);
        writer.event(Some("greeting"), &["{\"a\":", "1}"]);
        writer.comment("ping");
        String::from_utf8(writer.take().to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_its_name_its_data_and_an_empty_line() {
        assert_eq!(written(&Dialect::default()), "event: greeting\ndata: {\"a\":1}\n\n: ping\n\n");
    }

    #[test]
    fn a_dialect_has_its_line_ends_its_mark_and_its_lines() {
        let dialect = Dialect {
            line_end: Some(LineEnd::Crlf),
            byte_order_mark: true,
            multi_line_data: true,
            ..Dialect::default()
        };
        let expected = "\u{feff}event: greeting\r\ndata: {\r\ndata: \"a\":1}\r\n\r\n: ping\r\n\r\n";
        assert_eq!(written(&dialect), expected);
    }

    #[test]
    fn quoting_escapes_only_where_it_must() {
        let mut text = String::new();
        quote(" wind", &mut text);
        quote("{\"a\": \"\n", &mut text);
        assert_eq!(text, r#"" wind""{\"a\": \"\n""#);
    }
}
