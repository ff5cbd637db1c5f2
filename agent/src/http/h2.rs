//! HTTP/2 over hyper's connection: many streams on each.
//!
//! Not the 1 µs path: a stream costs hyper a few allocations and each stage of an
//! exchange a timer. Times are taken as near the wire as hyper lets us: `sent` when
//! the request is handed over, written when the last piece of body is taken, first
//! byte when the response's head is there.

use super::attempt::Attempt;
use super::client::{Ask, TargetClient, record};
use super::deadline::instant_of;
use super::failure::Failure;
use super::h1::conn::Rtt;
use super::h1::round::Measured;
use super::pool::{OpenGuard, Slots};
use super::request::Span;
use super::response::Intake;
use super::sockopt;
use super::stream::Stream;
use crate::clock::now_ns;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use squall_common::plan::{ConnectionPolicy, Scheme};
use squall_common::sample::{Outcome, PhaseTimes};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OnceCell;
use tokio::time::timeout_at;

/// Response heads larger than this (names and values) are refused by hyper.
const HEADER_LIST_MAX: u32 = 64 << 10;

/// A worker's HTTP/2 connections.
pub(super) struct H2Pool {
    slots: Slots,
    conns: RefCell<Vec<Rc<H2Conn>>>,
}

/// A connection, or one being opened: whoever needs it first opens it, the others
/// wait for the same, and if the opener gives up the next one takes over.
struct H2Conn {
    opened: OnceCell<Result<Handshaken, Failure>>,
    streams: Cell<u32>,
    requests: Cell<u64>,
    created_ns: u64,
    idle_since_ns: Cell<u64>,
}

/// An open connection.
pub(super) struct Handshaken {
    sender: SendRequest<SpanBody>,
    /// For its round-trip time only; the driver owns the stream.
    stream: Weak<RefCell<Stream>>,
    rtt: Cell<Rtt>,
}

/// A stream in use; dropping it makes room for another.
struct StreamGuard(Rc<H2Conn>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since_ns.set(now_ns());
    }
}

impl H2Pool {
    pub(super) fn new(stream_limit: Option<u64>) -> Self {
        Self { slots: Slots::new(stream_limit), conns: RefCell::default() }
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) fn add(&self, handshaken: Handshaken) {
        self.conns.borrow_mut().push(Rc::new(H2Conn::new(OnceCell::new_with(Some(Ok(handshaken))))));
    }

    /// Room on a connection, a new one if all are full. Retires those that the
    /// policy or the target has ended; their streams go on.
    fn take(&self, policy: &ConnectionPolicy) -> StreamGuard {
        let now_ns = now_ns();
        let mut conns = self.conns.borrow_mut();
        conns.retain(|conn| conn.is_usable(policy, now_ns));
        let most = policy.streams_per_connection.max(1);
        let conn = match conns.iter().find(|conn| conn.streams.get() < most) {
            Some(conn) => conn.clone(),
            None => {
                let conn = Rc::new(H2Conn::new(OnceCell::new()));
                conns.push(conn.clone());
                conn
            }
        };
        conn.streams.set(conn.streams.get() + 1);
        conn.requests.set(conn.requests.get() + 1);
        StreamGuard(conn)
    }

    fn remove(&self, conn: &Rc<H2Conn>) {
        self.conns.borrow_mut().retain(|other| !Rc::ptr_eq(other, conn));
    }
}

impl H2Conn {
    fn new(opened: OnceCell<Result<Handshaken, Failure>>) -> Self {
        let now_ns = now_ns();
        Self {
            opened,
            streams: Cell::new(0),
            requests: Cell::new(0),
            created_ns: now_ns,
            idle_since_ns: Cell::new(now_ns),
        }
    }

    fn is_usable(&self, policy: &ConnectionPolicy, now_ns: u64) -> bool {
        let over = |since_ns: u64, limit: std::time::Duration| {
            u128::from(now_ns.saturating_sub(since_ns)) >= limit.as_nanos().max(1)
        };
        let is_alive = match self.opened.get() {
            None => true,
            Some(Ok(handshaken)) => !handshaken.sender.is_closed(),
            Some(Err(_)) => false,
        };
        is_alive
            && policy.max_requests.is_none_or(|max| self.requests.get() < max)
            && !policy.lifetime.is_some_and(|lifetime| over(self.created_ns, lifetime))
            && !(self.streams.get() == 0 && over(self.idle_since_ns.get(), policy.idle_timeout))
    }
}

impl TargetClient {
    /// The connection behind a stream, opened now if nobody has.
    async fn opened<'a>(
        &self,
        guard: &'a StreamGuard,
        due_ns: u64,
        phases: &mut PhaseTimes,
    ) -> Result<&'a Handshaken, Failure> {
        let opening = guard.0.opened.get_or_init(|| self.dial_h2(due_ns, phases));
        let opened = timeout_at(instant_of(due_ns), opening).await;
        match opened {
            Ok(Ok(handshaken)) => Ok(handshaken),
            Ok(Err(failure)) => {
                self.h2.remove(&guard.0);
                Err(failure.clone())
            }
            Err(_) => Err(Failure::new(Outcome::TimeoutConnect, "timed out waiting for a connection")),
        }
    }

    /// One request on one stream.
    pub(super) async fn round_h2(
        &self,
        ask: Ask<'_>,
        intake: &mut Intake<'_, '_>,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        let (mut message, progress) = self.message(ask)?;
        let head_bytes = head_bytes_of(&message);
        for may_replace in [true, false] {
            let guard = self.h2.take(&self.shared.policy);
            let handshaken = self.opened(&guard, ask.due_ns, &mut attempt.phases).await?;
            let mut sender = handshaken.sender.clone();
            let sent_ns = now_ns();
            ask.tell_sending();
            progress.written_ns.set(message.body().is_end_stream().then_some(sent_ns));
            let answer = timeout_at(instant_of(ask.due_ns), sender.try_send_request(message)).await;
            let failure = match answer {
                Ok(Ok(answer)) => {
                    attempt.sent_ns.get_or_insert(sent_ns);
                    return self
                        .receive(ask, answer, sent_ns, head_bytes, &progress, handshaken, intake, attempt)
                        .await;
                }
                Ok(Err(mut error)) => {
                    // Handed back unsent: the connection was dead, which is no
                    // fault of this request.
                    if let Some(unsent) = error.take_message().filter(|_| may_replace) {
                        self.h2.remove(&guard.0);
                        message = unsent;
                        continue;
                    }
                    failure_of(error.error(), false)
                }
                Err(_) if progress.written_ns.get().is_none() => {
                    Failure::new(Outcome::TimeoutRequest, "timed out while the request was written")
                }
                Err(_) => Failure::new(Outcome::TimeoutFirstByte, "timed out before the first byte of the response"),
            };
            attempt.sent_ns.get_or_insert(sent_ns);
            let measured = Measured {
                written_ns: progress.written_ns.get(),
                done_ns: now_ns(),
                bytes_sent: head_bytes + progress.taken_bytes.get(),
                ..Measured::default()
            };
            record(attempt, sent_ns, &measured);
            return Err(failure);
        }
        Err(Failure::closed(false))
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one round, used once")]
    async fn receive(
        &self,
        ask: Ask<'_>,
        answer: http::Response<Incoming>,
        sent_ns: u64,
        head_bytes: u64,
        progress: &Progress,
        handshaken: &Handshaken,
        intake: &mut Intake<'_, '_>,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        let first_byte_ns = now_ns();
        let (head, mut body) = answer.into_parts();
        let mut received: u64 = 0;
        intake.status(head.status.as_u16());
        for (name, value) in &head.headers {
            received += (name.as_str().len() + value.len()) as u64;
            intake.header(name.as_str().as_bytes(), value.as_bytes());
        }
        let reading = timeout_at(instant_of(ask.due_ns), async {
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                if let Some(bytes) = frame.map_err(|error| failure_of(&error, true))?.data_ref() {
                    received += bytes.len() as u64;
                    intake.read_ns = now_ns();
                    intake.body(bytes);
                }
            }
            Ok(())
        });
        let result = match reading.await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Outcome::TimeoutBody, "timed out inside the response")),
        };
        let done_ns = now_ns();
        let measured = Measured {
            written_ns: progress.written_ns.get().or(Some(first_byte_ns)),
            first_byte_ns: Some(first_byte_ns),
            done_ns,
            bytes_sent: head_bytes + progress.taken_bytes.get(),
            bytes_received: received,
        };
        record(attempt, sent_ns, &measured);
        attempt.phases.rtt_us = handshaken.rtt_us(done_ns);
        result
    }

    fn message(&self, ask: Ask<'_>) -> Result<(http::Request<SpanBody>, Rc<Progress>), Failure> {
        let unfit = |error: http::Error| Failure::new(Outcome::Protocol, format!("the request is not HTTP: {error}"));
        let request = ask.request;
        let path = match ask.hop {
            Some(hop) => hop.path.clone(),
            None => [&self.shared.base_path, request.path()].concat(),
        };
        let scheme = match self.shared.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let authority = request
            .headers()
            .find(|(name, _)| &name[..] == b"host")
            .map_or(self.shared.authority.as_bytes(), |(_, value)| value);
        let uri =
            http::Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().map_err(unfit)?;
        let mut message = http::Request::new(());
        *message.method_mut() = ask.method().clone();
        *message.uri_mut() = uri;
        for (name, value) in request.headers() {
            let belongs_to_http1 = matches!(
                &name[..],
                b"host" | b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
            );
            if belongs_to_http1 || ask.drops_body() && name.starts_with(b"content-") {
                continue;
            }
            let name = HeaderName::from_bytes(name).map_err(|error| unfit(error.into()))?;
            let value = HeaderValue::from_bytes(value).map_err(|error| unfit(error.into()))?;
            message.headers_mut().append(name, value);
        }
        if !request.sets.accept_encoding && self.shared.decodes() {
            let value = HeaderValue::from_str(&self.shared.accept_encoding).map_err(|error| unfit(error.into()))?;
            message.headers_mut().append(http::header::ACCEPT_ENCODING, value);
        }
        let pieces = if ask.drops_body() { &[][..] } else { request.body() };
        let progress = Rc::new(Progress::default());
        let frames: VecDeque<Bytes> = pieces
            .iter()
            .map(|piece| match piece {
                Span::Shared(bytes) => bytes.clone(),
                Span::Scratch(_) => Bytes::copy_from_slice(request.bytes_of(piece)),
            })
            .filter(|bytes| !bytes.is_empty())
            .collect();
        let left = frames.iter().map(|bytes| bytes.len() as u64).sum();
        let body = SpanBody { frames, left, progress: progress.clone() };
        Ok((message.map(|()| body), progress))
    }
}

fn head_bytes_of(message: &http::Request<SpanBody>) -> u64 {
    let headers: usize = message.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let path = message.uri().path_and_query().map_or(1, |path| path.as_str().len());
    (headers + path + message.method().as_str().len()) as u64
}

impl Handshaken {
    fn rtt_us(&self, now_ns: u64) -> Option<u64> {
        let mut rtt = self.rtt.get();
        let us = rtt.us_at(now_ns, || sockopt::rtt_us(self.stream.upgrade()?.try_borrow().ok()?.tcp()));
        self.rtt.set(rtt);
        us
    }
}

/// Speaks the preface and leaves the connection's driver on the worker's `LocalSet`.
pub(super) async fn handshake(stream: Stream, open: OpenGuard, due_ns: u64) -> Result<Handshaken, Failure> {
    let now_ns = now_ns();
    let rtt = Cell::new(Rtt { read_ns: now_ns, us: sockopt::rtt_us(stream.tcp()) });
    let stream = Rc::new(RefCell::new(stream));
    let watched = Rc::downgrade(&stream);
    let shaking =
        http2::Builder::new(Local).max_header_list_size(HEADER_LIST_MAX).handshake(TokioIo::new(Owned(stream)));
    let (sender, driver) = timeout_at(instant_of(due_ns), shaking)
        .await
        .map_err(|_| Failure::new(Outcome::TimeoutConnect, "timed out opening HTTP/2"))?
        .map_err(|error| failure_of(&error, false))?;
    tokio::task::spawn_local(async move {
        let _open = open;
        // Its error reaches the exchanges it carried, each as its own.
        let _ = driver.await;
    });
    Ok(Handshaken { sender, stream: watched, rtt })
}

/// Sorts an error by what hyper and h2 know of it.
fn failure_of(error: &hyper::Error, answered: bool) -> Failure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<h2::Error>() {
            if let Some(error) = error.get_io() {
                return Failure::exchanging(error, answered);
            }
            let text = format!("HTTP/2: {error}");
            if error.is_remote() {
                let outcome = if answered { Outcome::Truncated } else { Outcome::ConnectReset };
                return Failure::new(outcome, text);
            }
            return Failure::new(Outcome::Protocol, text);
        }
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return Failure::exchanging(error, answered);
        }
        source = inner.source();
    }
    if error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
        return Failure::closed(answered);
    }
    Failure::new(Outcome::Protocol, format!("HTTP/2: {error}"))
}

/// How far a request's body was taken by the connection.
#[derive(Debug, Default)]
struct Progress {
    written_ns: Cell<Option<u64>>,
    taken_bytes: Cell<u64>,
}

/// A request's body, piece by piece.
#[derive(Debug)]
struct SpanBody {
    frames: VecDeque<Bytes>,
    left: u64,
    progress: Rc<Progress>,
}

impl Body for SpanBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        let Some(bytes) = body.frames.pop_front() else { return Poll::Ready(None) };
        body.left -= bytes.len() as u64;
        let progress = &body.progress;
        progress.taken_bytes.set(progress.taken_bytes.get() + bytes.len() as u64);
        if body.frames.is_empty() {
            progress.written_ns.set(Some(now_ns()));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Runs hyper's tasks on the worker itself.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// The driver's hold on a stream.
struct Owned(Rc<RefCell<Stream>>);

impl AsyncRead for Owned {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Owned {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
