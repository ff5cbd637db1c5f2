//! Recorded prompts, made ready: serialised and counted once, when they are read.

use crate::prompt::{Prompt, write_string};
use crate::records::{Record, Said};
use crate::tokens::{TokenCount, TokenCounter};
use bytes::Bytes;
use squall_common::plan::prompts::{PromptOrder, Role, Take};
use squall_common::random::{Random, mix, permute};

const ORDER: u64 = 1;

/// All records of one source. Never empty.
pub(crate) struct Given {
    seed: u64,
    order: PromptOrder,
    records: Vec<Prepared>,
}

pub(crate) struct Prepared {
    pub(crate) prompt: Prompt,
    /// Tokens of the answer recorded to `prompt`.
    pub(crate) answer_tokens: Option<u32>,
    /// Never empty.
    pub(crate) turns: Vec<Turn>,
}

/// What is said between two answers.
pub(crate) struct Turn {
    /// JSON objects, joined by commas.
    pub(crate) messages: Bytes,
    pub(crate) tokens: TokenCount,
    /// Tokens of the answer recorded to it.
    pub(crate) answer_tokens: Option<u32>,
}

impl Given {
    pub(crate) fn new(records: Vec<Record>, order: PromptOrder, take: Take, seed: u64, counter: &TokenCounter) -> Self {
        let records = records.into_iter().map(|record| Prepared::new(&record, take, counter)).collect();
        Self { seed, order, records }
    }

    pub(crate) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn of_number(&self, number: u64) -> &Prepared {
        let len = self.len();
        let place = match self.order {
            PromptOrder::Sequential => number % len,
            PromptOrder::Random => Random::at(self.seed, &[ORDER, number]).below(len),
            PromptOrder::Shuffled => permute(number % len, len, mix(self.seed, &[ORDER, number / len])),
        };
        &self.records[place as usize]
    }
}

impl Prepared {
    fn new(record: &[Said], take: Take, counter: &TokenCounter) -> Self {
        let counts: Vec<TokenCount> = record.iter().map(|said| counter.count(&said.text)).collect();
        let is_answer = |said: &Said| said.role == Role::Assistant;
        let first_user = record.iter().position(|said| said.role == Role::User).unwrap_or(0);
        let end = match take {
            Take::FirstTurn => record[first_user..].iter().position(is_answer).map_or(record.len(), |n| first_user + n),
            Take::LastTurn => record.iter().rposition(|said| !is_answer(said)).map_or(record.len(), |n| n + 1),
        };
        let texts: Vec<&str> = record[..end].iter().map(|said| said.text.as_str()).collect();
        let mut input = Vec::new();
        write_string(&mut input, &texts.join("\n"));
        let messages = [b"[".as_slice(), &joined(&record[..end]), b"]"].concat();
        Self {
            prompt: Prompt::given(messages.into(), input.into(), counts[..end].iter().copied().sum()),
            answer_tokens: record.get(end).map(|_| counts[end].tokens),
            turns: turns(record, &counts, first_user),
        }
    }
}

/// The record as a script: its answers are cut out, and so is what tools said,
/// which belongs to them.
fn turns(record: &[Said], counts: &[TokenCount], first_user: usize) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut from = 0;
    for at in first_user..=record.len() {
        let is_end = record.get(at).is_none_or(|said| said.role == Role::Assistant);
        if !is_end {
            continue;
        }
        let spoken: Vec<usize> =
            (from..at).filter(|&n| n < first_user || !matches!(record[n].role, Role::Tool)).collect();
        if !spoken.is_empty() {
            let said: Vec<&Said> = spoken.iter().map(|&n| &record[n]).collect();
            turns.push(Turn {
                messages: joined(said).into(),
                tokens: spoken.iter().map(|&n| counts[n]).sum(),
                answer_tokens: record.get(at).map(|_| counts[at].tokens),
            });
        }
        from = at + 1;
    }
    turns
}

fn joined<'s>(said: impl IntoIterator<Item = &'s Said>) -> Vec<u8> {
    let objects: Vec<&[u8]> = said.into_iter().map(|said| said.json.as_slice()).collect();
    objects.join(&b',')
}
