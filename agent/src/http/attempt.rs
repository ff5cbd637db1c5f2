//! What the transport knows of one attempt.

use super::failure::Failure;
use squall_common::sample::{Outcome, PhaseTimes};
use std::borrow::Cow;

/// One attempt as the transport saw it: the raw material of a sample.
///
/// `outcome` is [`Outcome::Ok`] for every whole response, whatever its status:
/// what a status means is the plan's to say.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Just before the first write; `None` when no connection was had.
    pub sent_ns: Option<u64>,
    /// Last byte read, or the instant the failure was known.
    pub done_ns: u64,
    pub outcome: Outcome,
    /// Known as soon as a head arrived, even if the body then failed.
    pub status: Option<u16>,
    /// Followed redirects add up in `write_us`, `wait_us` and `receive_us`.
    pub phases: PhaseTimes,
    /// Above TLS. On HTTP/2 heads count as their uncompressed names and values.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Body bytes without transfer framing, still content-coded.
    pub body_bytes: u64,
    /// After content decoding; equal to `body_bytes` when nothing was coded.
    pub decoded_body_bytes: u64,
    /// Text for error samples: what went wrong, for people.
    pub detail: Option<Cow<'static, str>>,
}

impl Attempt {
    pub(super) fn new() -> Self {
        Self {
            sent_ns: None,
            done_ns: 0,
            outcome: Outcome::Ok,
            status: None,
            phases: PhaseTimes::default(),
            bytes_sent: 0,
            bytes_received: 0,
            body_bytes: 0,
            decoded_body_bytes: 0,
            detail: None,
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.outcome = failure.outcome;
        self.detail = Some(failure.detail);
    }

    /// Adds the three times of one round trip; a redirect makes several.
    pub(super) fn add_round(&mut self, write_us: Option<u64>, wait_us: Option<u64>, receive_us: Option<u64>) {
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0) + more);
            }
        };
        add(&mut self.phases.write_us, write_us);
        add(&mut self.phases.wait_us, wait_us);
        add(&mut self.phases.receive_us, receive_us);
    }
}
