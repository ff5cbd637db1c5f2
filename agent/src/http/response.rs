//! A response as far as anyone asked to see it.

use super::facts::Facts;
use std::ops::Range;

/// Response bytes kept of one body; more is counted, not kept, and
/// [`Response::is_body_cut`] says so.
pub const BODY_KEPT_MAX: usize = 4 << 20;

/// Coded bytes kept until the last has arrived and decoding may begin.
pub(super) const CODED_KEPT_MAX: usize = 16 << 20;

/// Buffers larger than this are given back before the next request, so that one
/// large body does not stay in memory for the whole run.
const BUFFER_KEPT: usize = 256 << 10;

/// What to keep of a response for checks and extraction. The rest is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    pub headers: bool,
    pub body: bool,
}

/// Reused by one user for all its requests.
#[derive(Debug, Default)]
pub struct Response {
    pub(super) status: u16,
    head: Vec<u8>,
    headers: Vec<(Range<u32>, Range<u32>)>,
    pub(super) body: Vec<u8>,
    pub(super) body_cut: bool,
    /// The content-coded body, until it is decoded into `body`.
    pub(super) coded: Vec<u8>,
}

impl Response {
    /// Without buffers until something is kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last response's status; 0 when there was none.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Kept headers in order of arrival; empty unless wanted.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let slice = |range: &Range<u32>| &self.head[range.start as usize..range.end as usize];
        self.headers.iter().map(move |(name, value)| (slice(name), slice(value)))
    }

    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The decoded body; empty unless wanted.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body was longer than [`BODY_KEPT_MAX`]; only its beginning is here.
    pub fn is_body_cut(&self) -> bool {
        self.body_cut
    }

    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.head.clear();
        self.headers.clear();
        self.body_cut = false;
        for buffer in [&mut self.body, &mut self.coded] {
            buffer.clear();
            if buffer.capacity() > BUFFER_KEPT {
                buffer.shrink_to(BUFFER_KEPT);
            }
        }
    }

    fn keep_header(&mut self, name: &[u8], value: &[u8]) {
        let mut keep = |bytes: &[u8]| {
            let start = self.head.len() as u32;
            self.head.extend_from_slice(bytes);
            start..self.head.len() as u32
        };
        let name = keep(name);
        let value = keep(value);
        self.headers.push((name, value));
    }

    pub(super) fn keep_body(&mut self, bytes: &[u8]) {
        let room = BODY_KEPT_MAX - self.body.len();
        self.body_cut |= bytes.len() > room;
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Sees every piece of body as it is read: the instant of the read and the bytes,
/// without transfer framing but still content-coded.
pub type Watch<'a> = &'a mut dyn FnMut(u64, &[u8]);

/// Where a response's parts go while it is read; the same for both protocols.
pub(super) struct Intake<'a, 'w> {
    pub(super) response: &'a mut Response,
    pub(super) want: Want,
    /// Coded bodies are to be decoded afterwards.
    pub(super) decodes: bool,
    pub(super) facts: Facts,
    pub(super) body_bytes: u64,
    pub(super) read_ns: u64,
    pub(super) watch: Option<&'a mut Watch<'w>>,
    pub(super) coded_cut: bool,
}

impl Intake<'_, '_> {
    pub(super) fn status(&mut self, status: u16) {
        self.response.status = status;
    }

    #[inline]
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        self.facts.note(name, value);
        if self.want.headers {
            self.response.keep_header(name, value);
        }
    }

    #[inline]
    pub(super) fn body(&mut self, bytes: &[u8]) {
        self.body_bytes += bytes.len() as u64;
        if let Some(watch) = &mut self.watch {
            watch(self.read_ns, bytes);
        }
        if self.decodes && self.facts.coding != super::facts::Coding::Identity {
            let room = CODED_KEPT_MAX - self.response.coded.len();
            self.coded_cut |= bytes.len() > room;
            self.response.coded.extend_from_slice(&bytes[..bytes.len().min(room)]);
        } else if self.want.body {
            self.response.keep_body(bytes);
        }
    }
}
