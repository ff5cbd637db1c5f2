//! The door: connections with TLS or without, and nothing that is not HTTP/2.
//!
//! Whoever connects has [`OPENED_WITHIN`] to finish the handshake and say the
//! first words of HTTP/2; only then the server sees the connection at all. So a
//! port scan, a browser or a peer that says nothing costs one of
//! [`MOST_OPENING`] places for a while, and never one of the server's.

use super::peer::{self, Peer};
use super::sparing::Sparing;
use rustls::ServerConfig;
use squall_agent::reread::Reread;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Connections open at one time: a fleet, its watchers, and room.
const MOST_OPEN: usize = 4_096;
/// Connections that have not said their first words.
const MOST_OPENING: usize = 256;
/// For the handshake and the first words together.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
/// A peer that is turned away reads why within this time, or not at all.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// When the system has no files or ports left: others must end first.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines in the log about those who are turned away.
const LINES_A_MINUTE: u32 = 30;

/// Certificates, read again when they change.
pub type Certificates = Arc<Reread<ServerConfig>>;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that has begun to speak HTTP/2.
pub struct Accepted {
    io: Box<dyn Io>,
    peer: Peer,
    /// How much of the preface, which was read already, is still to be given.
    given: usize,
    _place: OwnedSemaphorePermit,
}

struct Door {
    certificates: Option<Certificates>,
    open: Arc<Semaphore>,
    lines: Sparing,
    accepted: mpsc::Sender<Result<Accepted, Infallible>>,
}

/// Accepts until what it gives is dropped.
pub fn connections(
    listener: TcpListener,
    certificates: Option<Certificates>,
) -> ReceiverStream<Result<Accepted, Infallible>> {
    let (accepted, connections) = mpsc::channel(1);
    let open = Arc::new(Semaphore::new(MOST_OPEN));
    let door = Arc::new(Door { certificates, open, lines: Sparing::a_minute(LINES_A_MINUTE), accepted });
    tokio::spawn(accept(listener, door));
    ReceiverStream::new(connections)
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    let opening = Arc::new(Semaphore::new(MOST_OPENING));
    loop {
        // Full: whoever comes now waits in the system's queue, at most for as long as an opening may take.
        let Ok(place) = opening.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.accepted.closed() => return,
        };
        match accepted {
            Ok((tcp, address)) => {
                let door = door.clone();
                tokio::spawn(async move {
                    door.admit(tcp, address).await;
                    drop(place);
                });
            }
            Err(error) => {
                door.tell(None, &error.to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn admit(&self, tcp: TcpStream, address: SocketAddr) {
        let opened = tokio::time::timeout(OPENED_WITHIN, self.open(tcp)).await;
        let (io, certificate) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return self.tell(Some(address), &error.to_string()),
            Err(_) => return self.tell(Some(address), "it said too little for too long"),
        };
        let Ok(place) = self.open.clone().try_acquire_owned() else {
            return self.tell(Some(address), &format!("{MOST_OPEN} connections are open already"));
        };
        let peer = Peer { address: Some(address), certificate };
        // A server that stops accepts nobody.
        let _ = self.accepted.send(Ok(Accepted { io, peer, given: 0, _place: place })).await;
    }

    async fn open(&self, tcp: TcpStream) -> io::Result<(Box<dyn Io>, Option<peer::Certificate>)> {
        tcp.set_nodelay(true)?;
        let Some(certificates) = &self.certificates else {
            let mut tcp = tcp;
            hear_preface(&mut tcp).await?;
            return Ok((Box::new(tcp), None));
        };
        let acceptor = TlsAcceptor::from(certificates.current());
        let mut tls = match acceptor.accept(tcp).into_fallible().await {
            Ok(tls) => tls,
            Err((error, tcp)) => {
                let_it_be_heard(tcp).await;
                return Err(error);
            }
        };
        hear_preface(&mut tls).await?;
        let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|der| peer::certificate(der));
        Ok((Box::new(tls), certificate))
    }

    fn tell(&self, address: Option<SocketAddr>, why: &str) {
        if let Some(untold) = self.lines.take() {
            let from = address.map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(from, why, untold, "a connection was turned away");
        }
    }
}

/// An alert was written; closing with something unread would take it back.
async fn let_it_be_heard(mut tcp: TcpStream) {
    let heard = async {
        tcp.shutdown().await?;
        let mut rest = [0; 1_024];
        while tcp.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whether it was heard changes nothing here.
    let _ = tokio::time::timeout(HEARD_WITHIN, heard).await;
}

/// Reads the first words of HTTP/2, and goes at the first that is another.
async fn hear_preface(io: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut heard = [0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        let more = io.read(&mut heard[length..]).await?;
        if more == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it left without a word of HTTP/2"));
        }
        length += more;
        if heard[..length] != PREFACE[..length] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
        }
    }
    Ok(())
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = &PREFACE[self.given..];
        if rest.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let now = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..now]);
        self.given += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    async fn door() -> (SocketAddr, ReceiverStream<Result<Accepted, Infallible>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), connections(listener, None))
    }

    #[tokio::test]
    async fn garbage_is_closed_and_http2_is_let_in_with_every_byte() {
        let (address, mut accepted) = door().await;
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"PRI * HTTP/1.0", b"\0\0\0\0"] {
            let mut stranger = TcpStream::connect(address).await.unwrap();
            stranger.write_all(garbage).await.unwrap();
            let mut answer = Vec::new();
            // Closed with or without a reset, but closed and without an answer.
            let _ = stranger.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "{garbage:?}");
        }
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(PREFACE).await.unwrap();
        client.write_all(b"more").await.unwrap();
        let Ok(mut server) = accepted.next().await.unwrap();
        let mut heard = [0; PREFACE.len() + 4];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard[..], [&PREFACE[..], b"more"].concat());
        assert_eq!(server.connect_info().address, Some(client.local_addr().unwrap()));
    }
}
