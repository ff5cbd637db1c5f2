//! The cluster protocol without a socket: pipes in memory between tonic's
//! client and tonic's server, so that one process runs the same code as many.

use crate::fleet::Controller;
use crate::identity::gate::Gate;
use crate::service;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bytes under way in each direction of one pipe.
const PIPE_BYTES: usize = 256 << 10;
/// Pipes waiting to be accepted.
const BACKLOG: usize = 64;

/// Makes a new pipe for each connection the client wants.
#[derive(Clone)]
struct Connector {
    accepting: mpsc::Sender<Result<DuplexStream, io::Error>>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let accepting = self.accepting.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let is_gone = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "the controller has stopped");
            accepting.send(Ok(theirs)).await.map_err(is_gone)?;
            Ok(TokioIo::new(ours))
        })
    }
}

/// A controller served over pipes, until it is dropped.
pub struct InProcess {
    connector: Connector,
    _stop: oneshot::Sender<()>,
}

impl InProcess {
    pub fn serve(controller: &Controller) -> Self {
        let (accepting, accepted) = mpsc::channel(BACKLOG);
        let (stop, stopped) = oneshot::channel::<()>();
        let router = service::router(controller, Gate::in_process());
        tokio::spawn(async move {
            let dropped = async {
                // Both a message and the drop of its sender mean: stop.
                let _ = stopped.await;
            };
            if let Err(error) = router.serve_with_incoming_shutdown(ReceiverStream::new(accepted), dropped).await {
                tracing::error!(%error, "the in-process controller stopped");
            }
        });
        Self { connector: Connector { accepting }, _stop: stop }
    }

    /// A client's channel; every one is a connection of its own.
    pub fn channel(&self) -> Channel {
        self.dialer().channel()
    }

    /// What makes channels elsewhere: a channel belongs to the runtime it was made on.
    pub fn dialer(&self) -> Dialer {
        Dialer { connector: self.connector.clone() }
    }
}

/// Makes channels to an [`InProcess`] controller.
#[derive(Clone)]
pub struct Dialer {
    connector: Connector,
}

impl Dialer {
    /// A new connection.
    pub fn channel(&self) -> Channel {
        Endpoint::from_static("http://in-process").connect_with_connector_lazy(self.connector.clone())
    }
}
