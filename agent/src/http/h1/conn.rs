//! One HTTP/1.1 connection between requests.

use crate::http::deadline::Deadline;
use crate::http::pool::OpenGuard;
use crate::http::sockopt;
use crate::http::stream::Stream;

/// The round-trip time is read again at most this often on one connection.
const RTT_EVERY_NS: u64 = 100_000_000;

/// Holds no buffer: an idle connection costs its socket and little more.
pub(crate) struct H1Conn {
    pub(crate) stream: Stream,
    pub(crate) deadline: Deadline,
    pub(crate) created_ns: u64,
    pub(crate) idle_since_ns: u64,
    pub(crate) requests: u64,
    pub(crate) rtt: Rtt,
    _open: OpenGuard,
}

impl H1Conn {
    pub(crate) fn new(stream: Stream, open: OpenGuard, now_ns: u64, due_ns: u64) -> Self {
        let rtt = Rtt { read_ns: now_ns, us: sockopt::rtt_us(stream.tcp()) };
        Self {
            stream,
            deadline: Deadline::new(due_ns),
            created_ns: now_ns,
            idle_since_ns: now_ns,
            requests: 0,
            rtt,
            _open: open,
        }
    }

    /// The kernel's round-trip time, at most 100 ms old unless the connection was idle.
    #[inline]
    pub(crate) fn rtt_us(&mut self, now_ns: u64) -> Option<u64> {
        self.rtt.us_at(now_ns, || sockopt::rtt_us(self.stream.tcp()))
    }
}

/// A round-trip time and when it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    pub(crate) read_ns: u64,
    pub(crate) us: Option<u64>,
}

impl Rtt {
    /// What was read since the last request, if anything was: a reading counts once,
    /// or the many requests of a busy connection would drown those of a new one.
    #[inline]
    pub(crate) fn us_at(&mut self, now_ns: u64, read: impl FnOnce() -> Option<u64>) -> Option<u64> {
        if now_ns.saturating_sub(self.read_ns) >= RTT_EVERY_NS {
            *self = Self { read_ns: now_ns, us: read() };
        }
        self.us.take()
    }
}
