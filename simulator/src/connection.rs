//! One connection: its socket, watched, and the requests on it.
//!
//! A request leaves the ledger as completed only when the socket took its last
//! byte. hyper buffers bodies and flushes the socket when its buffer is empty,
//! so answers whose body is at its end wait in [`Connection::answered`] until
//! the next flush. On HTTP/2 a flush empties what flow control let through;
//! the last bytes of a body may then still wait for the peer's window.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

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
    has_answered: AtomicBool,
    answered: Mutex<Vec<Answered>>,
}

#[derive(Debug)]
struct Answered {
    entry: Entry,
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
            has_answered: AtomicBool::new(false),
            answered: Mutex::default(),
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

    fn answered(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flushed(&self) {
        if !self.has_answered.swap(false, Ordering::AcqRel) {
            return;
        }
        for answered in self.answered().drain(..) {
            let latency_us = answered.started.elapsed().as_micros() as u64;
            let Answered { entry, status, body_bytes, .. } = answered;
            self.ledger.leave(entry, Leaving::Completed { status, body_bytes, latency_us });
        }
    }

    fn lost(&self) -> Leaving {
        let cut = self.cut.load(Ordering::Acquire) || self.region_cut.load(Ordering::Acquire);
        if cut { Leaving::CutByFault } else { Leaving::AbortedByClient }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let lost = self.lost();
        for answered in self.answered().drain(..) {
            self.ledger.leave(answered.entry, lost);
        }
        self.ledger.connection_closed();
    }
}

/// One request from its head to its last byte. Dropped unfinished, it was aborted or cut.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    entry: Option<Entry>,
    started: Instant,
}

impl Exchange {
    pub(crate) fn start(connection: Arc<Connection>, path: PathClass) -> Self {
        let started = Instant::now();
        let entry = Some(connection.ledger.enter(path));
        Self { connection, entry, started }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The whole answer is in the connection's hands; the next flush completes it.
    pub(crate) fn answered(mut self, status: u16, body_bytes: u64) {
        if let Some(entry) = self.entry.take() {
            self.connection.answered().push(Answered { entry, started: self.started, status, body_bytes });
            self.connection.has_answered.store(true, Ordering::Release);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.connection.ledger.leave(entry, self.connection.lost());
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
