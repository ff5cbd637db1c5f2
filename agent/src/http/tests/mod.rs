//! The engine against real sockets on the loopback interface, each server written
//! out byte by byte.

mod codings;
mod connections;
mod failures;
mod http2;
mod proxies;
mod redirects;
mod responses;
mod tls;

use super::*;
use bytes::Bytes;
use http::Method;
use squall_common::allow::AllowList;
use squall_common::plan::{ConnectionPolicy, DnsPolicy, HttpVersion, Redirects, Scheme, Target, TlsPolicy};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Long enough that a busy machine does not matter.
const PATIENT: Duration = Duration::from_secs(20);

/// Short enough not to wait for.
const IMPATIENT: Duration = Duration::from_millis(150);

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Runs like a worker: one thread, one `LocalSet`.
fn worker<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(Duration::from_secs(60), test).await.unwrap() })
}

/// Serves each accepted connection by `script`, told its number.
async fn serve<F: Future<Output = ()> + 'static>(script: impl Fn(usize, Peer<TcpStream>) -> F + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            spawn_local(script(number, Peer(stream)));
        }
    });
    address
}

/// The server's end of a connection.
struct Peer<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The next request's head and body; empty when the client closed.
    async fn request(&mut self) -> String {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return text;
                }
            }
            let mut piece = [0; 4096];
            match self.0.read(&mut piece).await {
                Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
                _ => return String::new(),
            }
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    /// Answers every request alike until the client closes.
    async fn answer_all(&mut self, answer: &[u8]) {
        while !self.request().await.is_empty() {
            self.send(answer).await;
        }
    }

    /// Holds the connection open, silent, until the client closes.
    async fn stall(&mut self) {
        let mut sink = Vec::new();
        let _ = self.0.read_to_end(&mut sink).await;
    }
}

impl Peer<TcpStream> {
    /// Closes with a reset instead of a farewell.
    fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

fn target_at(address: SocketAddr) -> Target {
    Target {
        name: "t".to_owned(),
        scheme: Scheme::Http,
        host: address.ip().to_string(),
        port: address.port(),
        base_path: String::new(),
        region: None,
        weight: 1,
        headers: Vec::new(),
        http: HttpVersion::Auto,
        tls: TlsPolicy::default(),
        connections: ConnectionPolicy::default(),
        dns: DnsPolicy::default(),
        proxy_from_environment: false,
        redirects: Redirects::Off,
        accept_encoding: Vec::new(),
        endpoint: squall_common::plan::Endpoint::OpenAi { model: None },
    }
}

/// The tests of what may be reached are elsewhere.
fn anywhere() -> Arc<AllowList> {
    Arc::new(AllowList::any())
}

async fn client_of(target: &Target) -> Rc<TargetClient> {
    TargetClient::new(TargetShared::prepare(target, &anywhere()).await.unwrap(), 0, 1)
}

async fn client_at(address: SocketAddr) -> Rc<TargetClient> {
    client_of(&target_at(address)).await
}

fn get(path: &'static str) -> Request {
    let mut request = Request::new(Method::GET);
    request.set_path(Span::Shared(Bytes::from_static(path.as_bytes())));
    request
}

fn post(body: impl Into<Bytes>) -> Request {
    let mut request = Request::new(Method::POST);
    request.push_body(Span::Shared(body.into()));
    request
}

const EVERYTHING: Want = Want { headers: true, body: true };

/// One GET of `/` whose response is kept whole.
async fn fetch(client: &TargetClient, timeout: Duration) -> (Attempt, Response) {
    send(client, &get("/"), timeout).await
}

async fn send(client: &TargetClient, request: &Request, timeout: Duration) -> (Attempt, Response) {
    let mut response = Response::new();
    let attempt = client.exchange(request, EVERYTHING, timeout, &mut response).await;
    (attempt, response)
}

/// What a server saw, for the test to look at.
type Log = Rc<RefCell<Vec<String>>>;
