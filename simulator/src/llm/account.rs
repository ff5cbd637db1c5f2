//! The books of one deployment: each answer has an [`Account`] from its first
//! token to its end, and each stream a [`Meter`] that is told when its chunks
//! were handed to the socket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use squall_common::histogram::Latencies;

use super::admission::Admission;
use super::truth::{AdmissionTruth, DeploymentTruth, StreamTruth, TokenTruth};
use crate::identity::{Bearer, BearerTruth};
use crate::truth::{LatencyTruth, Leaving};

/// The counters of one deployment.
#[derive(Debug, Default)]
pub(crate) struct Books {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// An answer begun before a reset must not count after it.
    generation: u64,
    bearer: BearerTruth,
    whole_answers: u64,
    started: u64,
    completed: u64,
    failed: u64,
    aborted_by_client: u64,
    cut_by_fault: u64,
    output_chunks: u64,
    output_chunk_tokens: u64,
    tokens: TokenTruth,
    ttft: Latencies,
    first_visible: Latencies,
    gap: Latencies,
}

/// One answer whose first token is there. Dropped unfinished, its client has left.
#[derive(Debug)]
pub(crate) struct Account {
    meter: Arc<Meter>,
    is_stream: bool,
    is_open: bool,
    /// Where what was estimated is settled.
    settles: Option<(Arc<Admission>, u64)>,
}

/// What one answer has given so far.
#[derive(Debug)]
pub(crate) struct Meter {
    books: Arc<Books>,
    generation: u64,
    head_received: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_chunk: Option<Instant>,
    seen_visible: bool,
    usage: TokenTruth,
    has_failed: bool,
}

/// The output chunks in one piece of a body.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) meter: Arc<Meter>,
    pub(crate) chunks: u32,
    pub(crate) tokens: u32,
    /// Whether one of them is not reasoning.
    pub(crate) is_visible: bool,
}

impl Books {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request carried such a token.
    pub(crate) fn note(&self, bearer: Bearer) {
        self.counts().bearer.note(bearer);
    }

    /// Opens the account of an answer whose request head came at `head_received`.
    pub(crate) fn open(self: &Arc<Self>, head_received: Instant, is_stream: bool) -> Account {
        let mut counts = self.counts();
        counts.started += u64::from(is_stream);
        let meter =
            Meter { books: self.clone(), generation: counts.generation, head_received, state: Mutex::default() };
        Account { meter: Arc::new(meter), is_stream, is_open: true, settles: None }
    }

    /// Zeroes everything; answers under way are forgotten.
    pub(crate) fn reset(&self) {
        let mut counts = self.counts();
        *counts = Counts { generation: counts.generation + 1, ..Counts::default() };
    }

    /// All but what was let in, which its [`Admission`] tells.
    pub(crate) fn truth(&self) -> DeploymentTruth {
        let counts = self.counts();
        let ended = counts.completed + counts.failed + counts.aborted_by_client + counts.cut_by_fault;
        DeploymentTruth {
            admission: AdmissionTruth::default(),
            bearer: counts.bearer,
            whole_answers: counts.whole_answers,
            streams: StreamTruth {
                started: counts.started,
                completed: counts.completed,
                failed: counts.failed,
                aborted_by_client: counts.aborted_by_client,
                cut_by_fault: counts.cut_by_fault,
                in_flight: counts.started - ended,
                output_chunks: counts.output_chunks,
                output_chunk_tokens: counts.output_chunk_tokens,
                ttft: LatencyTruth::of(&counts.ttft),
                first_visible: LatencyTruth::of(&counts.first_visible),
                gap: LatencyTruth::of(&counts.gap),
            },
            tokens: counts.tokens,
        }
    }
}

impl Account {
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Once complete, `estimated` tokens become what was used.
    pub(crate) fn settle_with(&mut self, admission: Arc<Admission>, estimated: u64) {
        self.settles = Some((admission, estimated));
    }

    /// Closes it, with the request it belongs to.
    pub(crate) fn leave(mut self, leaving: Leaving) {
        self.close(leaving);
    }

    fn close(&mut self, leaving: Leaving) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let (usage, has_failed) = {
            let state = self.meter.state();
            (state.usage, state.has_failed)
        };
        if let (Some((admission, estimated)), Leaving::Completed { .. }, false) = (&self.settles, leaving, has_failed) {
            admission.settle(*estimated, usage.prompt - usage.cached + usage.output);
        }
        let mut counts = self.meter.books.counts();
        if counts.generation != self.meter.generation {
            return;
        }
        match leaving {
            Leaving::Completed { .. } if has_failed => counts.failed += u64::from(self.is_stream),
            Leaving::Completed { .. } => {
                counts.tokens.add(usage);
                if self.is_stream {
                    counts.completed += 1;
                } else {
                    counts.whole_answers += 1;
                }
            }
            Leaving::AbortedByClient => counts.aborted_by_client += u64::from(self.is_stream),
            Leaving::CutByFault => counts.cut_by_fault += u64::from(self.is_stream),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close(Leaving::AbortedByClient);
    }
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the answer's `usage` says, whether or not the client asked for it.
    pub(crate) fn used(&self, usage: TokenTruth) {
        self.state().usage = usage;
    }

    /// The stream ends with an error event.
    pub(crate) fn failed(&self) {
        self.state().has_failed = true;
    }
}

impl Mark {
    /// The socket has taken these chunks.
    pub(crate) fn handed_over(&self, now: Instant) {
        let meter = &self.meter;
        let mut state = meter.state();
        let mut counts = meter.books.counts();
        if counts.generation != meter.generation || self.chunks == 0 {
            return;
        }
        let since_us = |then: Instant| now.saturating_duration_since(then).as_micros() as u64;
        match state.last_chunk.replace(now) {
            None => counts.ttft.record_us(since_us(meter.head_received)),
            Some(last) => counts.gap.record_us(since_us(last)),
        }
        for _ in 1..self.chunks {
            counts.gap.record_us(0);
        }
        if self.is_visible && !std::mem::replace(&mut state.seen_visible, true) {
            counts.first_visible.record_us(since_us(meter.head_received));
        }
        counts.output_chunks += u64::from(self.chunks);
        counts.output_chunk_tokens += u64::from(self.tokens);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DONE: Leaving = Leaving::Completed { status: 200, body_bytes: 1, latency_us: 1 };

    fn mark(account: &Account, is_visible: bool) -> Mark {
        Mark { meter: account.meter().clone(), chunks: 1, tokens: 2, is_visible }
    }

    #[test]
    fn the_first_chunk_is_ttft_and_the_others_are_gaps() {
        let (books, start) = (Arc::new(Books::default()), Instant::now());
        let account = books.open(start, true);
        for (at_ms, is_visible) in [(30, false), (40, true), (55, true)] {
            mark(&account, is_visible).handed_over(start + Duration::from_millis(at_ms));
        }
        account.meter().used(TokenTruth { prompt: 9, output: 6, ..TokenTruth::default() });
        account.leave(DONE);
        let truth = books.truth();
        let streams = &truth.streams;
        assert_eq!((streams.started, streams.completed, streams.in_flight), (1, 1, 0));
        assert_eq!((streams.output_chunks, streams.output_chunk_tokens), (3, 6));
        assert_eq!((streams.ttft.count, streams.ttft.mean_us, streams.first_visible.mean_us), (1, 30e3, 40e3));
        assert_eq!((streams.gap.count, streams.gap.mean_us), (2, 12.5e3));
        assert_eq!((truth.tokens.prompt, truth.tokens.output), (9, 6));
    }

    #[test]
    fn a_stream_ends_in_one_way_only_and_only_completed_ones_count_their_usage() {
        let (books, start) = (Arc::new(Books::default()), Instant::now());
        let open = || {
            let account = books.open(start, true);
            account.meter().used(TokenTruth { prompt: 1, ..TokenTruth::default() });
            account
        };
        let (failed, in_flight) = (open(), open());
        failed.meter().failed();
        failed.leave(DONE);
        open().leave(DONE);
        open().leave(Leaving::CutByFault);
        drop(open());
        let streams = books.truth().streams;
        assert_eq!((streams.started, streams.completed, streams.failed), (5, 1, 1));
        assert_eq!((streams.cut_by_fault, streams.aborted_by_client, streams.in_flight), (1, 1, 1));
        assert_eq!(books.truth().tokens.prompt, 1);
        drop(in_flight);
    }

    #[test]
    fn a_stream_from_before_a_reset_counts_nothing_after_it() {
        let (books, start) = (Arc::new(Books::default()), Instant::now());
        let account = books.open(start, true);
        books.reset();
        mark(&account, true).handed_over(start);
        account.leave(DONE);
        assert_eq!(books.truth(), DeploymentTruth::default());
    }
}
