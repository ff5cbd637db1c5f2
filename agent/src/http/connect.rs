//! Opens connections: address, source, TCP, proxy tunnel, TLS.

use super::deadline::{due_after, instant_of};
use super::failure::Failure;
use super::h1::decode::{Decoder, Progress, Sink};
use super::shared::TargetShared;
use super::sockopt;
use super::stream::Stream;
use crate::clock::now_ns;
use squall_common::plan::Scheme;
use squall_common::sample::{Outcome, PhaseTimes};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

/// Whose turn it is among addresses and among source addresses.
#[derive(Debug)]
pub(super) struct Cursors {
    pub(super) address: Cell<usize>,
    pub(super) source: Cell<usize>,
}

/// What to offer in ALPN and what to insist on.
#[derive(Clone, Copy)]
pub(super) struct Offer<'a> {
    pub(super) connector: &'a TlsConnector,
    pub(super) must_be_h2: Option<bool>,
}

pub(super) struct Dialed {
    pub(super) stream: Stream,
    pub(super) is_h2: bool,
}

/// Opens one connection. A first address that does not answer is followed by the
/// next one, once; the error of the last counts.
pub(super) async fn dial(
    shared: &TargetShared,
    addresses: &[SocketAddr],
    cursors: &Cursors,
    offer: Option<Offer<'_>>,
    due_ns: u64,
    phases: &mut PhaseTimes,
) -> Result<Dialed, Failure> {
    let looked_up;
    let addresses = if addresses.is_empty() {
        looked_up = lookup(shared, due_ns, phases).await?;
        &looked_up[..]
    } else {
        addresses
    };
    let began_ns = now_ns();
    let mut connected = connect(shared, addresses, cursors, due_ns).await;
    if addresses.len() > 1 && now_ns() < due_ns && connected.as_ref().is_err_and(is_the_targets) {
        connected = connect(shared, addresses, cursors, due_ns).await;
    }
    phases.connect_us = Some(now_ns().saturating_sub(began_ns) / 1_000);
    let mut tcp = connected?;
    if shared.proxy.is_some() && shared.scheme == Scheme::Https {
        tunnel(shared, &mut tcp, due_ns).await?;
        phases.connect_us = Some(now_ns().saturating_sub(began_ns) / 1_000);
    }
    match (&shared.tls, offer) {
        (Some(setup), Some(offer)) => {
            let began_ns = now_ns();
            let handshake = offer.connector.connect(setup.server_name.clone(), tcp);
            let shaken = timeout_at(instant_of(due_ns), handshake).await;
            phases.tls_us = Some(now_ns().saturating_sub(began_ns) / 1_000);
            let tls = shaken
                .map_err(|_| Failure::new(Outcome::TimeoutTls, "timed out in the TLS handshake"))?
                .map_err(|error| Failure::handshaking(&error))?;
            let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            if offer.must_be_h2 == Some(true) && !is_h2 {
                return Err(Failure::new(
                    Outcome::Tls,
                    "the target did not agree to HTTP/2; write `http: auto` to take what it has",
                ));
            }
            Ok(Dialed { stream: Stream::Tls(Box::new(tls)), is_h2 })
        }
        _ => Ok(Dialed { stream: Stream::Tcp(tcp), is_h2: false }),
    }
}

/// Our own limits do not go away with another address.
fn is_the_targets(failure: &Failure) -> bool {
    !matches!(failure.outcome, Outcome::GeneratorNoFds | Outcome::GeneratorNoPorts)
}

async fn lookup(
    shared: &TargetShared,
    due_ns: u64,
    phases: &mut PhaseTimes,
) -> Result<std::sync::Arc<[SocketAddr]>, Failure> {
    let began_ns = now_ns();
    let found = shared.names.lookup_now(Duration::from_nanos(due_ns.saturating_sub(began_ns))).await;
    phases.dns_us = Some(now_ns().saturating_sub(began_ns) / 1_000);
    found
}

async fn connect(
    shared: &TargetShared,
    addresses: &[SocketAddr],
    cursors: &Cursors,
    due_ns: u64,
) -> Result<TcpStream, Failure> {
    let address = addresses[take_turn(&cursors.address, addresses.len())];
    let source = source_for(&shared.policy.source_addresses, address, &cursors.source)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| Failure::connecting(&error))?;
    sockopt::prepare(&socket, &shared.policy, source).map_err(|error| Failure::connecting(&error))?;
    let due_ns = due_ns.min(due_after(now_ns(), shared.policy.connect_timeout));
    match timeout_at(instant_of(due_ns), socket.connect(address)).await {
        Ok(connected) => connected.map_err(|error| Failure::connecting(&error)),
        Err(_) => Err(Failure::new(Outcome::TimeoutConnect, format!("connecting to {address} timed out"))),
    }
}

fn take_turn(cursor: &Cell<usize>, count: usize) -> usize {
    let turn = cursor.get();
    cursor.set(turn.wrapping_add(1));
    turn % count
}

/// The next source address of the target's family; `None`: the kernel chooses.
fn source_for(sources: &[IpAddr], to: SocketAddr, cursor: &Cell<usize>) -> Result<Option<IpAddr>, Failure> {
    if sources.is_empty() {
        return Ok(None);
    }
    for _ in 0..sources.len() {
        let source = sources[take_turn(cursor, sources.len())];
        if source.is_ipv4() == to.is_ipv4() {
            return Ok(Some(source));
        }
    }
    Err(Failure::new(Outcome::ConnectFailed, format!("no source address of the same family as {to}")))
}

/// Asks the proxy for a tunnel to the target.
async fn tunnel(shared: &TargetShared, tcp: &mut TcpStream, due_ns: u64) -> Result<(), Failure> {
    match timeout_at(instant_of(due_ns), ask_for_tunnel(shared, tcp)).await {
        Ok(asked) => asked,
        Err(_) => Err(Failure::new(Outcome::TimeoutConnect, "the proxy did not answer CONNECT in time")),
    }
}

async fn ask_for_tunnel(shared: &TargetShared, tcp: &mut TcpStream) -> Result<(), Failure> {
    let to = &shared.tunnel_to;
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n");
    if let Some(authorization) = shared.proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref()) {
        head.push_str(&format!("proxy-authorization: {authorization}\r\n"));
    }
    head.push_str("\r\n");
    let broke = |error: std::io::Error| Failure::new(Outcome::ConnectFailed, format!("proxy: {error}"));
    tcp.write_all(head.as_bytes()).await.map_err(broke)?;
    let mut answer = ProxyAnswer::default();
    // A successful answer to CONNECT has no body, like one to HEAD.
    let mut decoder = Decoder::new(true);
    // Byte by byte at its end would be wrong for a server that speaks first, but
    // in TLS the client does: nothing follows the answer.
    let mut buffer = [0u8; 2048];
    loop {
        let read = tcp.read(&mut buffer).await.map_err(broke)?;
        if read == 0 {
            return Err(Failure::new(Outcome::ConnectFailed, "the proxy closed the connection"));
        }
        let refused = |what: String| Failure::new(Outcome::ConnectFailed, what);
        match decoder.feed(&buffer[..read], &mut answer).map_err(|error| refused(format!("proxy: {error}")))? {
            Progress::NeedMore => {}
            Progress::Done { .. } if (200..300).contains(&answer.status) => return Ok(()),
            Progress::Done { .. } => return Err(refused(format!("the proxy answered CONNECT with {}", answer.status))),
        }
    }
}

#[derive(Default)]
struct ProxyAnswer {
    status: u16,
}

impl Sink for ProxyAnswer {
    fn status(&mut self, status: u16) {
        self.status = status;
    }
    fn header(&mut self, _: &[u8], _: &[u8]) {}
    fn body(&mut self, _: &[u8]) {}
}
