//! A completion as server-sent events, token by token as the model server
//! produces them.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use crate::body::{Chunk, Chunks};
use crate::completion::Completion;
use crate::engine::Ticket;
use crate::llm::account::{Mark, Meter};
use crate::region::Region;

struct Streaming {
    completion: Completion,
    ticket: Ticket,
    meter: Arc<Meter>,
    region: Arc<Region>,
    tokens_per_chunk: u32,
    include_usage: bool,
    sent: u32,
    is_over: bool,
}

/// The events of an answer whose first token has been produced.
pub(crate) fn stream(
    completion: Completion,
    ticket: Ticket,
    meter: Arc<Meter>,
    region: Arc<Region>,
    tokens_per_chunk: u32,
    include_usage: bool,
) -> Chunks {
    let streaming =
        Streaming { completion, ticket, meter, region, tokens_per_chunk, include_usage, sent: 0, is_over: false };
    stream::unfold(streaming, |mut streaming| async move {
        let events = streaming.next().await?;
        streaming.region.stall_over().await;
        Some((Ok(events), streaming))
    })
    .boxed()
}

impl Streaming {
    async fn next(&mut self) -> Option<Chunk> {
        if self.is_over {
            return None;
        }
        let wanted = self.completion.completion_tokens;
        let mut events = String::new();
        if self.sent == 0 {
            self.open(&mut events);
        }
        let before = self.sent;
        let end = (self.sent + self.tokens_per_chunk).min(wanted);
        let mut content = String::new();
        while self.sent < end {
            // The first token was taken from the ticket before the stream began.
            if self.sent > 0 && self.ticket.next().await.is_none() {
                return None;
            }
            content.push_str(self.completion.word(self.sent));
            self.sent += 1;
        }
        push(&mut events, &self.completion.chunk(json!({"content": content})));
        if self.sent == wanted {
            self.close(&mut events);
        }
        let tokens = self.sent - before;
        let mark = Mark { meter: self.meter.clone(), chunks: 1, tokens, is_visible: true };
        Some(Chunk { bytes: events.into(), mark: Some(mark) })
    }

    fn open(&self, events: &mut String) {
        if self.completion.is_azure {
            push(events, &Completion::filter_chunk());
        }
        push(events, &self.completion.chunk(json!({"role": "assistant", "content": ""})));
    }

    fn close(&mut self, events: &mut String) {
        push(events, &self.completion.finish_chunk());
        if self.include_usage {
            push(events, &self.completion.usage_chunk());
        }
        events.push_str("data: [DONE]\n\n");
        self.is_over = true;
    }
}

fn push(events: &mut String, event: &Value) {
    events.push_str("data: ");
    events.push_str(&event.to_string());
    events.push_str("\n\n");
}
