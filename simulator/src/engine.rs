//! Performs the model: turns its simulated time into real waits, and hands
//! each request its tokens.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use crate::model::{Admission, ModelParams, ModelServer, Token, Work};
use crate::wait::Waiter;

/// One model server at work.
#[derive(Debug)]
pub(crate) struct Engine {
    start: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    model: ModelServer,
    next_id: u64,
    /// By sequence.
    requesters: HashMap<u64, Requester>,
}

#[derive(Debug)]
struct Requester {
    choice: u32,
    /// Unbounded, but never longer than one request's tokens.
    tokens: mpsc::UnboundedSender<Produced>,
}

/// A token of one of a request's answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Produced {
    pub(crate) choice: u32,
    pub(crate) token: Token,
    /// When its step ended.
    pub(crate) at: Instant,
}

/// A request's places in the model server, one for each answer; dropping it gives them up.
#[derive(Debug)]
pub(crate) struct Ticket {
    engine: Arc<Engine>,
    ids: Range<u64>,
    tokens: mpsc::UnboundedReceiver<Produced>,
}

impl Engine {
    pub(crate) fn new(params: ModelParams) -> Arc<Self> {
        let state = State { model: ModelServer::new(params), next_id: 0, requesters: HashMap::new() };
        Arc::new(Self { start: Instant::now(), state: Mutex::new(state), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Sequences in the batch, and requests waiting.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.model.in_service(), state.model.queued())
    }

    /// A place for each of `works`, or when to try again.
    pub(crate) fn submit(self: &Arc<Self>, works: &[Work]) -> Result<Ticket, Duration> {
        let mut state = self.state();
        let now_us = self.now_us();
        state.deliver(self.start, now_us);
        let was_idle = state.model.next_us().is_none();
        let ids = state.next_id..state.next_id + works.len() as u64;
        for (id, work) in ids.clone().zip(works) {
            if let Admission::Refused { retry_after_us } = state.model.arrive(now_us, id, *work) {
                for placed in ids.start..id {
                    state.model.abandon(placed);
                }
                return Err(Duration::from_micros(retry_after_us));
            }
        }
        state.next_id = ids.end;
        let (sender, tokens) = mpsc::unbounded_channel();
        for (id, choice) in ids.clone().zip(0..) {
            state.requesters.insert(id, Requester { choice, tokens: sender.clone() });
        }
        if was_idle {
            self.changed.notify_one();
        }
        Ok(Ticket { engine: self.clone(), ids, tokens })
    }

    /// Ends steps when they end, for as long as it is polled.
    pub(crate) async fn run(self: Arc<Self>, waiter: Waiter) {
        loop {
            let next_us = {
                let mut state = self.state();
                state.deliver(self.start, self.now_us());
                state.model.next_us()
            };
            match next_us {
                Some(next_us) => waiter.until(self.start + Duration::from_micros(next_us)).await,
                None => self.changed.notified().await,
            }
        }
    }
}

impl State {
    fn deliver(&mut self, start: Instant, now_us: u64) {
        for token in self.model.advance(now_us) {
            // A requester that is gone has given its ticket back, or will.
            if let Some(requester) = self.requesters.get(&token.id) {
                let at = start + Duration::from_micros(token.at_us);
                let _ = requester.tokens.send(Produced { choice: requester.choice, token, at });
            }
            if token.last {
                self.requesters.remove(&token.id);
            }
        }
    }
}

impl Ticket {
    /// The next token of any answer; none after the last of all.
    pub(crate) async fn next(&mut self) -> Option<Produced> {
        self.tokens.recv().await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.engine.state();
        for id in self.ids.clone() {
            if state.requesters.remove(&id).is_some() {
                state.model.abandon(id);
            }
        }
    }
}
