//! One connection: its socket, watched, and the requests on it.
//!
//! A request leaves the ledger as completed only when the socket took its last
//! byte. hyper buffers bodies and flushes the socket when its buffer is empty,
//! so answers whose body is at its end wait in [`Connection::answered`] until
//! the next flush. On HTTP/2 a flush empties what flow control let through;
//! the last bytes of a body may then still wait for the peer's window.
//! Chunks of streams are noted in the same way.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::llm::account::{Account, Mark};
use crate::routes::PathClass;
use crate::truth::{Entry, Leaving, Ledger};

/// What the socket, the requests and the task of one connection share.
#[derive(Debug)]
pub(crate) struct Connection {
    ledger: Arc<Ledger>,
    /// Set while the whole region is being cut.
    region_cut: Arc<AtomicBool>,
    cut: AtomicBool,
    reset: AtomicBool,
    cut_signal: Notify,
    has_unflushed: AtomicBool,
    unflushed: Mutex<Unflushed>,
}

/// What hyper has, and the socket has not yet.
#[derive(Debug, Default)]
struct Unflushed {
    chunks: Vec<Mark>,
    answered: Vec<Answered>,
}

#[derive(Debug)]
struct Answered {
    entry: Entry,
    account: Option<Account>,
    started: Instant,
    status: u16,
    body_bytes: u64,
}

impl Connection {
    pub(crate) fn new(ledger: Arc<Ledger>, region_cut: Arc<AtomicBool>) -> Arc<Self> {
        ledger.connection_opened();
        Arc::new(Self {
            ledger,
            region_cut,
            cut: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            cut_signal: Notify::new(),
            has_unflushed: AtomicBool::new(false),
            unflushed: Mutex::default(),
        })
    }

    /// Closes the connection with a reset; the requests on it were cut by a fault.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.mark_cut();
        self.cut_signal.notify_one();
    }

    /// What ends on this connection from now on was cut by a fault.
    pub(crate) fn mark_cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Returns once [`Self::reset`] was called.
    pub(crate) async fn was_reset(&self) {
        self.cut_signal.notified().await;
    }

    /// The next flush hands these chunks over.
    pub(crate) fn sends(&self, chunks: Mark) {
        self.unflushed().chunks.push(chunks);
        self.has_unflushed.store(true, Ordering::Release);
    }

    fn unflushed(&self) -> MutexGuard<'_, Unflushed> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flushed(&self) {
        if !self.has_unflushed.swap(false, Ordering::AcqRel) {
            return;
        }
        let now = Instant::now();
        let mut unflushed = self.unflushed();
        for mark in unflushed.chunks.drain(..) {
            mark.handed_over(now);
        }
        for answered in unflushed.answered.drain(..) {
            let latency_us = now.saturating_duration_since(answered.started).as_micros() as u64;
            let Answered { entry, account, status, body_bytes, .. } = answered;
            self.leave(entry, account, Leaving::Completed { status, body_bytes, latency_us });
        }
    }

    /// The account first: who sees nothing in flight sees every account closed.
    fn leave(&self, entry: Entry, account: Option<Account>, leaving: Leaving) {
        if let Some(account) = account {
            account.leave(leaving);
        }
        self.ledger.leave(entry, leaving);
    }

    fn lost(&self) -> Leaving {
        let cut = self.cut.load(Ordering::Acquire) || self.region_cut.load(Ordering::Acquire);
        if cut { Leaving::CutByFault } else { Leaving::AbortedByClient }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let lost = self.lost();
        for answered in self.unflushed().answered.drain(..) {
            self.leave(answered.entry, answered.account, lost);
        }
        self.ledger.connection_closed();
    }
}

/// One request from its head to its last byte. Dropped unfinished, it was aborted or cut.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    entry: Option<Entry>,
    account: Option<Account>,
    started: Instant,
}

impl Exchange {
    pub(crate) fn start(connection: Arc<Connection>, path: PathClass) -> Self {
        let started = Instant::now();
        let entry = Some(connection.ledger.enter(path));
        Self { connection, entry, account: None, started }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// The account of its answer, closed as it ends.
    pub(crate) fn keep(&mut self, account: Option<Account>) {
        self.account = account;
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The whole answer is in the connection's hands; the next flush completes it.
    pub(crate) fn answered(mut self, status: u16, body_bytes: u64) {
        if let Some(entry) = self.entry.take() {
            let (account, started) = (self.account.take(), self.started);
            self.connection.unflushed().answered.push(Answered { entry, account, started, status, body_bytes });
            self.connection.has_unflushed.store(true, Ordering::Release);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.connection.leave(entry, self.account.take(), self.connection.lost());
        }
    }
}

/// The socket, watched: bytes are counted, and a flush completes what was answered.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            self.connection.ledger.bytes_written(*bytes as u64);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let connection = &self.connection;
        let region_cut = connection.region_cut.load(Ordering::Acquire);
        if region_cut {
            // HTTP/2 requests may be dropped after the region is back.
            connection.mark_cut();
        }
        if region_cut || connection.reset.load(Ordering::Acquire) {
            // Closing without lingering is what makes the kernel send RST.
            let socket = socket2::SockRef::from(&self.stream);
            if let Err(cause) = socket.set_linger(Some(Duration::ZERO)) {
                tracing::debug!(%cause, "the connection closes without a reset");
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            self.connection.ledger.bytes_read(bytes as u64);
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(result, Poll::Ready(Ok(()))) {
            self.connection.flushed();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
