//! Server-sent events, incrementally: WHATWG HTML, 9.2.6 "Interpreting an event stream".

use memchr::memchr2;

/// An event longer than this is dropped: no model sends one, and memory is bounded.
const LONGEST_EVENT: usize = 4 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Takes bytes in any pieces; keeps its buffers between streams.
#[derive(Debug, Default)]
pub struct SseReader {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines of the event that runs, each with a line feed.
    data: Vec<u8>,
    name: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_cr: bool,
    past_start: bool,
    overlong: bool,
}

impl SseReader {
    /// Forgets everything: for the next stream.
    pub fn clear(&mut self) {
        self.line.clear();
        self.end_event();
        (self.after_cr, self.past_start) = (false, false);
    }

    /// Calls `on` with name (empty where none was given) and data of every event that
    /// ends within these bytes.
    pub fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(&[u8], &[u8])) {
        let mut rest = bytes;
        if !rest.is_empty() && std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
            rest = &rest[1..];
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, is_cr) = (&rest[..end], rest[end] == b'\r');
            rest = &rest[end + 1..];
            if is_cr {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if self.line.is_empty() {
                self.take_line(line, on);
            } else {
                self.line.extend_from_slice(line);
                let mut whole = std::mem::take(&mut self.line);
                self.take_line(&whole, on);
                whole.clear();
                self.line = whole;
            }
        }
        if self.line.len() + rest.len() > LONGEST_EVENT {
            self.overlong = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(rest);
        }
    }

    /// Whether an event had begun and not ended: such a one does not count.
    pub fn is_inside_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    fn take_line(&mut self, line: &[u8], on: &mut dyn FnMut(&[u8], &[u8])) {
        let line = match std::mem::replace(&mut self.past_start, true) {
            false => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            true => line,
        };
        if line.is_empty() {
            if self.has_data && !self.overlong {
                on(&self.name, &self.data[..self.data.len() - 1]);
            }
            self.end_event();
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" if self.data.len() + value.len() >= LONGEST_EVENT => self.overlong = true,
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
                self.has_data = true;
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // Comments have an empty field; `id` and `retry` are for browsers that reconnect.
            _ => {}
        }
    }

    fn end_event(&mut self) {
        self.data.clear();
        self.name.clear();
        (self.has_data, self.overlong) = (false, false);
    }
}
