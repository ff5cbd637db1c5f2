//! Reads one response, however its bytes are cut up. Pure: no socket, no clock.
//!
//! A head that arrives in one piece is parsed where it lies; only one cut in two
//! is copied together. Body bytes are handed on and never kept.

use super::chunked::Chunked;
use std::mem::MaybeUninit;

/// A longer head is refused.
const HEAD_MAX: usize = 64 << 10;

/// More headers than this are refused.
const HEADERS_MAX: usize = 128;

/// While a head this short is incomplete it is parsed at every read, beyond only
/// when a line ended: garbage shows early, yet dribbled bytes cost no square.
const REPARSE_MAX: usize = 4 << 10;

/// Takes a response's parts in order.
pub(crate) trait Sink {
    /// The final head's status line; interim (1xx) responses are not shown.
    fn status(&mut self, status: u16);
    fn header(&mut self, name: &[u8], value: &[u8]);
    fn body(&mut self, bytes: &[u8]);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the response head is not HTTP/1: {0}")]
    Head(httparse::Error),
    #[error("the response head is longer than 64 KiB")]
    HeadTooLong,
    #[error("status {0} is not a response to this request")]
    Status(u16),
    #[error("the content-length is not one number")]
    Length,
    #[error("the chunked framing is broken")]
    Chunk,
    #[error("the response ended too early")]
    Truncated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    NeedMore,
    /// Whole; bytes beyond `consumed` are not part of this response.
    Done {
        consumed: usize,
    },
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
}

#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// The beginning of a head that was cut.
    partial: Vec<u8>,
    answers_head: bool,
    reusable: bool,
}

impl Decoder {
    /// `answers_head`: the request was HEAD, so no body follows whatever is declared.
    pub(crate) fn new(answers_head: bool) -> Self {
        Self { state: State::Head, partial: Vec::new(), answers_head, reusable: false }
    }

    /// Whether the connection may carry another request, as far as this response
    /// and its framing say. Meaningful once done.
    pub(crate) fn is_reusable(&self) -> bool {
        self.reusable
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Progress, DecodeError> {
        let mut at = 0;
        loop {
            match &mut self.state {
                State::Head if at == bytes.len() => return Ok(Progress::NeedMore),
                State::Head => match self.head(&bytes[at..], sink)? {
                    Some(used) => at += used,
                    None => return Ok(Progress::NeedMore),
                },
                State::Length(left) => {
                    let run = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    if run > 0 {
                        sink.body(&bytes[at..at + run]);
                    }
                    at += run;
                    *left -= run as u64;
                    if *left > 0 {
                        return Ok(Progress::NeedMore);
                    }
                    self.state = State::Done;
                }
                State::Chunked(chunked) => {
                    at += chunked.feed(&bytes[at..], |run| sink.body(run))?;
                    if !chunked.is_done() {
                        return Ok(Progress::NeedMore);
                    }
                    self.state = State::Done;
                }
                State::UntilClose => {
                    if at < bytes.len() {
                        sink.body(&bytes[at..]);
                    }
                    return Ok(Progress::NeedMore);
                }
                State::Done => return Ok(Progress::Done { consumed: at }),
            }
        }
    }

    /// The connection ended: that completes a body without a declared length and
    /// breaks off any other.
    pub(crate) fn end(&mut self) -> Result<(), DecodeError> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            State::Head => {
                let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
                Err(match parse(&mut httparse::Response::new(&mut []), &self.partial, &mut headers) {
                    Err(error) => DecodeError::Head(error),
                    Ok(_) => DecodeError::Truncated,
                })
            }
            State::Length(_) | State::Chunked(_) => Err(DecodeError::Truncated),
        }
    }

    /// Takes a head or a part of one; returns what it took of `bytes` when whole.
    fn head(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Option<usize>, DecodeError> {
        if self.partial.is_empty() {
            let used = self.parse_head(bytes, sink)?;
            if used.is_none() {
                self.partial.extend_from_slice(bytes);
            }
            return Ok(used);
        }
        let known = self.partial.len();
        // More than the limit is never needed, so never copied.
        let room = (HEAD_MAX + 1).saturating_sub(known);
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if known > REPARSE_MAX && self.partial.len() <= HEAD_MAX && !self.partial[known..].contains(&b'\n') {
            return Ok(None);
        }
        let partial = std::mem::take(&mut self.partial);
        match self.parse_head(&partial, sink)? {
            Some(used) => Ok(Some(used.saturating_sub(known))),
            None => {
                self.partial = partial;
                Ok(None)
            }
        }
    }

    fn parse_head(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Option<usize>, DecodeError> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut []);
        let used = match parse(&mut head, bytes, &mut headers).map_err(DecodeError::Head)? {
            httparse::Status::Complete(used) if used <= HEAD_MAX => used,
            httparse::Status::Partial if bytes.len() <= HEAD_MAX => return Ok(None),
            _ => return Err(DecodeError::HeadTooLong),
        };
        let status = head.code.unwrap_or(0);
        match status {
            // Nothing we send asks to switch protocols.
            101 | 0..=99 => return Err(DecodeError::Status(status)),
            102..=199 | 100 => {}
            _ => {
                sink.status(status);
                let mut framing = Framing::new(head.version == Some(1));
                for header in head.headers.iter() {
                    framing.note(header.name.as_bytes(), header.value)?;
                    sink.header(header.name.as_bytes(), header.value);
                }
                self.begin_body(status, &framing);
            }
        }
        Ok(Some(used))
    }

    /// RFC 9112, 6.3.
    fn begin_body(&mut self, status: u16, framing: &Framing) {
        self.reusable = framing.keeps_alive;
        self.state = if self.answers_head || matches!(status, 204 | 304) {
            State::Done
        } else if framing.has_transfer_encoding {
            // A length beside a transfer coding, or the coding from HTTP/1.0,
            // smells of smuggling: read it, then let the connection go.
            self.reusable &= framing.length.is_none() && framing.is_http11;
            if framing.ends_chunked {
                State::Chunked(Chunked::new())
            } else {
                self.reusable = false;
                State::UntilClose
            }
        } else if let Some(length) = framing.length {
            if length == 0 { State::Done } else { State::Length(length) }
        } else {
            self.reusable = false;
            State::UntilClose
        };
    }
}

fn parse<'h, 'b>(
    head: &mut httparse::Response<'h, 'b>,
    bytes: &'b [u8],
    headers: &'h mut [MaybeUninit<httparse::Header<'b>>],
) -> httparse::Result<usize> {
    httparse::ParserConfig::default().parse_response_with_uninit_headers(head, bytes, headers)
}

/// What the headers say about where the body ends and what comes after.
struct Framing {
    is_http11: bool,
    keeps_alive: bool,
    length: Option<u64>,
    has_transfer_encoding: bool,
    ends_chunked: bool,
}

impl Framing {
    fn new(is_http11: bool) -> Self {
        Self { is_http11, keeps_alive: is_http11, length: None, has_transfer_encoding: false, ends_chunked: false }
    }

    #[inline]
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    if token.eq_ignore_ascii_case(b"close") {
                        self.keeps_alive = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") && !self.is_http11 {
                        self.keeps_alive = true;
                    }
                }
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // Repeated equal lengths are one length (RFC 9110, 8.6).
                for token in value.split(|&byte| byte == b',') {
                    let length = length_of(token.trim_ascii()).ok_or(DecodeError::Length)?;
                    if self.length.is_some_and(|earlier| earlier != length) {
                        return Err(DecodeError::Length);
                    }
                    self.length = Some(length);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.has_transfer_encoding = true;
                let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
                self.ends_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
        Ok(())
    }
}

fn length_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        statuses: Vec<u16>,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
    }

    impl Sink for Seen {
        fn status(&mut self, status: u16) {
            self.statuses.push(status);
        }
        fn header(&mut self, name: &[u8], value: &[u8]) {
            self.headers.push((name.to_vec(), value.to_vec()));
        }
        fn body(&mut self, bytes: &[u8]) {
            self.body.extend_from_slice(bytes);
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    enum End {
        Whole { consumed: usize, reusable: bool },
        ByClose,
        Failed,
    }

    /// Reads `pieces` and then the end of the connection.
    fn read<'a>(answers_head: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> (End, Seen) {
        let mut seen = Seen::default();
        let mut decoder = Decoder::new(answers_head);
        let mut before = 0;
        for piece in pieces {
            match decoder.feed(piece, &mut seen) {
                Ok(Progress::NeedMore) => before += piece.len(),
                Ok(Progress::Done { consumed }) => {
                    return (End::Whole { consumed: before + consumed, reusable: decoder.is_reusable() }, seen);
                }
                Err(_) => return (End::Failed, seen),
            }
        }
        match decoder.end() {
            Ok(()) => (End::ByClose, seen),
            Err(_) => (End::Failed, seen),
        }
    }

    fn whole(text: &str) -> (End, Seen) {
        read(false, [text.as_bytes()])
    }

    fn reused(text: &str) -> bool {
        matches!(whole(text).0, End::Whole { reusable: true, .. })
    }

    #[test]
    fn a_declared_length_ends_the_body() {
        let (end, seen) = whole("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloEXTRA");
        assert_eq!(end, End::Whole { consumed: 43, reusable: true });
        assert_eq!((seen.statuses, seen.body), (vec![200], b"hello".to_vec()));
    }

    #[test]
    fn chunks_extensions_and_trailers_are_taken_apart() {
        let (end, seen) = whole(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA \r\n0123456789\r\n0\r\nx: y\r\n\r\n",
        );
        assert!(matches!(end, End::Whole { reusable: true, .. }), "{end:?}");
        assert_eq!(seen.body, b"abc0123456789");
    }

    #[test]
    fn broken_chunked_framing_is_refused() {
        for body in
            ["g\r\n", "\r\n", "1\nx\r\n", "1\r\nxy\r\n", "11111111111111111\r\n", "1 x\r\nx\r\n", "0\r\nx\n\r\n"]
        {
            let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}0\r\n\r\n");
            assert_eq!(whole(&text).0, End::Failed, "{body:?}");
        }
    }

    #[test]
    fn a_body_without_a_length_lasts_until_close() {
        let (end, seen) = whole("HTTP/1.1 200 OK\r\n\r\nall of it");
        assert_eq!((end, seen.body), (End::ByClose, b"all of it".to_vec()));
    }

    #[test]
    fn head_no_content_and_not_modified_have_no_body() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(read(true, [&text[..]]).0, End::Whole { consumed: text.len(), reusable: true });
        assert!(reused("HTTP/1.1 204 No Content\r\n\r\n"));
        assert!(reused("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"));
    }

    #[test]
    fn interim_responses_are_skipped() {
        let (end, seen) = whole(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        );
        assert!(matches!(end, End::Whole { .. }));
        assert_eq!(seen.statuses, [200]);
        assert_eq!(seen.headers.len(), 1);
    }

    #[test]
    fn keep_alive_follows_version_and_connection_header() {
        assert!(reused("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!reused("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: x, Close\r\n\r\n"));
        assert!(!reused("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(reused("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive\r\n\r\n"));
        assert!(!reused("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"));
    }

    #[test]
    fn lengths_that_disagree_or_are_no_numbers_are_refused() {
        for value in ["1, 2", "-1", "+1", "", "x", "99999999999999999999"] {
            assert_eq!(whole(&format!("HTTP/1.1 200 OK\r\ncontent-length: {value}\r\n\r\n")).0, End::Failed, "{value}");
        }
        assert!(reused("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\nab"));
    }

    #[test]
    fn a_head_over_64_kib_is_refused_whole_or_dribbled() {
        let text = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(HEAD_MAX));
        assert_eq!(whole(&text).0, End::Failed);
        assert_eq!(read(false, text.as_bytes().chunks(1000)).0, End::Failed);
    }

    #[test]
    fn other_protocols_and_switching_are_refused() {
        for text in ["SSH-2.0-OpenSSH_9\r\n", "HTTP/2 200\r\n\r\n", "\0\0\0", "HTTP/1.1 101 Switching\r\n\r\n"] {
            assert_eq!(whole(text).0, End::Failed, "{text:?}");
        }
    }

    /// Texts near enough to HTTP that every state is reached.
    fn any_response() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just("HTTP/1.1 200 OK\r\n".to_owned()),
            Just("HTTP/1.0 200 OK\r\n".to_owned()),
            Just("HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
            Just("transfer-encoding: chunked\r\n".to_owned()),
            Just("connection: close\r\n".to_owned()),
            (0u32..40).prop_map(|length| format!("content-length: {length}\r\n")),
            Just("\r\n".to_owned()),
            "[a-z]{0,40}",
            (1u32..20).prop_map(|size| format!("{size:x};e=1\r\n{}\r\n", "d".repeat(size as usize))),
            Just("0\r\n\r\n".to_owned()),
            Just("0\r\nt: 1\r\n\r\n".to_owned()),
        ];
        prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    /// Well-formed heads first, so that bodies are reached often.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let framed = (any_response(), prop::bool::ANY).prop_map(|(rest, chunked)| {
            let framing = if chunked { "transfer-encoding: chunked" } else { "content-length: 30" };
            [format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes(), &rest].concat()
        });
        prop_oneof![any_response(), framed, prop::collection::vec(any::<u8>(), 0..200)]
    }

    proptest! {
        #[test]
        fn any_split_reads_as_the_whole(bytes in any_bytes(), cuts in prop::collection::vec(0usize..400, 0..12), answers_head: bool) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            let (whole_end, whole_seen) = read(answers_head, [&bytes[..]]);
            let (split_end, split_seen) = read(answers_head, pieces);
            prop_assert_eq!(&whole_end, &split_end);
            if whole_end != End::Failed {
                prop_assert_eq!(&whole_seen, &split_seen);
            }
            prop_assert_eq!((whole_end, whole_seen), read(answers_head, bytes.chunks(1)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..8)) {
            read(false, pieces.iter().map(Vec::as_slice));
        }
    }
}
