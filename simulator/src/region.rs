//! One region: its listener, its connections, its deployments and the faults
//! that strike it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use squall_common::random::Random;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::RegionConfig;
use crate::connection::{Connection, Socket};
use crate::faults::Effect;
use crate::identity::Identity;
use crate::llm::deployment::Deployment;
use crate::llm::in_ms;
use crate::service;
use crate::truth::{Ledger, RegionTruth};
use crate::wait::Waiter;

/// Connects the kernel completes while we are busy. It caps this at `somaxconn`.
const BACKLOG: i32 = 4_096;
const REBIND_PAUSE: Duration = Duration::from_millis(5);

/// What all connections of a region share.
pub(crate) struct Region {
    pub(crate) config: RegionConfig,
    pub(crate) address: SocketAddr,
    pub(crate) seed: u64,
    pub(crate) start: Instant,
    pub(crate) waiter: Waiter,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) effect: watch::Sender<Effect>,
    /// Whether the region's listener is open, as the accept loop last left it.
    pub(crate) listening: watch::Sender<bool>,
    /// Who issues the tokens some deployments want.
    pub(crate) identity: Option<Arc<Identity>>,
    cut: Arc<AtomicBool>,
    draws: AtomicU64,
}

impl Region {
    pub(crate) fn new(
        config: RegionConfig,
        address: SocketAddr,
        seed: u64,
        waiter: Waiter,
        identity: Option<Arc<Identity>>,
    ) -> Arc<Self> {
        let deployments = config.deployments.iter().map(|deployment| Deployment::new(deployment, &config)).collect();
        Arc::new(Self {
            deployments,
            config,
            address,
            seed,
            start: Instant::now(),
            waiter,
            ledger: Arc::default(),
            effect: watch::Sender::new(Effect::default()),
            listening: watch::Sender::new(true),
            identity,
            cut: Arc::default(),
            draws: AtomicU64::new(0),
        })
    }

    /// A stream of random numbers of its own for one request.
    pub(crate) fn random(&self) -> Random {
        Random::at(self.seed, &[self.draws.fetch_add(1, Ordering::Relaxed)])
    }

    pub(crate) fn truth(&self) -> RegionTruth {
        let deployments = self.deployments.iter();
        let deployments = deployments.map(|deployment| (deployment.config.name.clone(), deployment.truth()));
        RegionTruth { deployments: deployments.collect(), ..self.ledger.truth() }
    }

    /// Starts the truth again.
    pub(crate) fn reset(&self) {
        self.ledger.reset();
        for deployment in &self.deployments {
            deployment.reset();
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Returns at once, or when the stall that lasts is over.
    pub(crate) async fn stall_over(&self) {
        if self.effect.borrow().stall {
            // Fails only when the sender is gone, and we hold it.
            let _ = self.effect.subscribe().wait_for(|effect| !effect.stall).await;
        }
    }

    /// Serves until `stop`: listens, accepts, and goes down and up as faults say.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut effect = self.effect.subscribe();
        let mut listener = listener;
        loop {
            let mut connections = JoinSet::new();
            let stopped = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                _ = effect.wait_for(|effect| effect.down) => false,
                never = self.accept(&listener, &mut connections) => match never {},
            };
            drop(listener);
            self.cut.store(true, Ordering::Release);
            connections.shutdown().await;
            self.listening.send_replace(false);
            if stopped {
                return;
            }
            let up = async {
                // Fails only when the sender is gone, and we hold it.
                let _ = effect.wait_for(|effect| !effect.down).await;
                self.bind_again().await
            };
            listener = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                listener = up => listener,
            };
            self.cut.store(false, Ordering::Release);
            self.listening.send_replace(true);
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, connections: &mut JoinSet<()>) -> Infallible {
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(self.clone().connection(stream));
                    }
                    Err(cause) => {
                        // Out of descriptors, most likely: accepting again at once would spin.
                        tracing::warn!(region = self.config.name, %cause, "a connection was not accepted");
                        tokio::time::sleep(REBIND_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Err(cause) = ended {
                        tracing::error!(region = self.config.name, %cause, "a connection's task failed");
                    }
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        if let Err(cause) = stream.set_nodelay(true) {
            tracing::debug!(%cause, "TCP_NODELAY was not set");
        }
        let accept_ms = self.effect.borrow().delays.accept_ms;
        if accept_ms > 0.0 {
            self.waiter.until(Instant::now() + in_ms(accept_ms)).await;
        }
        let connection = Connection::new(self.ledger.clone(), self.cut.clone());
        let socket = TokioIo::new(Socket::new(stream, connection.clone()));
        let service = {
            let connection = connection.clone();
            service_fn(move |request| service::serve(self.clone(), connection.clone(), request))
        };
        let server = auto::Builder::new(Streams::default());
        tokio::select! {
            served = server.serve_connection(socket, service) => {
                if let Err(cause) = served {
                    tracing::debug!(%cause, "a connection ended early");
                }
            }
            () = connection.was_reset() => {}
        }
    }

    async fn bind_again(&self) -> TcpListener {
        loop {
            match listen(self.address) {
                Ok(listener) => return listener,
                Err(cause) => {
                    tracing::warn!(region = self.config.name, %cause, "the region can't come back on its port yet");
                    tokio::time::sleep(REBIND_PAUSE).await;
                }
            }
        }
    }
}

/// The tasks of one HTTP/2 connection's streams: they end with the connection.
#[derive(Clone, Debug, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

/// Listens with a backlog that survives a burst of connects.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A region that comes back must not wait for old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
