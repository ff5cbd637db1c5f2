//! From the command to the first request, as the server sees it.

use crate::clients::Client;
use crate::process::{Ran, run_on};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Runs one user against a server that only notes when it is first asked.
pub fn first_request(client: &Client, core: usize) -> io::Result<(Option<Duration>, Ran)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://{}/", listener.local_addr()?);
    let (asked, first) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            std::thread::spawn(move || answer(stream, &asked));
        }
    });
    let Some(mut command) = client.closed(&url, 1, 1) else { return Err(io::Error::other("no such run")) };
    let began = Instant::now();
    let ran = run_on(core, &mut command, Duration::from_secs(5), |_| {})?;
    let first = first.try_iter().min();
    Ok((first.map(|instant: Instant| instant - began), ran))
}

/// A connection on which nothing is asked (a probe) does not count.
fn answer(mut stream: TcpStream, asked: &mpsc::Sender<Instant>) {
    let mut buffer = [0u8; 4096];
    let mut is_first = true;
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            return;
        }
        if std::mem::take(&mut is_first) && asked.send(Instant::now()).is_err() {
            return;
        }
        // One user, small requests: each read is one request.
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}
