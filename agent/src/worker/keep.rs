//! What one worker keeps of requests that failed, where the plan asks.
//!
//! Only what goes into the reservoir is made: after the first few of a place,
//! most failures cost a random number.

use super::pseudonym::Pseudonymiser;
use crate::http::{Request, Response};
use crate::secrets::{MAX_SECRET_BYTES, Secrets};
use squall_common::kept::{ErrorSample, HEADER_BYTES, KeptErrors, NAMING_HEADERS};
use squall_common::plan::KeepErrors;
use squall_common::random::Random;
use squall_common::sample::Sample;
use std::borrow::Cow;
use std::cell::RefCell;

/// Bodies beyond it are not read as JSON.
const JSON_BYTES: usize = 256 << 10;

/// How the agent's workers tell of failed requests.
pub struct Keeping {
    pub asked: KeepErrors,
    pub pseudonyms: Option<Pseudonymiser>,
}

/// One worker's reservoir.
pub struct Keeper {
    kept: RefCell<KeptErrors>,
    random: RefCell<Random>,
}

impl Keeper {
    /// `lane` keeps the workers of an agent apart; agents need not be.
    pub fn new(asked: &KeepErrors, seed: u64, lane: u32) -> Self {
        let random = Random::at(seed, &[u64::from(lane), 0xe44]);
        Self { kept: RefCell::new(KeptErrors::new(asked.per_target)), random: RefCell::new(random) }
    }

    /// A request has failed.
    pub fn failed(
        &self,
        keeping: &Keeping,
        secrets: &Secrets,
        start_ns: u64,
        sample: &Sample,
        request: &Request,
        response: &Response,
    ) {
        let rank = self.random.borrow_mut().next_u64();
        let make = || keeping.sample(secrets, start_ns, sample, request, response);
        self.kept.borrow_mut().offer(sample.scenario, sample.target, rank, make);
    }

    pub fn take(&self) -> KeptErrors {
        self.kept.replace(KeptErrors::new(0))
    }
}

impl Keeping {
    fn sample(
        &self,
        secrets: &Secrets,
        start_ns: u64,
        sample: &Sample,
        request: &Request,
        response: &Response,
    ) -> ErrorSample {
        let told = |value: &[u8]| cut(&secrets.redact(&String::from_utf8_lossy(value)), HEADER_BYTES).to_owned();
        // Without a status there was no response: what stands in the buffer is an earlier one's.
        let naming = NAMING_HEADERS.iter().filter(|_| sample.status.is_some());
        let headers = naming.filter_map(|name| Some(((*name).to_owned(), told(response.header(name)?))));
        let body = (self.asked.body_bytes > 0 && sample.status.is_some()).then(|| self.body(secrets, response));
        ErrorSample {
            scenario: sample.scenario,
            step: sample.step,
            target: sample.target,
            at_us: sample.done_ns.saturating_sub(start_ns) / 1_000,
            response_time_us: sample.response_time_us(),
            outcome: sample.outcome,
            status: sample.status,
            phases: sample.phases,
            headers: headers.collect(),
            traceparent: request.header("traceparent").map(told),
            body,
        }
    }

    /// Secrets go first, from more than is told: one that the end of what is told
    /// cuts in two would not be known any more.
    fn body(&self, secrets: &Secrets, response: &Response) -> String {
        let (body, most) = (response.body(), self.asked.body_bytes as usize);
        let read = match self.pseudonyms {
            Some(_) => JSON_BYTES,
            None => most + MAX_SECRET_BYTES as usize,
        };
        let whole = body.len() <= read && !response.is_body_cut();
        let text = String::from_utf8_lossy(&body[..body.len().min(read)]);
        let text = secrets.redact(&text);
        let text = match &self.pseudonyms {
            Some(pseudonyms) => Cow::Owned(pseudonyms.body(&text, whole)),
            None => text,
        };
        cut(&text, most).to_owned()
    }
}

/// At most so many bytes, and whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}
