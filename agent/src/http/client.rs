//! One worker's connections to one target, and exchanges over them.

use super::attempt::Attempt;
use super::coding;
use super::connect::{self, Cursors, Dialed, Offer};
use super::deadline::{due_after, instant_of};
use super::dns::Addresses;
use super::facts::{Coding, Facts};
use super::failure::Failure;
use super::h1::conn::H1Conn;
use super::h1::encode_head;
use super::h1::round::{BODY_COPY_MAX, Measured, Round};
use super::h2::{H2Pool, Handshaken};
use super::obtain::DIALS_AT_ONCE;
use super::pool::{Counters, Idle, OpenGuard, Slots, dealt};
use super::redirect::{Hop, next_hop};
use super::request::Request;
use super::response::{Intake, Response, Want, Watch};
use super::shared::TargetShared;
use super::tls::{Connectors, TlsSetup};
use crate::clock::now_ns;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use squall_common::plan::{HttpVersion, Scheme};
use squall_common::sample::{Outcome, PhaseTimes};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;

/// Connections that [`TargetClient::warm`] opens side by side: enough for a distant
/// target, few enough not to look like a flood to a near one.
const WARMED_AT_ONCE: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// One worker's connections to one target. Lives inside the worker's `LocalSet`.
///
/// Dropping an exchange's future closes the connection it used (on HTTP/2, the
/// stream): a half-used connection never carries another request.
pub struct TargetClient {
    pub(super) shared: Arc<TargetShared>,
    connectors: Option<Connectors>,
    /// Unknown until the first handshake when ALPN decides.
    protocol: Cell<Option<Protocol>>,
    /// Whoever makes that first handshake; others wait for what it learns.
    learning: tokio::sync::Semaphore,
    /// This worker's part of `max_connections`.
    pub(super) limit: Option<u64>,
    /// Exchanges that had to wait for a connection slot.
    waited: Cell<u64>,
    slots: Slots,
    pub(super) idle: Idle,
    /// Turns to dial where connections are not limited.
    pub(super) dials: Slots,
    /// For dials that outlive the request they were begun for.
    pub(super) own: Weak<Self>,
    pub(super) h2: H2Pool,
    counters: Rc<Counters>,
    addresses: RefCell<Addresses>,
    cursors: Cursors,
    /// The head of the request being written. It is handed around rather than kept
    /// by connections: a write that the kernel takes whole needs it only briefly.
    head: Cell<Vec<u8>>,
}

/// One exchange's fixed inputs.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) request: &'a Request,
    pub(super) hop: Option<&'a Hop>,
    pub(super) due_ns: u64,
    on_send: Option<&'a dyn Fn()>,
}

/// Who wants to know of an exchange while it goes on.
#[derive(Default)]
pub struct Observer<'a, 'w> {
    /// Called when a connection is had and the first byte is about to be written;
    /// once more for every hop and for a connection that had to be replaced.
    pub on_send: Option<&'a dyn Fn()>,
    /// Shown each piece of body as it is read, with the instant of its read: for streamed answers.
    pub watch: Option<Watch<'w>>,
}

impl Ask<'_> {
    pub(super) fn tell_sending(&self) {
        if let Some(on_send) = self.on_send {
            on_send();
        }
    }

    pub(super) fn method(&self) -> &Method {
        self.hop.and_then(|hop| hop.method.as_ref()).unwrap_or(&self.request.method)
    }

    pub(super) fn drops_body(&self) -> bool {
        self.hop.is_some_and(|hop| hop.drops_body)
    }
}

impl TargetClient {
    /// `worker_index` of `worker_count`: the plan's limits are for the whole agent
    /// and this worker takes its part. A worker's part is at least one connection.
    pub fn new(shared: Arc<TargetShared>, worker_index: u32, worker_count: u32) -> Rc<Self> {
        let limit = shared.policy.max_connections.map(|limit| u64::from(dealt(limit, worker_index, worker_count)));
        let streams = u64::from(shared.policy.streams_per_connection.max(1));
        let protocol = match (shared.http, shared.scheme) {
            (HttpVersion::Http1, _) | (HttpVersion::Auto, Scheme::Http) => Some(Protocol::Http1),
            (HttpVersion::Http2, _) => Some(Protocol::Http2),
            (HttpVersion::Auto, Scheme::Https) => None,
        };
        Rc::new_cyclic(|own| Self {
            connectors: shared.tls.as_ref().map(TlsSetup::connectors),
            protocol: Cell::new(protocol),
            learning: tokio::sync::Semaphore::new(1),
            limit,
            waited: Cell::new(0),
            slots: Slots::new(limit),
            idle: Idle::default(),
            dials: Slots::new(Some(DIALS_AT_ONCE)),
            own: own.clone(),
            h2: H2Pool::new(limit.map(|limit| limit * streams)),
            counters: Rc::default(),
            addresses: RefCell::new(shared.names.read()),
            cursors: Cursors { address: Cell::new(worker_index as usize), source: Cell::new(worker_index as usize) },
            head: Cell::default(),
            shared,
        })
    }

    /// Sends one request and reads its response. `timeout` covers everything from
    /// the moment a connection slot is had (at once unless `max_connections` is
    /// reached): lookup, connect, TLS, all hops.
    pub async fn exchange(&self, request: &Request, want: Want, timeout: Duration, response: &mut Response) -> Attempt {
        self.exchange_observed(request, want, timeout, response, Observer::default()).await
    }

    /// The same, telling an observer how it goes.
    pub async fn exchange_observed(
        &self,
        request: &Request,
        want: Want,
        timeout: Duration,
        response: &mut Response,
        observer: Observer<'_, '_>,
    ) -> Attempt {
        response.clear();
        let mut attempt = Attempt::new();
        if let Some(broken) = request.broken_part() {
            attempt.fail(Failure::new(Outcome::Protocol, broken));
        } else {
            match self.rounds(request, want, timeout, response, observer, &mut attempt).await {
                Ok(facts) => self.finish(&facts, want, response, &mut attempt),
                Err(failure) => attempt.fail(failure),
            }
        }
        if attempt.done_ns == 0 {
            attempt.done_ns = now_ns();
        }
        attempt
    }

    /// Opens connections ahead until `n` are open, as far as the limit allows, some
    /// at a time. Stops at the first failure.
    pub async fn warm(&self, n: u32) -> Result<(), Failure> {
        let limit = self.shared.policy.connect_timeout.saturating_mul(2);
        let protocol = self.protocol(due_after(now_ns(), limit), &mut PhaseTimes::default()).await?;
        let most = self.limit.unwrap_or(u64::MAX).min(u64::from(n));
        let dials = (self.open_connections()..most).map(|_| async move {
            let (due_ns, mut phases) = (due_after(now_ns(), limit), PhaseTimes::default());
            match protocol {
                Protocol::Http1 => {
                    let conn = self.dial_h1(due_ns, &mut phases).await?;
                    self.idle.put(conn, &self.shared.policy, now_ns());
                }
                Protocol::Http2 => self.h2.add(self.dial_h2(due_ns, &mut phases).await?),
            }
            Ok(())
        });
        stream::iter(dials).buffer_unordered(WARMED_AT_ONCE).try_collect().await
    }

    /// Connections open now.
    pub fn open_connections(&self) -> u64 {
        self.counters.open.get()
    }

    /// Connections opened since the client was made.
    pub fn opened_total(&self) -> u64 {
        self.counters.opened_total.get()
    }

    /// Exchanges that had to wait because the limit of connections was reached.
    pub fn waited_total(&self) -> u64 {
        self.waited.get()
    }

    /// The first request and the redirects it leads to.
    async fn rounds(
        &self,
        request: &Request,
        want: Want,
        timeout: Duration,
        response: &mut Response,
        observer: Observer<'_, '_>,
        attempt: &mut Attempt,
    ) -> Result<Facts, Failure> {
        let Observer { on_send, mut watch } = observer;
        let mut due_ns = None;
        let protocol = match self.protocol.get() {
            Some(protocol) => protocol,
            None => {
                let due_ns = *due_ns.insert(due_after(now_ns(), timeout));
                Box::pin(self.protocol(due_ns, &mut attempt.phases)).await?
            }
        };
        let slots = match protocol {
            Protocol::Http1 => &self.slots,
            Protocol::Http2 => self.h2.slots(),
        };
        let _slot = match slots.try_acquire() {
            Some(slot) => slot,
            None => {
                self.waited.set(self.waited.get() + 1);
                slots.acquire().await
            }
        };
        let mut hop: Option<Hop> = None;
        let mut hops_left = self.shared.redirects;
        loop {
            let mut intake = Intake {
                response: &mut *response,
                want,
                decodes: self.shared.decodes(),
                facts: Facts::new(hops_left > 0),
                body_bytes: 0,
                read_ns: 0,
                watch: watch.as_mut(),
                coded_cut: false,
            };
            let began_ns = now_ns();
            let due_ns = *due_ns.get_or_insert_with(|| due_after(began_ns, timeout));
            let ask = Ask { request, hop: hop.as_ref(), due_ns, on_send };
            let result = match protocol {
                Protocol::Http1 => self.round_h1(ask, began_ns, &mut intake, attempt).await,
                Protocol::Http2 => Box::pin(self.round_h2(ask, &mut intake, attempt)).await,
            };
            let (mut facts, coded_cut) = (intake.facts, intake.coded_cut);
            attempt.body_bytes = intake.body_bytes;
            attempt.decoded_body_bytes = intake.body_bytes;
            attempt.phases.server_us = facts.server_us;
            attempt.status = (response.status > 0).then_some(response.status);
            result?;
            if coded_cut {
                return Err(Failure::new(
                    Outcome::Protocol,
                    "the coded body is longer than the 16 MiB kept for decoding",
                ));
            }
            let Some(next) = facts.location.take().and_then(|location| self.hop_to(ask, response.status, &location))
            else {
                return Ok(facts);
            };
            hop = Some(next);
            hops_left -= 1;
            response.clear();
        }
    }

    fn hop_to(&self, ask: Ask<'_>, status: u16, location: &[u8]) -> Option<Hop> {
        let first_path;
        let path_now = match ask.hop {
            Some(hop) => &hop.path,
            None => {
                first_path = [&self.shared.base_path, ask.request.path()].concat();
                &first_path
            }
        };
        let mut next = next_hop(&self.shared.origin, path_now, ask.method(), status, location)?;
        // What an earlier hop became, later ones stay.
        if let Some(hop) = ask.hop {
            next.method = next.method.or_else(|| hop.method.clone());
            next.drops_body |= hop.drops_body;
        }
        Some(next)
    }

    /// One request on one HTTP/1.1 connection.
    async fn round_h1(
        &self,
        ask: Ask<'_>,
        began_ns: u64,
        intake: &mut Intake<'_, '_>,
        attempt: &mut Attempt,
    ) -> Result<(), Failure> {
        let mut sent_ns = began_ns;
        let mut conn = match self.idle.take(&self.shared.policy, began_ns) {
            Some(conn) => conn,
            None => {
                let conn = Box::pin(self.obtain_h1(ask.due_ns, &mut attempt.phases)).await?;
                sent_ns = now_ns();
                conn
            }
        };
        conn.requests += 1;
        conn.deadline.set(ask.due_ns);
        let is_last = self.shared.policy.max_requests.is_some_and(|max| conn.requests >= max);
        let (head, body) = self.render(ask, is_last);
        attempt.sent_ns.get_or_insert(sent_ns);
        ask.tell_sending();
        let answers_head = *ask.method() == Method::HEAD;
        let mut round = Round::new(&mut conn, head, &self.head, ask.request, body, answers_head, intake);
        let result = poll_fn(|cx| round.poll(cx)).await;
        let measured = round.measured;
        record(attempt, sent_ns, &measured);
        attempt.phases.rtt_us = conn.rtt_us(measured.done_ns);
        if result? && !is_last {
            self.idle.put(conn, &self.shared.policy, measured.done_ns);
        }
        Ok(())
    }

    /// The head, with a small body behind it, and what of the body is left.
    fn render<'a>(&self, ask: Ask<'a>, is_last: bool) -> (Vec<u8>, &'a [super::request::Span]) {
        let mut head = self.head.take();
        head.clear();
        encode_head(&mut head, &self.shared.parts, ask.request, ask.hop);
        if is_last {
            head.extend_from_slice(b"connection: close\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let body = if ask.drops_body() { &[][..] } else { ask.request.body() };
        if ask.request.body_bytes() > BODY_COPY_MAX {
            return (head, body);
        }
        for piece in body {
            head.extend_from_slice(ask.request.bytes_of(piece));
        }
        (head, &[])
    }

    /// Decoding is ours, not the target's: its time is not in the attempt.
    fn finish(&self, facts: &Facts, want: Want, response: &mut Response, attempt: &mut Attempt) {
        if !self.shared.decodes() || facts.coding == Coding::Identity {
            return;
        }
        match coding::decode(facts.coding, response, want.body) {
            _ if attempt.body_bytes == 0 => {}
            Ok(decoded) => attempt.decoded_body_bytes = decoded,
            Err(failure) => attempt.fail(failure),
        }
    }

    /// The protocol spoken with this target; found out by a first connection when
    /// ALPN decides. That connection is kept for use.
    async fn protocol(&self, due_ns: u64, phases: &mut PhaseTimes) -> Result<Protocol, Failure> {
        if let Some(protocol) = self.protocol.get() {
            return Ok(protocol);
        }
        let waited = timeout_at(instant_of(due_ns), self.learning.acquire()).await;
        let _permit =
            waited.map_err(|_| Failure::new(Outcome::TimeoutConnect, "timed out waiting for the first connection"))?;
        if let Some(protocol) = self.protocol.get() {
            return Ok(protocol);
        }
        let dialed = self.dial(None, due_ns, phases).await?;
        let protocol = if dialed.is_h2 {
            let handshaken = self.handshake_h2(dialed.stream, due_ns).await?;
            self.h2.add(handshaken);
            Protocol::Http2
        } else {
            let conn = H1Conn::new(dialed.stream, OpenGuard::new(&self.counters), now_ns(), due_ns);
            self.idle.put(Box::new(conn), &self.shared.policy, now_ns());
            Protocol::Http1
        };
        self.protocol.set(Some(protocol));
        Ok(protocol)
    }

    pub(super) async fn dial_h1(&self, due_ns: u64, phases: &mut PhaseTimes) -> Result<Box<H1Conn>, Failure> {
        let dialed = self.dial(Some(Protocol::Http1), due_ns, phases).await?;
        Ok(Box::new(H1Conn::new(dialed.stream, OpenGuard::new(&self.counters), now_ns(), due_ns)))
    }

    pub(super) async fn dial_h2(&self, due_ns: u64, phases: &mut PhaseTimes) -> Result<Handshaken, Failure> {
        let dialed = self.dial(Some(Protocol::Http2), due_ns, phases).await?;
        self.handshake_h2(dialed.stream, due_ns).await
    }

    async fn handshake_h2(&self, stream: super::stream::Stream, due_ns: u64) -> Result<Handshaken, Failure> {
        super::h2::handshake(stream, OpenGuard::new(&self.counters), due_ns).await
    }

    async fn dial(&self, protocol: Option<Protocol>, due_ns: u64, phases: &mut PhaseTimes) -> Result<Dialed, Failure> {
        let offer = self.connectors.as_ref().map(|connectors| match protocol {
            None => Offer { connector: &connectors.either, must_be_h2: None },
            Some(Protocol::Http1) => Offer { connector: &connectors.http1, must_be_h2: Some(false) },
            Some(Protocol::Http2) => Offer { connector: &connectors.http2, must_be_h2: Some(true) },
        });
        let addresses = self.addresses();
        connect::dial(&self.shared, &addresses, &self.cursors, offer, due_ns, phases).await
    }

    fn addresses(&self) -> Arc<[std::net::SocketAddr]> {
        let mut copy = self.addresses.borrow_mut();
        if !self.shared.names.is_current(&copy) {
            *copy = self.shared.names.read();
        }
        copy.list.clone()
    }
}

/// Adds one round's measurements to the attempt.
pub(super) fn record(attempt: &mut Attempt, sent_ns: u64, measured: &Measured) {
    let us = |from_ns: Option<u64>, to_ns: Option<u64>| Some(to_ns?.saturating_sub(from_ns?) / 1_000);
    let done_ns = Some(measured.done_ns);
    attempt.done_ns = measured.done_ns;
    attempt.bytes_sent += measured.bytes_sent;
    attempt.bytes_received += measured.bytes_received;
    attempt.add_round(
        us(Some(sent_ns), measured.written_ns),
        us(measured.written_ns, measured.first_byte_ns),
        us(measured.first_byte_ns, done_ns),
    );
}
