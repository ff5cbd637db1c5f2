//! Answer bodies, and the answers endpoints give.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::connection::Exchange;
use crate::llm::account::{Account, Mark};

/// The body ends here on purpose, before its declared end.
#[derive(Clone, Copy, Debug, Error)]
#[error("the answer is cut here on purpose")]
pub(crate) struct CutHere;

pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Chunk, CutHere>> + Send>>;

/// A piece of a body.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    /// What to note when the socket took it.
    pub(crate) mark: Option<Mark>,
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, mark: None }
    }
}

/// What an endpoint answers.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// The account of a model's answer; closed when the answer ends.
    pub(crate) account: Option<Account>,
}

/// The body of an answer.
pub(crate) enum Payload {
    Whole(Bytes),
    /// With its length where it is known.
    Chunks(Chunks, Option<u64>),
    /// None: the connection is reset.
    Reset,
}

impl Answer {
    pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status, headers, payload: Payload::Whole(body.into()), account: None }
    }

    pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::bytes(status, "text/plain; charset=utf-8", body)
    }

    pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    /// A header whose value is not a header value is left out; ours all are.
    pub(crate) fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Declares the whole length, sends a part, then closes: half of a small
    /// body, one block of a large one, an event and a half of a stream.
    pub(crate) fn truncated(mut self) -> Self {
        self.payload = match self.payload {
            Payload::Whole(bytes) => {
                let declared = bytes.len().max(1) as u64;
                let half = bytes.slice(..bytes.len() / 2);
                Payload::Chunks(stream::once(async { Ok(half.into()) }).chain(cut_here()).boxed(), Some(declared))
            }
            Payload::Chunks(chunks, Some(length)) => {
                Payload::Chunks(chunks.take(1).chain(cut_here()).boxed(), Some(length))
            }
            Payload::Chunks(chunks, None) => {
                let broken = chunks.take(2).enumerate().map(|(index, chunk)| {
                    chunk.map(|chunk| match index {
                        0 => chunk,
                        _ => chunk.bytes.slice(..chunk.bytes.len() / 2).into(),
                    })
                });
                Payload::Chunks(broken.chain(cut_here()).boxed(), None)
            }
            Payload::Reset => Payload::Reset,
        };
        self
    }
}

pub(crate) fn cut_here() -> impl Stream<Item = Result<Chunk, CutHere>> + Send {
    stream::once(async {
        // hyper writes out what it has when the body is not ready; an error
        // right behind the data would take the data along.
        tokio::time::sleep(Duration::from_millis(2)).await;
        Err(CutHere)
    })
}

/// A body on its way out; it tells its [`Exchange`] how it ended.
pub(crate) struct TrackedBody {
    kind: Kind,
    status: u16,
    sent: u64,
    exchange: Option<Exchange>,
}

enum Kind {
    Whole(Bytes),
    Chunks(Chunks, Option<u64>),
    Done,
}

impl TrackedBody {
    pub(crate) fn new(payload: Payload, status: StatusCode, is_head: bool, exchange: Exchange) -> Self {
        let kind = match payload {
            _ if is_head => Kind::Done,
            Payload::Whole(bytes) if bytes.is_empty() => Kind::Done,
            Payload::Whole(bytes) => Kind::Whole(bytes),
            Payload::Chunks(chunks, length) => Kind::Chunks(chunks, length),
            Payload::Reset => Kind::Done,
        };
        Self { kind, status: status.as_u16(), sent: 0, exchange: Some(exchange) }
    }

    fn finish(&mut self) {
        self.kind = Kind::Done;
        if let Some(exchange) = self.exchange.take() {
            exchange.answered(self.status, self.sent);
        }
    }
}

impl Drop for TrackedBody {
    /// hyper drops a body once it knows its end, without asking for more.
    fn drop(&mut self) {
        if matches!(self.kind, Kind::Done) {
            self.finish();
        }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = CutHere;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutHere>>> {
        let next = match &mut self.kind {
            Kind::Done => None,
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Done;
                Some(Ok(bytes.into()))
            }
            Kind::Chunks(chunks, _) => ready!(chunks.as_mut().poll_next(cx)),
        };
        Poll::Ready(match next {
            Some(Ok(Chunk { bytes, mark })) => {
                if let (Some(exchange), Some(mark)) = (&self.exchange, mark) {
                    exchange.connection().sends(mark);
                }
                self.sent += bytes.len() as u64;
                if matches!(self.kind, Kind::Chunks(_, Some(length)) if self.sent >= length) {
                    // hyper stops asking once the declared length is there.
                    self.kind = Kind::Done;
                }
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(cut)) => {
                if let Some(exchange) = self.exchange.take() {
                    exchange.connection().mark_cut();
                }
                Some(Err(cut))
            }
            None => {
                self.finish();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, Kind::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Done => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Chunks(_, Some(length)) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            Kind::Chunks(_, None) => SizeHint::default(),
        }
    }
}
