//! The operator's side of a controller, near or far: the same client for both.

use super::access::{Access, Bearer};
use super::failure::Failure;
use crate::bundle::{MAX_MESSAGE_BYTES, sha256};
use clap::Args;
use squall_agent::dial;
use squall_proto::operator_client::OperatorClient;
use squall_proto::{GetResultRequest, ListRunsRequest, RunUpdate, SubmitRunRequest, WatchRunRequest};
use std::time::{Duration, Instant};
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// More than any run leaves behind: what a controller sends is held in memory.
const MAX_RESULT_BYTES: usize = 1 << 30;
const MAX_RESULT_FILES: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A submission whose answer is lost is repeated for so long.
const SUBMIT_WITHIN: Duration = Duration::from_secs(20);
const SUBMIT_AGAIN_EVERY: Duration = Duration::from_millis(500);

/// Where a controller is.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// The controller
    #[arg(long, value_name = "URL", env = "SQUALL_CONTROLLER", default_value = "http://127.0.0.1:7700")]
    pub controller: String,
    #[command(flatten)]
    pub access: Access,
}

/// A connected operator.
pub struct Operator {
    pub grpc: OperatorClient<InterceptedService<Channel, Bearer>>,
    /// For messages.
    pub name: String,
}

/// Whether the connection, not the request, is to blame: asking again may help.
pub fn is_passing(status: &tonic::Status) -> bool {
    use tonic::Code::{Cancelled, Unavailable, Unknown};
    matches!(status.code(), Unavailable | Cancelled | Unknown)
}

impl Operator {
    /// To a controller in this process.
    pub fn on(channel: Channel, name: &str) -> Self {
        Self::with(channel, Bearer::nobody(), name)
    }

    fn with(channel: Channel, bearer: Bearer, name: &str) -> Self {
        let grpc = OperatorClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { grpc, name: name.to_owned() }
    }

    pub async fn connect(url: &str, access: &Access) -> Result<Self, Failure> {
        use std::error::Error as _;
        let scheme = if access.tls.is_empty() { "http" } else { "https" };
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("{scheme}://{url}") };
        let uri: Uri = Some(&with_scheme)
            .filter(|url| Endpoint::from_shared((*url).clone()).is_ok())
            .and_then(|url| url.parse().ok())
            .filter(|uri: &Uri| uri.host().is_some())
            .ok_or_else(|| Failure::usage(format!("`{url}` is not a URL: write e.g. https://10.0.0.5:7700")))?;
        let bearer = access.bearer(&uri)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => access.check()?,
            _ => {
                return Err(Failure::usage(format!("`{url}` is not http(s): write e.g. https://10.0.0.5:7700")));
            }
        }
        let tune = |endpoint: Endpoint| {
            endpoint
                .connect_timeout(CONNECT_WITHIN)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .tcp_nodelay(true)
        };
        let dialled = dial::connect(&uri, &access.tls, tune).await;
        let (channel, refusal) = dialled.map_err(|error| Failure::unreachable(&with_scheme, &dial::why(&error)))?;
        let mut operator = Self::with(channel, bearer, &with_scheme);
        // Anything may listen there: ask once, where a broken answer can only mean that.
        let Err(status) = operator.grpc.list_runs(ListRunsRequest { limit: 1 }).await else { return Ok(operator) };
        Err(match refusal.why() {
            Some(why) => Failure::unreachable(&with_scheme, &why),
            None if status.source().is_some() && status.code() != tonic::Code::Unavailable => {
                Failure::no_controller(&with_scheme)
            }
            None => operator.failure(&status),
        })
    }

    pub fn failure(&self, status: &tonic::Status) -> Failure {
        Failure::from_status(&self.name, status)
    }

    pub async fn try_watch(&mut self, run_id: &str) -> Result<Streaming<RunUpdate>, tonic::Status> {
        Ok(self.grpc.watch_run(WatchRunRequest { run_id: run_id.to_owned() }).await?.into_inner())
    }

    pub async fn watch(&mut self, run_id: &str) -> Result<Streaming<RunUpdate>, Failure> {
        self.try_watch(run_id).await.map_err(|status| self.failure(&status))
    }

    /// Submits a run that has an id, again where the answer was lost: it starts once.
    pub async fn submit(&mut self, request: SubmitRunRequest) -> Result<String, Failure> {
        let since = Instant::now();
        loop {
            match self.grpc.submit_run(request.clone()).await {
                Ok(submitted) => return Ok(submitted.into_inner().run_id),
                Err(status) if is_passing(&status) && since.elapsed() < SUBMIT_WITHIN => {
                    tokio::time::sleep(SUBMIT_AGAIN_EVERY).await;
                }
                Err(status) => return Err(self.failure(&status)),
            }
        }
    }

    /// Every file of a run's result, each held against its digest.
    pub async fn result(&mut self, run_id: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let asked = self.grpc.get_result(GetResultRequest { run_id: run_id.to_owned() }).await;
        let mut pieces = asked.map_err(|status| self.failure(&status))?.into_inner();
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        let mut size = 0;
        while let Some(piece) = pieces.message().await.map_err(|status| self.failure(&status))? {
            size += piece.piece.len() + piece.name.len();
            if size > MAX_RESULT_BYTES || files.len() > MAX_RESULT_FILES {
                return Err(Failure::internal(format!(
                    "the result is more than {MAX_RESULT_FILES} files or {} MiB; {} sends what no run leaves behind",
                    MAX_RESULT_BYTES >> 20,
                    self.name
                )));
            }
            if files.last().is_none_or(|(name, _)| *name != piece.name) {
                files.push((piece.name.clone(), Vec::new()));
            }
            let Some((name, bytes)) = files.last_mut() else { continue };
            bytes.extend_from_slice(&piece.piece);
            if !piece.sha256.is_empty() && sha256(bytes) != piece.sha256 {
                return Err(Failure::internal(format!("{name} was damaged on its way from the controller")));
            }
        }
        Ok(files)
    }
}
