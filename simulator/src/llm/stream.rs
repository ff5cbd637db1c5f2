//! An answer as server-sent events, token by token as the model server
//! produces them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::account::{Mark, Meter};
use super::delays::Delays;
use super::dialect::Dialect;
use super::draft::{Finish, Kind};
use super::events::{Events, Frame, Oddity, Run};
use super::sse::Writer;
use super::truth::TokenTruth;
use crate::body::{Chunk, Chunks, CutHere};
use crate::engine::{Produced, Ticket};
use crate::region::Region;

/// All a stream is made of.
pub(crate) struct Streamed {
    pub(crate) frame: Frame,
    pub(crate) events: Box<dyn Events>,
    pub(crate) dialect: Dialect,
    pub(crate) tokens_per_chunk: u32,
    pub(crate) ticket: Ticket,
    /// Taken from the ticket before the stream began.
    pub(crate) first: Produced,
    pub(crate) meter: Arc<Meter>,
    pub(crate) region: Arc<Region>,
    pub(crate) delays: Delays,
    /// Prompt tokens and cached ones; the others are counted here.
    pub(crate) used: TokenTruth,
}

struct Streaming {
    parts: Streamed,
    out: Writer,
    first: Option<Produced>,
    /// One for each choice, filled until it is sent.
    runs: Vec<Run>,
    /// Bytes of content each choice has said.
    said: Vec<usize>,
    unfinished: usize,
    chunks: u32,
    mark: Mark,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    NotYet,
    Ended,
    /// In the middle of an event.
    Cut,
}

impl Streamed {
    /// The body of the answer.
    pub(crate) fn body(self) -> Chunks {
        stream::unfold(Streaming::new(self), |mut streaming| async move {
            let piece = streaming.next().await?;
            streaming.parts.region.stall_over().await;
            Some((piece, streaming))
        })
        .boxed()
    }
}

impl Streaming {
    fn new(parts: Streamed) -> Self {
        let choices = parts.frame.drafts.len();
        let run = |choice| Run { choice, kind: Kind::Content, text: String::new(), tokens: 0 };
        let mut streaming = Self {
            out: Writer::new(&parts.dialect),
            first: Some(parts.first),
            runs: (0..choices as u32).map(run).collect(),
            said: vec![0; choices],
            unfinished: choices,
            chunks: 0,
            mark: Mark { meter: parts.meter.clone(), chunks: 0, tokens: 0, is_visible: false },
            ending: Ending::NotYet,
            parts,
        };
        streaming.parts.events.open(&streaming.parts.frame, &mut streaming.out);
        streaming
    }

    /// The next piece of the body: one write to the socket.
    async fn next(&mut self) -> Option<Result<Chunk, CutHere>> {
        match self.ending {
            Ending::NotYet => {}
            Ending::Ended => return None,
            Ending::Cut => {
                // hyper writes out what it has when the body is not ready; an
                // error right behind the data would take the data along.
                tokio::time::sleep(Duration::from_millis(2)).await;
                return Some(Err(CutHere));
            }
        }
        while self.mark.chunks == 0 && self.ending == Ending::NotYet {
            let produced = match self.first.take() {
                Some(first) => first,
                None => self.parts.ticket.next().await?,
            };
            if let Some(due) = self.parts.delays.due(&produced) {
                self.parts.region.waiter.until(due).await;
            }
            self.take(produced);
        }
        let bytes: Bytes = self.out.take();
        let empty = Mark { meter: self.parts.meter.clone(), chunks: 0, tokens: 0, is_visible: false };
        let mark = std::mem::replace(&mut self.mark, empty);
        Some(Ok(Chunk { bytes, mark: Some(mark) }))
    }

    fn take(&mut self, produced: Produced) {
        let choice = produced.choice as usize;
        let draft = &self.parts.frame.drafts[choice];
        let (index, finish) = (produced.token.index, draft.finish);
        let kind = draft.kind(index);
        self.parts.used.output += 1;
        self.parts.used.reasoning += u64::from(kind == Kind::Reasoning);
        if self.runs[choice].tokens > 0 && self.runs[choice].kind != kind {
            self.send(choice);
        }
        if self.ending != Ending::NotYet {
            return;
        }
        let draft = &self.parts.frame.drafts[choice];
        let is_hidden = kind == Kind::Reasoning && self.parts.frame.reasoning_field.is_empty();
        if !is_hidden {
            let run = &mut self.runs[choice];
            run.kind = kind;
            let before = run.text.len();
            draft.say(index, self.said[choice], &mut run.text);
            if kind == Kind::Content {
                self.said[choice] += run.text.len() - before;
            }
            run.tokens += 1;
            if run.tokens >= self.parts.tokens_per_chunk || produced.token.last {
                self.send(choice);
            }
        }
        if produced.token.last && self.ending == Ending::NotYet {
            self.finish(produced.choice, finish);
        }
    }

    /// Sends what one choice has ready, and what the dialect has around it.
    fn send(&mut self, choice: usize) {
        let Streamed { frame, events, dialect, .. } = &mut self.parts;
        let run = &mut self.runs[choice];
        let tokens = std::mem::take(&mut run.tokens);
        if run.text.is_empty() && !matches!(run.kind, Kind::ToolName(_)) {
            return;
        }
        let out = &mut self.out;
        if dialect.error_after == Some(0) {
            return self.fail();
        }
        let is_due = |every: Option<u32>| every.is_some_and(|every| self.chunks.is_multiple_of(every));
        if is_due(dialect.ping_every) {
            out.comment("ping");
        }
        if is_due(dialect.no_choices_every) {
            events.oddity(frame, Oddity::NoChoices, out);
        }
        if is_due(dialect.no_delta_every) {
            events.oddity(frame, Oddity::NoDelta, out);
        }
        let is_output = events.run(frame, run, out);
        run.text.clear();
        if dialect.truncate_after == Some(self.chunks) {
            out.halve_last_event();
            self.ending = Ending::Cut;
            return;
        }
        self.mark.tokens += tokens;
        if !is_output {
            return;
        }
        self.chunks += 1;
        self.mark.chunks += 1;
        self.mark.is_visible |= run.kind != Kind::Reasoning;
        if dialect.async_filter_every.is_some_and(|every| self.chunks.is_multiple_of(every)) {
            events.oddity(frame, Oddity::Annotation(choice as u32), out);
        }
        if dialect.error_after == Some(self.chunks) {
            self.fail();
        } else if dialect.content_filter_after.is_some_and(|after| after <= self.chunks) {
            events.filtered(frame, out);
            self.close();
        }
    }

    fn fail(&mut self) {
        let Streamed { frame, events, meter, .. } = &mut self.parts;
        events.error(frame, &mut self.out);
        meter.failed();
        self.ending = Ending::Ended;
    }

    fn finish(&mut self, choice: u32, finish: Finish) {
        let Streamed { frame, events, dialect, .. } = &mut self.parts;
        events.finish(frame, choice, finish, &mut self.out);
        if dialect.async_filter_every.is_some() {
            events.oddity(frame, Oddity::Annotation(choice), &mut self.out);
        }
        self.unfinished -= 1;
        if self.unfinished == 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        let Streamed { frame, events, dialect, used, meter, .. } = &mut self.parts;
        meter.used(*used);
        events.close(frame, *used, !dialect.no_done, &mut self.out);
        self.ending = Ending::Ended;
    }
}
