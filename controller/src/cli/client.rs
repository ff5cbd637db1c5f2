//! The operator's side of a controller, near or far: the same client for both.

use super::failure::Failure;
use crate::bundle::{MAX_MESSAGE_BYTES, sha256};
use clap::Args;
use squall_proto::operator_client::OperatorClient;
use squall_proto::{GetResultRequest, ListRunsRequest, RunUpdate, WatchRunRequest};
use std::time::Duration;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// More than any run leaves behind: what a controller sends is held in memory.
const MAX_RESULT_BYTES: usize = 1 << 30;
const MAX_RESULT_FILES: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Where a controller is.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// The controller
    #[arg(long, value_name = "URL", env = "SQUALL_CONTROLLER", default_value = "http://127.0.0.1:7700")]
    pub controller: String,
}

/// A connected operator.
pub struct Operator {
    pub grpc: OperatorClient<Channel>,
    /// For messages.
    pub name: String,
}

/// The innermost cause: the outer ones say only that there is one.
fn why(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error);
    match innermost.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(std::io::ErrorKind::TimedOut) => "it does not answer".to_owned(),
        _ => {
            let text = innermost.to_string();
            text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
        }
    }
}

impl Operator {
    pub fn on(channel: Channel, name: &str) -> Self {
        let grpc = OperatorClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { grpc, name: name.to_owned() }
    }

    pub async fn connect(url: &str) -> Result<Self, Failure> {
        use std::error::Error as _;
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let endpoint = Endpoint::from_shared(with_scheme.clone())
            .map_err(|_| Failure::usage(format!("`{url}` is not a URL: write e.g. http://10.0.0.5:7700")))?;
        match endpoint.uri().scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(Failure::usage(format!(
                    "`{url}`: TLS to the controller is not there yet: write http://HOST:7700"
                )));
            }
            _ => return Err(Failure::usage(format!("`{url}` is not http: write e.g. http://10.0.0.5:7700"))),
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| Failure::unreachable(&with_scheme, &why(&error)))?;
        let mut operator = Self::on(channel, &with_scheme);
        // Anything may listen there: ask once, where a broken answer can only mean that.
        match operator.grpc.list_runs(ListRunsRequest { limit: 1 }).await {
            Err(status) if status.source().is_some() && status.code() != tonic::Code::Unavailable => {
                Err(Failure::no_controller(&with_scheme))
            }
            Err(status) => Err(operator.failure(&status)),
            Ok(_) => Ok(operator),
        }
    }

    pub fn failure(&self, status: &tonic::Status) -> Failure {
        Failure::from_status(&self.name, status)
    }

    pub async fn watch(&mut self, run_id: &str) -> Result<Streaming<RunUpdate>, Failure> {
        let watching = self.grpc.watch_run(WatchRunRequest { run_id: run_id.to_owned() }).await;
        Ok(watching.map_err(|status| self.failure(&status))?.into_inner())
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
