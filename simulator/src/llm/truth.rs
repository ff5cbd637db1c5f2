//! What a deployment served, in the words of clients: streams, chunks, tokens.

use serde::{Deserialize, Serialize};

use crate::identity::BearerTruth;
use crate::truth::LatencyTruth;

/// What one deployment of one region served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeploymentTruth {
    /// What came, and what was let in.
    pub admission: AdmissionTruth,
    /// By the tokens they carried, where the deployment wants one.
    pub bearer: BearerTruth,
    /// Answers that were not streamed, completed with status 200.
    pub whole_answers: u64,
    /// Streamed answers.
    pub streams: StreamTruth,
    /// Of completed answers, streamed and whole: the sums of their `usage`.
    pub tokens: TokenTruth,
}

/// `started = completed + failed + aborted_by_client + cut_by_fault + in_flight`, always.
///
/// An output chunk is an event with a text, reasoning or tool-call delta that
/// is not empty. It was handed over when the socket took its last byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamTruth {
    /// Streams whose answer began: their first token was there.
    pub started: u64,
    /// Streams whose last byte was handed to the socket, without an error event.
    pub completed: u64,
    /// Streams that ended with an error event instead of a finish.
    pub failed: u64,
    /// Streams whose client went away before that.
    pub aborted_by_client: u64,
    /// Streams a fault (or stopping) broke off.
    pub cut_by_fault: u64,
    /// Streams not yet any of these.
    pub in_flight: u64,
    /// Output chunks handed over, those of broken streams included.
    pub output_chunks: u64,
    /// Tokens in these chunks. Tokens of hidden reasoning are in none.
    pub output_chunk_tokens: u64,
    /// Request head received → first output chunk handed over, one value a stream.
    pub ttft: LatencyTruth,
    /// Request head received → first output chunk that is not reasoning, one value a stream.
    pub first_visible: LatencyTruth,
    /// From one output chunk to the next of the same stream, one value each; chunks
    /// handed over together are 0 apart, which the histogram keeps as 1 µs.
    pub gap: LatencyTruth,
}

/// Requests with a deployment and a body that can be, by what the deployment's gate said.
/// Tokens are estimates: the prompt, and what may be produced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdmissionTruth {
    /// Let in by quota or provisioned throughput.
    pub admitted: u64,
    /// Their tokens.
    pub admitted_tokens: u64,
    /// 429: too many requests.
    pub throttled_by_requests: u64,
    /// 429: too many tokens.
    pub throttled_by_tokens: u64,
    /// 429: provisioned throughput at 100 %.
    pub throttled_by_utilization: u64,
    /// 400: let in, but the content filter refused the prompt.
    pub filtered_prompts: u64,
    /// 429: let in, but the model server's queue was full.
    pub throttled_by_queue: u64,
    /// The highest utilisation of provisioned throughput at an arrival, in percent.
    pub utilization_percent_max: f64,
    /// Of all that came, throttled or not.
    pub offered_peak: PeakTruth,
    /// Of what was let in.
    pub admitted_peak: PeakTruth,
}

/// The largest use of any window of these lengths, wherever it began (to the millisecond).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakTruth {
    /// Requests in a second.
    pub requests_in_1_s: u64,
    /// Requests in ten seconds.
    pub requests_in_10_s: u64,
    /// Requests in a minute.
    pub requests_in_60_s: u64,
    /// Tokens in a second.
    pub tokens_in_1_s: u64,
    /// Tokens in ten seconds.
    pub tokens_in_10_s: u64,
    /// Tokens in a minute.
    pub tokens_in_60_s: u64,
}

/// Tokens by kind, as `usage` reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTruth {
    /// Tokens of prompts, cached ones included.
    pub prompt: u64,
    /// Those of them that a prompt cache held.
    pub cached: u64,
    /// Tokens produced, those of reasoning included.
    pub output: u64,
    /// Those of them that were reasoning.
    pub reasoning: u64,
}

impl TokenTruth {
    pub(crate) fn add(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}
