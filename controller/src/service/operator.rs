//! What operators ask of a controller.

use crate::bundle::sha256;
use crate::driver::finished_of;
use crate::fleet::{Controller, Input, Shared};
use crate::identity::gate::About;
use crate::seat::{KEPT_AT, NotLeader, Seat};
use crate::store::{Store, StoreError, StoredRun};
use crate::submit::{self, NotSubmitted};
use bytes::Bytes;
use squall_common::run_id;
use squall_proto::operator_server::Operator;
use squall_proto::{
    FilePiece, GetResultRequest, ListAgentsReply, ListAgentsRequest, ListRunsReply, ListRunsRequest, PROTOCOL, RunInfo,
    RunUpdate, StopRunReply, StopRunRequest, SubmitRunReply, SubmitRunRequest, WatchRunRequest, run_update,
};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Updates waiting for one watcher.
const WATCH_QUEUE: usize = 64;
/// Files travel in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// Runs listed when no limit is asked for, and at most.
const DEFAULT_RUNS: usize = 50;
const MAX_RUNS: usize = 10_000;
/// What an operator may say for a reason: it stands in every result of the run.
const MAX_REASON_BYTES: usize = 1024;

/// The service for operators.
pub struct OperatorService {
    seat: Seat,
}

impl OperatorService {
    pub fn new(seat: Seat) -> Self {
        Self { seat }
    }

    fn controller(&self) -> Result<Controller, Status> {
        Ok(self.seat.controller()?)
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        let store = self.seat.store().clone();
        let done = tokio::task::spawn_blocking(move || work(store.as_ref())).await;
        done.map_err(|panic| Status::internal(panic.to_string()))?.map_err(|error| Status::internal(error.to_string()))
    }

    /// The run that `wanted` names: an id, a prefix of only one, or `latest`.
    async fn find(&self, wanted: String) -> Result<StoredRun, Status> {
        if !wanted.is_empty() && wanted != "latest" && !run_id::is_prefix(&wanted) {
            // It may be anything, and of any length: it goes no further.
            let shown: String = wanted.chars().take(40).collect();
            return Err(Status::invalid_argument(format!(
                "`{}` is not a run id: write one as `squall runs` lists it, its beginning, or `latest`",
                shown.escape_debug()
            )));
        }
        self.with_store(move |store| resolve(store, &wanted)).await?.map_err(Status::not_found)
    }
}

fn resolve(store: &dyn Store, wanted: &str) -> Result<Result<StoredRun, String>, StoreError> {
    if wanted.is_empty() || wanted == "latest" {
        return Ok(store
            .runs(1)?
            .pop()
            .ok_or_else(|| "there is no run yet; `squall run PLAN --controller URL` starts one".to_owned()));
    }
    if let Some(run) = store.run(wanted)? {
        return Ok(Ok(run));
    }
    // Ids are upper case; people type what is easier.
    let prefix = wanted.to_ascii_uppercase();
    let mut matching: Vec<StoredRun> =
        store.runs(MAX_RUNS)?.into_iter().filter(|run| run.run_id.starts_with(&prefix)).collect();
    Ok(match (matching.len(), matching.pop()) {
        (1, Some(run)) => Ok(run),
        (0, _) | (_, None) => Err(format!("there is no run `{wanted}`; `squall runs` lists them")),
        (several, _) => Err(format!("`{wanted}` begins the ids of {several} runs; write more of it")),
    })
}

#[tonic::async_trait]
impl Operator for OperatorService {
    async fn submit_run(&self, request: Request<SubmitRunRequest>) -> Result<Response<SubmitRunReply>, Status> {
        let request = request.into_inner();
        if request.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "this CLI speaks protocol {}, the controller ({}) speaks {PROTOCOL}: run the same version on both",
                request.protocol,
                env!("CARGO_PKG_VERSION")
            )));
        }
        let run_id = submit::submit(self.controller()?.shared(), request).await.map_err(|error| {
            let text = error.to_string();
            match error {
                NotSubmitted::Plan(_) | NotSubmitted::Target { .. } => Status::invalid_argument(text),
                NotSubmitted::Agents(_) | NotSubmitted::Busy { .. } => Status::failed_precondition(text),
                NotSubmitted::Store(StoreError::NotLeading) => NotLeader { leader: None }.into(),
                NotSubmitted::Store(StoreError::Refused(_)) => Status::failed_precondition(text),
                NotSubmitted::Store(_) => Status::internal(text),
            }
        })?;
        Ok(about(run_id.clone(), SubmitRunReply { run_id }))
    }

    type WatchRunStream = ReceiverStream<Result<RunUpdate, Status>>;

    async fn watch_run(&self, request: Request<WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let shared = self.controller()?.shared().clone();
        let run_id = self.find(request.into_inner().run_id).await?.run_id;
        let (updates, stream) = mpsc::channel(WATCH_QUEUE);
        let watched = run_id.clone();
        let live = shared.watch(&run_id);
        tokio::spawn(async move {
            if let Some(mut live) = live {
                loop {
                    match live.recv().await {
                        Ok(update) => {
                            let is_last = matches!(update.update, Some(run_update::Update::Finished(_)));
                            if updates.send(Ok(update)).await.is_err() || is_last {
                                return;
                            }
                        }
                        // A watcher that reads slowly misses views, not the end.
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => break,
                    }
                }
            }
            // It ended before we came, or between our asking twice.
            let _ = updates.send(stored_end(&shared, run_id).await).await;
        });
        Ok(about(watched, ReceiverStream::new(stream)))
    }

    async fn stop_run(&self, request: Request<StopRunRequest>) -> Result<Response<StopRunReply>, Status> {
        let StopRunRequest { run_id, now, reason } = request.into_inner();
        if reason.len() > MAX_REASON_BYTES {
            return Err(Status::invalid_argument(format!("a reason has at most {MAX_REASON_BYTES} bytes")));
        }
        let controller = self.controller()?;
        let run = self.find(run_id).await?;
        if let Some(inbox) = controller.shared().inbox(&run.run_id) {
            let reason = if reason.is_empty() { "stopped by an operator".to_owned() } else { reason };
            // A run that ends meanwhile has stopped.
            let _ = inbox.send(Input::StopRequested { now, reason }).await;
        }
        Ok(about(run.run_id, StopRunReply { verdict: run.verdict }))
    }

    async fn list_agents(&self, _: Request<ListAgentsRequest>) -> Result<Response<ListAgentsReply>, Status> {
        Ok(Response::new(ListAgentsReply { agents: self.controller()?.shared().agent_infos() }))
    }

    async fn list_runs(&self, request: Request<ListRunsRequest>) -> Result<Response<ListRunsReply>, Status> {
        let limit = match request.into_inner().limit as usize {
            0 => DEFAULT_RUNS,
            limit => limit.min(MAX_RUNS),
        };
        self.controller()?;
        let runs = self.with_store(move |store| store.runs(limit)).await?;
        Ok(Response::new(ListRunsReply { runs: runs.into_iter().map(info).collect() }))
    }

    type GetResultStream = ReceiverStream<Result<FilePiece, Status>>;

    async fn get_result(&self, request: Request<GetResultRequest>) -> Result<Response<Self::GetResultStream>, Status> {
        // What lies here is given by a standby too: nobody else has it.
        let run = self.find(request.into_inner().run_id).await;
        let run = run.map_err(|status| self.controller().err().unwrap_or(status))?;
        let id = run.run_id.clone();
        let names = self.with_store(move |store| store.result_names(&id)).await?;
        if !run.kept_at.is_empty() {
            return Err(elsewhere(&run));
        }
        if names.is_empty() {
            let is_live = self.controller()?.is_live(&run.run_id);
            let why = match (run.has_ended(), is_live) {
                (true, _) => format!("has no result ({})", run.state),
                (false, false) => "is over, but its result could not be stored: free the store's disk and start the \
                                   controller again, which makes it of what is stored"
                    .to_owned(),
                (false, true) => format!("has not ended yet; its result comes then: `squall watch {}`", run.run_id),
            };
            return Err(Status::failed_precondition(format!("run {} {why}", run.run_id)));
        }
        let (pieces, stream) = mpsc::channel(4);
        let read = run.run_id.clone();
        let store = self.seat.store().clone();
        tokio::task::spawn_blocking(move || {
            for name in names {
                let sent = match store.result(&run.run_id, &name) {
                    Ok(bytes) => send_file(&pieces, &name, &bytes.unwrap_or_default()),
                    Err(error) => pieces.blocking_send(Err(Status::internal(error.to_string()))).is_ok(),
                };
                if !sent {
                    return;
                }
            }
        });
        Ok(about(read, ReceiverStream::new(stream)))
    }
}

/// The run ended under another controller, which has its files.
fn elsewhere(run: &StoredRun) -> Status {
    let StoredRun { run_id, kept_at, verdict, .. } = run;
    let mut status = Status::failed_precondition(format!(
        "run {run_id} ended under another controller ({verdict}): its files are kept by the one at {kept_at}"
    ));
    if let Ok(url) = kept_at.parse() {
        status.metadata_mut().insert(KEPT_AT, url);
    }
    status
}

/// An answer, and the run that the audit log names.
fn about<T>(run_id: String, answer: T) -> Response<T> {
    let mut response = Response::new(answer);
    response.extensions_mut().insert(About(run_id));
    response
}

/// `false`: the reader has gone.
fn send_file(pieces: &mpsc::Sender<Result<FilePiece, Status>>, name: &str, bytes: &Bytes) -> bool {
    let mut start = 0;
    loop {
        let end = (start + PIECE_BYTES).min(bytes.len());
        let sha256 = if end == bytes.len() { sha256(bytes) } else { String::new() };
        let piece = FilePiece { name: name.to_owned(), piece: bytes.slice(start..end), sha256 };
        if pieces.blocking_send(Ok(piece)).is_err() {
            return false;
        }
        if end == bytes.len() {
            return true;
        }
        start = end;
    }
}

async fn stored_end(shared: &Arc<Shared>, run_id: String) -> Result<RunUpdate, Status> {
    if !shared.mandate.holds() {
        return Err(NotLeader { leader: None }.into());
    }
    let store = shared.store.clone();
    let read = tokio::task::spawn_blocking(move || store.run(&run_id)).await;
    let run = read.map_err(|panic| Status::internal(panic.to_string()))?;
    let run = run.map_err(|error| Status::internal(error.to_string()))?;
    let run = run.filter(StoredRun::has_ended).ok_or_else(|| Status::aborted("the run ended without a result"))?;
    Ok(RunUpdate { update: Some(run_update::Update::Finished(finished_of(&run))) })
}

fn info(run: StoredRun) -> RunInfo {
    RunInfo {
        run_id: run.run_id,
        name: run.name,
        state: run.state,
        verdict: run.verdict,
        created_unix_ms: run.created_unix_ms,
        duration_s: run.duration_s,
        sent: run.sent,
    }
}
