//! Everything known about one finished request.

use crate::plan::{ScenarioId, StepId, TargetId};

/// How one attempt ended. Never a string: classes, tables and SLOs match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    /// A whole response with a status the plan does not accept.
    HttpInformational,
    HttpRedirect,
    HttpClientError,
    HttpServerError,
    /// 429: the server asked to slow down.
    Throttled,
    CheckFailed,
    /// A value that a later step needs was not in the response.
    ExtractFailed,
    ContentFiltered,
    TimeoutDns,
    TimeoutConnect,
    TimeoutTls,
    TimeoutRequest,
    TimeoutFirstByte,
    TimeoutBody,
    ConnectRefused,
    ConnectReset,
    ConnectFailed,
    Tls,
    Dns,
    Protocol,
    /// The response ended before its declared or framed end.
    Truncated,
    /// No local ports left (EADDRNOTAVAIL): the generator's limit, not the target's.
    GeneratorNoPorts,
    /// No file descriptors left (EMFILE, ENFILE): the generator's limit.
    GeneratorNoFds,
    /// An error object inside a stream that began with a success status.
    StreamError,
}

/// A coarse class: one series per class keeps fast failures out of the latencies of good answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutcomeClass {
    Ok,
    HttpError,
    Throttled,
    CheckFailed,
    ContentFiltered,
    Timeout,
    Connection,
    Broken,
    GeneratorLimited,
}

impl Outcome {
    pub const ALL: [Self; 25] = [
        Self::Ok,
        Self::HttpInformational,
        Self::HttpRedirect,
        Self::HttpClientError,
        Self::HttpServerError,
        Self::Throttled,
        Self::CheckFailed,
        Self::ExtractFailed,
        Self::ContentFiltered,
        Self::TimeoutDns,
        Self::TimeoutConnect,
        Self::TimeoutTls,
        Self::TimeoutRequest,
        Self::TimeoutFirstByte,
        Self::TimeoutBody,
        Self::ConnectRefused,
        Self::ConnectReset,
        Self::ConnectFailed,
        Self::Tls,
        Self::Dns,
        Self::Protocol,
        Self::Truncated,
        Self::GeneratorNoPorts,
        Self::GeneratorNoFds,
        Self::StreamError,
    ];

    /// The name in `summary.json`, events and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::HttpInformational => "http_1xx",
            Self::HttpRedirect => "http_3xx",
            Self::HttpClientError => "http_4xx",
            Self::HttpServerError => "http_5xx",
            Self::Throttled => "throttled",
            Self::CheckFailed => "check_failed",
            Self::ExtractFailed => "extract_failed",
            Self::ContentFiltered => "content_filtered",
            Self::TimeoutDns => "timeout_dns",
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutTls => "timeout_tls",
            Self::TimeoutRequest => "timeout_request",
            Self::TimeoutFirstByte => "timeout_first_byte",
            Self::TimeoutBody => "timeout_body",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectReset => "connection_reset",
            Self::ConnectFailed => "connect_failed",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Protocol => "protocol",
            Self::Truncated => "truncated",
            Self::GeneratorNoPorts => "generator_no_ports",
            Self::GeneratorNoFds => "generator_no_fds",
            Self::StreamError => "stream_error",
        }
    }

    /// The number on the wire: its place in [`Outcome::ALL`]. Append only.
    pub fn code(self) -> u32 {
        self as u32
    }

    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }

    pub fn class(self) -> OutcomeClass {
        use Outcome as O;
        match self {
            O::Ok => OutcomeClass::Ok,
            O::HttpInformational | O::HttpRedirect | O::HttpClientError | O::HttpServerError => OutcomeClass::HttpError,
            O::Throttled => OutcomeClass::Throttled,
            O::CheckFailed | O::ExtractFailed => OutcomeClass::CheckFailed,
            O::ContentFiltered => OutcomeClass::ContentFiltered,
            O::TimeoutDns
            | O::TimeoutConnect
            | O::TimeoutTls
            | O::TimeoutRequest
            | O::TimeoutFirstByte
            | O::TimeoutBody => OutcomeClass::Timeout,
            O::ConnectRefused | O::ConnectReset | O::ConnectFailed | O::Tls | O::Dns => OutcomeClass::Connection,
            O::Protocol | O::Truncated | O::StreamError => OutcomeClass::Broken,
            O::GeneratorNoPorts | O::GeneratorNoFds => OutcomeClass::GeneratorLimited,
        }
    }

    /// Whether a whole response arrived. `completed` in the ledger counts these,
    /// `failed` the rest.
    pub fn is_completed(self) -> bool {
        matches!(
            self.class(),
            OutcomeClass::Ok
                | OutcomeClass::HttpError
                | OutcomeClass::Throttled
                | OutcomeClass::CheckFailed
                | OutcomeClass::ContentFiltered
        )
    }

    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }

    /// The outcome that a status alone means: 2xx and 3xx are ok (redirects are
    /// not followed unless asked), 429 is throttled.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=399 => Self::Ok,
            100..=199 => Self::HttpInformational,
            429 => Self::Throttled,
            400..=499 => Self::HttpClientError,
            _ => Self::HttpServerError,
        }
    }
}

impl OutcomeClass {
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::HttpError,
        Self::Throttled,
        Self::CheckFailed,
        Self::ContentFiltered,
        Self::Timeout,
        Self::Connection,
        Self::Broken,
        Self::GeneratorLimited,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::HttpError => "http_error",
            Self::Throttled => "throttled",
            Self::CheckFailed => "check_failed",
            Self::ContentFiltered => "content_filtered",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Broken => "broken",
            Self::GeneratorLimited => "generator_limited",
        }
    }

    /// The number on the wire: its place in [`OutcomeClass::ALL`]. Append only.
    pub fn code(self) -> u32 {
        self as u32
    }

    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// Where the time of one request went, as the client saw it. `None`: the phase
/// did not happen (a reused connection has no `connect`) or was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    pub dns_us: Option<u64>,
    pub connect_us: Option<u64>,
    pub tls_us: Option<u64>,
    /// First to last byte of the request written.
    pub write_us: Option<u64>,
    /// Last byte of the request written to first byte of the response read.
    pub wait_us: Option<u64>,
    /// First to last byte of the response read.
    pub receive_us: Option<u64>,
    /// The kernel's smallest recent round-trip time of the connection (TCP_INFO).
    pub rtt_us: Option<u64>,
    /// The server's own word about its work (`x-envoy-upstream-service-time`,
    /// `openai-processing-ms`, `Server-Timing`).
    pub server_us: Option<u64>,
}

/// One finished attempt. Instants are nanoseconds on the machine's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub scenario: ScenarioId,
    pub step: StepId,
    pub target: TargetId,
    pub intended_ns: u64,
    /// First byte written; `None` when no connection was had.
    pub sent_ns: Option<u64>,
    /// Last byte read, or the instant the failure was known.
    pub done_ns: u64,
    pub outcome: Outcome,
    pub status: Option<u16>,
    pub phases: PhaseTimes,
    /// Bytes written and read on the connection above TLS, heads included.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Body bytes as received, and after decompression.
    pub body_bytes: u64,
    pub decoded_body_bytes: u64,
}

impl Sample {
    pub fn response_time_us(&self) -> u64 {
        self.done_ns.saturating_sub(self.intended_ns) / 1_000
    }

    pub fn service_time_us(&self) -> Option<u64> {
        self.sent_ns.map(|sent_ns| self.done_ns.saturating_sub(sent_ns) / 1_000)
    }

    pub fn dispatch_lag_us(&self) -> Option<u64> {
        self.sent_ns.map(|sent_ns| sent_ns.saturating_sub(self.intended_ns) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_for_every_outcome() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.code() as usize, place);
            assert_eq!(Outcome::from_code(outcome.code()), Some(outcome));
        }
        for (place, class) in OutcomeClass::ALL.into_iter().enumerate() {
            assert_eq!(class.code() as usize, place);
            assert_eq!(OutcomeClass::from_code(class.code()), Some(class));
        }
        assert_eq!(Outcome::from_code(999), None);
    }
}
