//! A request as rendered by one user, without copies of what never changes.

use bytes::Bytes;
use http::Method;
use std::ops::Range;

/// A piece of a request: fixed by the plan, or rendered into the scratch buffer.
#[derive(Clone, Debug)]
pub enum Span {
    Shared(Bytes),
    Scratch(Range<usize>),
}

/// Reused by one user for all its requests: cleared and filled again, or sent
/// again as it is when nothing in it varies.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    scratch: Vec<u8>,
    path: Span,
    headers: Vec<(Bytes, Span)>,
    body: Vec<Span>,
    pub(super) sets: HeadersSet,
}

/// Headers that the engine would otherwise add.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadersSet {
    pub(super) host: bool,
    pub(super) content_length: bool,
    pub(super) transfer_encoding: bool,
    pub(super) accept_encoding: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self::new(Method::GET)
    }
}

impl Request {
    /// A request for `/` without headers and body.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            scratch: Vec::new(),
            path: Span::Shared(Bytes::from_static(b"/")),
            headers: Vec::new(),
            body: Vec::new(),
            sets: HeadersSet::default(),
        }
    }

    /// Forgets everything but the buffers.
    pub fn clear(&mut self, method: Method) {
        self.method = method;
        self.scratch.clear();
        self.path = Span::Shared(Bytes::from_static(b"/"));
        self.headers.clear();
        self.body.clear();
        self.sets = HeadersSet::default();
    }

    /// The method of the first hop.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where rendered text goes; what was appended becomes a [`Span::Scratch`].
    pub fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    /// Path and query; the target's base path is put before it.
    pub fn set_path(&mut self, path: Span) {
        self.path = path;
    }

    /// Adds a header; `name` in lower case. A `host`, `content-length` or
    /// `accept-encoding` given here replaces the engine's own.
    pub fn push_header(&mut self, name: Bytes, value: Span) {
        match &name[..] {
            b"host" => self.sets.host = true,
            b"content-length" => self.sets.content_length = true,
            b"transfer-encoding" => self.sets.transfer_encoding = true,
            b"accept-encoding" => self.sets.accept_encoding = true,
            _ => {}
        }
        self.headers.push((name, value));
    }

    /// Appends a piece of the body.
    pub fn push_body(&mut self, piece: Span) {
        self.body.push(piece);
    }

    pub(super) fn bytes_of<'a>(&'a self, span: &'a Span) -> &'a [u8] {
        match span {
            Span::Shared(bytes) => bytes,
            // A range beyond the buffer is a caller's mistake; it renders as nothing.
            Span::Scratch(range) => self.scratch.get(range.clone()).unwrap_or_default(),
        }
    }

    /// The value of the first header of this name, in lower case, as it is sent.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(known, _)| known[..] == *name.as_bytes()).map(|(_, value)| value)
    }

    pub(super) fn path(&self) -> &[u8] {
        self.bytes_of(&self.path)
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&Bytes, &[u8])> {
        self.headers.iter().map(|(name, value)| (name, self.bytes_of(value)))
    }

    pub(super) fn body(&self) -> &[Span] {
        &self.body
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.body.iter().map(|piece| self.bytes_of(piece).len() as u64).sum()
    }

    /// Rendered text that would break the request's framing, named. What the plan
    /// fixes was checked with the plan; data that users render was not.
    pub(super) fn broken_part(&self) -> Option<&'static str> {
        let rendered = |span: &Span| matches!(span, Span::Scratch(_));
        if rendered(&self.path) && self.path().iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return Some("the rendered path has a space or a control character");
        }
        let breaks = |value: &[u8]| value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if self.headers.iter().any(|(_, value)| rendered(value) && breaks(self.bytes_of(value))) {
            return Some("a rendered header value has a line break");
        }
        None
    }
}
