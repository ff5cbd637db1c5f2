//! The operator's side of a controller, near or far: the same client for both.

use super::access::{Access, Bearer};
use super::failure::Failure;
use crate::bundle::{MAX_MESSAGE_BYTES, sha256};
use crate::seat;
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
/// Where only standbys answer, a leader is waited for so long.
const LEADER_WITHIN: Duration = Duration::from_secs(20);
/// A stopped controller takes connections and never answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const SUBMIT_AGAIN_EVERY: Duration = Duration::from_millis(500);

/// Where a controller is.
#[derive(Args, Clone, Debug)]
pub struct At {
    /// The controller; of several, all of them with commas: the one that leads is found
    #[arg(long, value_name = "URL,…", env = "SQUALL_CONTROLLER", default_value = "http://127.0.0.1:7700")]
    pub controller: String,
    #[command(flatten)]
    pub access: Access,
}

/// A connected operator.
pub struct Operator {
    pub grpc: OperatorClient<InterceptedService<Channel, Bearer>>,
    /// For messages.
    pub name: String,
    /// `None`: to a controller in this process.
    way: Option<Way>,
}

/// The controllers that were named, and the one whose turn it is.
struct Way {
    urls: Vec<String>,
    place: usize,
    next: String,
    tried: Vec<String>,
    access: Access,
}

/// Why a controller is not the one to ask.
enum NotReached {
    Standby(tonic::Status),
    Failed(Failure),
}

impl Way {
    fn of(urls: &str, access: &Access) -> Result<Self, Failure> {
        let urls: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).collect();
        let urls = urls.into_iter().map(|url| address(&url, access).map(|(_, url)| url));
        let urls = urls.collect::<Result<Vec<_>, _>>()?;
        let next = urls[0].clone();
        Ok(Self { tried: vec![next.clone()], urls, place: 0, next, access: access.clone() })
    }

    fn turn(&mut self) {
        self.place = (self.place + 1) % self.urls.len();
        self.go_to(self.urls[self.place].clone());
    }

    fn go_to(&mut self, url: String) {
        self.tried.push(url.clone());
        self.next = url;
    }

    fn has_tried(&self, url: &str) -> bool {
        self.tried.iter().any(|tried| tried == url)
    }

    fn forget_tried(&mut self) {
        self.tried.clear();
    }
}

/// A URL as people write it.
fn address(url: &str, access: &Access) -> Result<(Uri, String), Failure> {
    let scheme = if access.tls.is_empty() { "http" } else { "https" };
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("{scheme}://{url}") };
    let uri: Uri = Some(&with_scheme)
        .filter(|url| Endpoint::from_shared((*url).clone()).is_ok())
        .and_then(|url| url.parse().ok())
        .filter(|uri: &Uri| uri.host().is_some())
        .ok_or_else(|| Failure::usage(format!("`{url}` is not a URL: write e.g. https://10.0.0.5:7700")))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => access.check()?,
        _ => return Err(Failure::usage(format!("`{url}` is not http(s): write e.g. https://10.0.0.5:7700"))),
    }
    Ok((uri, with_scheme))
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
        Self { grpc, name: name.to_owned(), way: None }
    }

    /// To the controller that leads, of one or several URLs with commas between them.
    pub async fn connect(urls: &str, access: &Access) -> Result<Self, Failure> {
        let mut way = Way::of(urls, access)?;
        let since = Instant::now();
        let mut first: Option<Failure> = None;
        let mut has_standby = false;
        let mut tried = 0;
        loop {
            let no = match Self::reach(&way.next, access).await {
                Ok(operator) => return Ok(Self { way: Some(way), ..operator }),
                Err(no) => no,
            };
            tried += 1;
            match no {
                NotReached::Standby(status) => {
                    has_standby = true;
                    if let Some(leader) = seat::leader_of(&status).filter(|leader| !way.has_tried(leader)) {
                        way.go_to(leader);
                        continue;
                    }
                    first.get_or_insert_with(|| Failure::aborted(status.message()));
                }
                NotReached::Failed(failure) if way.urls.len() == 1 && !has_standby => return Err(failure),
                NotReached::Failed(failure) => {
                    first.get_or_insert(failure);
                }
            }
            way.turn();
            if tried % way.urls.len() == 0 {
                // Standbys alone: the next leader is being found.
                if !has_standby || since.elapsed() > LEADER_WITHIN {
                    return Err(first.unwrap_or_else(|| Failure::internal("no controller was tried")));
                }
                way.forget_tried();
                tokio::time::sleep(SUBMIT_AGAIN_EVERY).await;
            }
        }
    }

    /// A connection to one controller that answers, and leads.
    async fn reach(url: &str, access: &Access) -> Result<Self, NotReached> {
        use std::error::Error as _;
        let (mut operator, refusal) = Self::dial(url, access).await.map_err(NotReached::Failed)?;
        // Anything may listen there: ask once, where a broken answer can only mean that.
        let asked = operator.grpc.list_runs(ListRunsRequest { limit: 1 });
        let answered = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        let answered = answered.map_err(|_| {
            let why = format!("it answers nothing within {} s", ANSWER_WITHIN.as_secs());
            NotReached::Failed(Failure::unreachable(&operator.name, &why))
        })?;
        let Err(status) = answered else { return Ok(operator) };
        if seat::is_standby(&status) {
            return Err(NotReached::Standby(status));
        }
        Err(NotReached::Failed(match refusal.why() {
            Some(why) => Failure::unreachable(&operator.name, &why),
            None if status.source().is_some() && status.code() != tonic::Code::Unavailable => {
                Failure::no_controller(&operator.name)
            }
            None => operator.failure(&status),
        }))
    }

    async fn dial(url: &str, access: &Access) -> Result<(Self, dial::Refusal), Failure> {
        let (uri, with_scheme) = address(url, access)?;
        let bearer = access.bearer(&uri)?;
        let tune = |endpoint: Endpoint| {
            endpoint
                .connect_timeout(CONNECT_WITHIN)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .tcp_nodelay(true)
        };
        let dialled = dial::connect(&uri, &access.tls, tune).await;
        let (channel, refusal) = dialled.map_err(|error| Failure::unreachable(&with_scheme, &dial::why(&error)))?;
        Ok((Self::with(channel, bearer, &with_scheme), refusal))
    }

    /// After an answer that says nothing about what was asked: to the leader that it
    /// names, or to the next controller. With only one there is nowhere to go.
    pub async fn move_on(&mut self, status: &tonic::Status) {
        let Some(way) = &mut self.way else { return };
        match seat::leader_of(status) {
            Some(leader) => way.go_to(leader),
            None => way.turn(),
        }
        let (url, access) = (way.next.clone(), way.access.clone());
        if let Ok((operator, _)) = Self::dial(&url, &access).await {
            (self.grpc, self.name) = (operator.grpc, operator.name);
        }
    }

    pub fn failure(&self, status: &tonic::Status) -> Failure {
        Failure::from_status(&self.name, status)
    }

    pub async fn try_watch(&mut self, run_id: &str) -> Result<Streaming<RunUpdate>, tonic::Status> {
        let asked = self.grpc.watch_run(WatchRunRequest { run_id: run_id.to_owned() });
        let answered = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        Ok(answered.map_err(|_| tonic::Status::unavailable("no answer"))??.into_inner())
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
                    self.move_on(&status).await;
                }
                Err(status) => return Err(self.failure(&status)),
            }
        }
    }

    /// Every file of a run's result, each held against its digest.
    pub async fn result(&mut self, run_id: &str) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let mut asked = self.grpc.get_result(GetResultRequest { run_id: run_id.to_owned() }).await;
        if let Some(url) = asked.as_ref().err().and_then(seat::keeper_of) {
            // It ended under a controller that leads no longer, which has its files.
            if let Some(way) = &self.way
                && let Ok((mut keeper, _)) = Self::dial(&url, &way.access).await
                && let Ok(kept) = keeper.grpc.get_result(GetResultRequest { run_id: run_id.to_owned() }).await
            {
                asked = Ok(kept);
            }
        }
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
