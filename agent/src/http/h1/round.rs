//! One request and its response on one connection: the hot path.
//!
//! Writing and reading go on side by side: a server may answer before it has read
//! the whole request, and two full buffers must not wait for each other.

use super::conn::H1Conn;
use super::decode::{DecodeError, Decoder, Progress, Sink};
use crate::clock::now_ns;
use crate::http::failure::Failure;
use crate::http::request::{Request, Span};
use crate::http::response::Intake;
use squall_common::sample::Outcome;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One read takes up to this much.
const SCRATCH_BYTES: usize = 64 << 10;

/// Slices handed to one `writev`; longer bodies take several.
const SLICES_MAX: usize = 16;

/// Bodies up to this size are copied behind the head: cheaper than a slice each.
pub(crate) const BODY_COPY_MAX: u64 = 1024;

thread_local! {
    /// The one read buffer of a worker, used only between awaits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// What one round measured; filled also when it fails.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) written_ns: Option<u64>,
    pub(crate) first_byte_ns: Option<u64>,
    pub(crate) done_ns: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

pub(crate) struct Round<'a, 'i, 'w> {
    conn: &'a mut H1Conn,
    /// The head, and the body too when `body` is empty.
    head: Vec<u8>,
    /// Where the head's buffer returns to once it is written.
    home: &'a Cell<Vec<u8>>,
    request: &'a Request,
    body: &'a [Span],
    decoder: Decoder,
    intake: &'a mut Intake<'i, 'w>,
    pub(crate) measured: Measured,
    total_bytes: u64,
    write_error: Option<io::Error>,
}

impl Sink for Intake<'_, '_> {
    #[inline]
    fn status(&mut self, status: u16) {
        Intake::status(self, status);
    }
    #[inline]
    fn header(&mut self, name: &[u8], value: &[u8]) {
        Intake::header(self, name, value);
    }
    #[inline]
    fn body(&mut self, bytes: &[u8]) {
        Intake::body(self, bytes);
    }
}

impl<'a, 'i, 'w> Round<'a, 'i, 'w> {
    pub(crate) fn new(
        conn: &'a mut H1Conn,
        head: Vec<u8>,
        home: &'a Cell<Vec<u8>>,
        request: &'a Request,
        body: &'a [Span],
        answers_head: bool,
        intake: &'a mut Intake<'i, 'w>,
    ) -> Self {
        let body_bytes: usize = body.iter().map(|piece| request.bytes_of(piece).len()).sum();
        Self {
            conn,
            total_bytes: (head.len() + body_bytes) as u64,
            head,
            home,
            request,
            body,
            decoder: Decoder::new(answers_head),
            intake,
            measured: Measured::default(),
            write_error: None,
        }
    }

    /// Ready with whether the connection may be used again.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let result = match self.poll_io(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                ready!(self.conn.deadline.poll(cx));
                Err(self.expired())
            }
        };
        if self.measured.done_ns == 0 {
            self.measured.done_ns = now_ns();
        }
        Poll::Ready(result)
    }

    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        if self.measured.written_ns.is_none()
            && self.write_error.is_none()
            && let Poll::Ready(Err(error)) = self.poll_write(cx)
        {
            // The server may have answered before it stopped listening.
            self.write_error = Some(error);
        }
        loop {
            match ready!(self.poll_read(cx)) {
                Ok(Some(reusable)) => {
                    let is_clean = reusable && self.measured.written_ns.is_some();
                    return Poll::Ready(Ok(is_clean));
                }
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.measured.bytes_sent < self.total_bytes {
            let stream = Pin::new(&mut self.conn.stream);
            let written = if self.body.is_empty() {
                ready!(stream.poll_write(cx, &self.head[self.measured.bytes_sent as usize..]))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let used = gather(&mut slices, &self.head, self.request, self.body, self.measured.bytes_sent as usize);
                ready!(stream.poll_write_vectored(cx, &slices[..used]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.measured.bytes_sent += written as u64;
        }
        ready!(Pin::new(&mut self.conn.stream).poll_flush(cx))?;
        self.measured.written_ns = Some(now_ns());
        self.home.set(std::mem::take(&mut self.head));
        Poll::Ready(Ok(()))
    }

    /// One read: `Some` once the response is whole.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<bool>, Failure>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.conn.stream).poll_read(cx, &mut buf));
            let bytes = buf.filled();
            Poll::Ready(match read {
                Ok(()) if bytes.is_empty() => self.ended(),
                Ok(()) => self.take(bytes),
                Err(error) => Err(self.broken(&error)),
            })
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Option<bool>, Failure> {
        let now = now_ns();
        self.measured.first_byte_ns.get_or_insert(now);
        self.measured.bytes_received += bytes.len() as u64;
        self.intake.read_ns = now;
        match self.decoder.feed(bytes, self.intake) {
            Ok(Progress::NeedMore) => Ok(None),
            Ok(Progress::Done { consumed }) => {
                self.measured.done_ns = now;
                Ok(Some(self.decoder.is_reusable() && consumed == bytes.len()))
            }
            Err(error) => Err(refused(error)),
        }
    }

    fn ended(&mut self) -> Result<Option<bool>, Failure> {
        let answered = self.measured.bytes_received > 0;
        if !answered && let Some(error) = &self.write_error {
            return Err(Failure::exchanging(error, false));
        }
        match self.decoder.end() {
            Ok(()) => Ok(Some(false)),
            Err(DecodeError::Truncated) => Err(Failure::closed(answered)),
            Err(error) => Err(refused(error)),
        }
    }

    fn broken(&mut self, error: &io::Error) -> Failure {
        let answered = self.measured.bytes_received > 0;
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // TLS ended without a goodbye. Half a response is still cut off, but a
            // body that lasts until close cannot be told from one cut short.
            return Failure::closed(answered);
        }
        Failure::exchanging(error, answered)
    }

    fn expired(&self) -> Failure {
        if self.measured.bytes_received > 0 {
            Failure::new(Outcome::TimeoutBody, "timed out inside the response")
        } else if self.measured.written_ns.is_some() {
            Failure::new(Outcome::TimeoutFirstByte, "timed out before the first byte of the response")
        } else {
            Failure::new(Outcome::TimeoutRequest, "timed out while the request was written")
        }
    }
}

fn refused(error: DecodeError) -> Failure {
    let outcome = if error == DecodeError::Truncated { Outcome::Truncated } else { Outcome::Protocol };
    Failure::new(outcome, error.to_string())
}

/// Fills `slices` with what is left after `skip` bytes of head and body.
fn gather<'a>(
    slices: &mut [IoSlice<'a>; SLICES_MAX],
    head: &'a [u8],
    request: &'a Request,
    body: &'a [Span],
    mut skip: usize,
) -> usize {
    let mut used = 0;
    let pieces = std::iter::once(head).chain(body.iter().map(|piece| request.bytes_of(piece)));
    for piece in pieces {
        let passed = skip.min(piece.len());
        skip -= passed;
        if passed < piece.len() {
            slices[used] = IoSlice::new(&piece[passed..]);
            used += 1;
            if used == SLICES_MAX {
                break;
            }
        }
    }
    used
}
