//! A wire tap before a server that tells nothing: passes every byte on at once,
//! keeps all of them, and reads them only when the run is over. It shares no
//! code with what Squall reads answers with.

mod http;

use http::Message;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A listener whose connections all lead to one server.
pub struct Tap {
    port: u16,
    is_over: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<Connection>>,
}

/// Both directions of a connection, each its thread.
struct Connection {
    asked: JoinHandle<Vec<u8>>,
    answered: JoinHandle<Vec<u8>>,
}

/// One request with its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub path: String,
    pub asked: Value,
    pub status: u16,
    body: Vec<u8>,
}

impl Tap {
    /// Leads to this port of the loopback address.
    pub fn before(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port to listen on");
        let port = listener.local_addr().expect("a bound address").port();
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let accepting = thread::spawn(move || {
            let mut connections = Vec::new();
            for client in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    break;
                }
                connections.push(Connection::between(client.expect("a connection"), server_port));
            }
            connections
        });
        Self { port, is_over, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that was asked and answered; whoever asked must have ended.
    pub fn stop(self) -> Vec<Exchange> {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("the tap listens"));
        let connections = self.accepting.join().expect("the tap accepts");
        connections.into_iter().flat_map(Connection::exchanges).collect()
    }
}

impl Connection {
    fn between(client: TcpStream, server_port: u16) -> Self {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).expect("the server listens");
        let twin = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        let (client_twin, server_twin) = (twin(&client), twin(&server));
        Self {
            asked: thread::spawn(move || passed_on(client_twin, server_twin)),
            answered: thread::spawn(move || passed_on(server, client)),
        }
    }

    /// There is no pipelining: the n-th answer is the one to the n-th request.
    fn exchanges(self) -> Vec<Exchange> {
        let requests = Message::all(&self.asked.join().expect("the tap reads requests"));
        let answers = Message::all(&self.answered.join().expect("the tap reads answers"));
        assert_eq!(requests.len(), answers.len(), "answers to the requests of one connection");
        requests.into_iter().zip(answers).map(|(request, answer)| Exchange::of(request, answer)).collect()
    }
}

/// Passes bytes on until either side closes, and gives them.
fn passed_on(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    to.set_nodelay(true).expect("TCP_NODELAY");
    let (mut kept, mut buffer) = (Vec::new(), [0; 16 << 10]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The other side may have closed first; then there is nothing to tell it.
    let _ = to.shutdown(Shutdown::Write);
    kept
}

impl Exchange {
    fn of(request: Message, answer: Message) -> Self {
        let word = |line: &str| line.split(' ').nth(1).expect("a start line has three words").to_owned();
        Self {
            path: word(&request.start),
            asked: serde_json::from_slice(&request.body).expect("the body of a request is JSON"),
            status: word(&answer.start).parse().expect("a status is a number"),
            body: answer.body,
        }
    }

    /// The answer in one piece.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// What stands after `data: `, the last `[DONE]` left out.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
    }

    /// Every text of a streamed answer that is not empty.
    pub fn deltas(&self) -> Vec<String> {
        let text = |event: &Value| {
            let choice = &event["choices"][0];
            choice["delta"]["content"].as_str().or(choice["text"].as_str()).map(str::to_owned)
        };
        self.events().iter().filter_map(text).filter(|text| !text.is_empty()).collect()
    }

    /// Why a streamed answer ended, if it says so.
    pub fn finish_reason(&self) -> Option<String> {
        self.events().iter().find_map(|event| event["choices"][0]["finish_reason"].as_str().map(str::to_owned))
    }

    /// The body as it was sent.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
