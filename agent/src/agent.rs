//! An agent: what outlives its sessions with controllers.
//!
//! A connection that breaks costs nothing but itself. The run goes on inside
//! its load lease, what it measures is kept, and the next session, with the
//! same controller or with one that took over, goes on where the last stored
//! snapshot stands.

use crate::busy_poll::BusyPoll;
use crate::clock::now_ns;
use crate::guard::Guard;
use crate::lease::Lease;
use crate::prepare::{CannotPrepare, Ready};
use crate::run::{Run, RunSays};
use crate::session::Session;
use crate::worker::StopKind;
use squall_common::clock::ClockEstimate;
use squall_common::plan::Region;
use squall_proto as proto;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tonic::transport::Channel;

/// After its drain, an agent that is told to leave waits this long for acknowledgements.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

/// What an agent is, as its flags say.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub region: Region,
    /// A stable place in the fleet; `None`: the controller names one.
    pub slot: Option<String>,
    /// Worker threads; `None`: one a core.
    pub workers: Option<u32>,
    /// Where sample logs go when a plan asks for them.
    pub sample_log: Option<PathBuf>,
    pub busy_poll: BusyPoll,
    /// What plans may do here.
    pub guard: Guard,
}

impl AgentOptions {
    pub fn in_region(region: Region) -> Self {
        Self { region, slot: None, workers: None, sample_log: None, busy_poll: BusyPoll::Auto, guard: Guard::default() }
    }
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// The controller needs it no longer.
    Released,
    /// It was told to leave (SIGTERM) and has handed over everything.
    Drained,
    Refused(String),
    Incompatible(String),
    /// Another controller leads; its address, if it is known.
    NotLeader(Option<String>),
    /// The connection is gone; another session may follow.
    Lost {
        why: String,
        was_welcome: bool,
    },
    /// The connection may stand, but nobody answers on it.
    Silent {
        why: String,
    },
}

/// A plan being made ready beside the session.
pub(crate) struct Preparing {
    pub order: proto::Prepare,
    pub task: tokio::task::JoinHandle<Result<Ready, CannotPrepare>>,
}

/// One agent process; sessions come and go.
pub struct Agent {
    pub(crate) options: AgentOptions,
    pub(crate) workers: u32,
    /// As flags or the first controller named it.
    pub(crate) slot: String,
    incarnation: String,
    started_unix_ms: u64,
    /// Where the controller's clock stands, and which clock that is.
    pub(crate) clock: Option<ClockEstimate>,
    pub(crate) clock_name: String,
    pub(crate) lease: Lease,
    pub(crate) preparing: Option<Preparing>,
    pub(crate) run: Option<Run>,
    /// A refusal that no session has taken yet.
    pub(crate) refusal: Option<proto::NotArmed>,
    /// Until when a drain may take, once it was told to leave.
    pub(crate) leaving: Option<tokio::time::Instant>,
}

impl Agent {
    pub fn new(options: AgentOptions) -> Self {
        let workers = options
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32));
        let started_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self {
            slot: options.slot.clone().unwrap_or_default(),
            options,
            workers,
            incarnation: format!("{started_unix_ms:013}-{}-{}", std::process::id(), now_ns()),
            started_unix_ms,
            clock: None,
            clock_name: String::new(),
            lease: Lease::default(),
            preparing: None,
            run: None,
            refusal: None,
            leaving: None,
        }
    }

    /// Serves one session on `channel` until it ends. A true `shutdown` drains and leaves.
    pub async fn session(&mut self, channel: Channel, shutdown: watch::Receiver<bool>) -> AgentEnd {
        match Session::open(self, channel).await {
            Ok((session, inbound)) => session.serve(inbound, shutdown).await,
            Err(end) => end,
        }
    }

    /// Waits for `work` (a pause, a dial) while the run, if there is one, goes on without a session.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let says = tokio::select! {
                done = &mut work => return done,
                says = next_of(&mut self.run) => says,
                prepared = made_ready(&mut self.preparing) => {
                    self.begin_run(prepared);
                    continue;
                }
            };
            if let RunSays::Failed(reason) = says {
                self.give_up(reason).await;
            }
        }
    }

    /// No new requests; there is time for what is in flight and for telling it.
    pub async fn begin_leaving(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        tracing::info!("asked to leave: no new requests, finishing what is in flight");
        let drain = self.run.as_ref().map_or(Duration::ZERO, Run::drain);
        self.leaving = Some(tokio::time::Instant::now() + drain + LEAVE_GRACE);
        if let Some(run) = &mut self.run {
            if run.is_started() {
                run.stop(StopKind::Graceful);
            } else {
                self.drop_run().await;
            }
        }
    }

    /// Whether something measured has not been told yet, and there is time left to tell it.
    pub fn must_stay(&self) -> bool {
        let in_time = self.leaving.is_none_or(|until| tokio::time::Instant::now() < until);
        in_time && self.run.as_ref().is_some_and(|run| run.is_started() && !run.is_told())
    }

    /// Ends what still runs.
    pub async fn end(mut self) {
        if let Some(preparing) = self.preparing.take() {
            preparing.task.abort();
        }
        self.drop_run().await;
    }

    pub(crate) async fn drop_run(&mut self) {
        if let Some(run) = self.run.take() {
            run.abandon().await;
        }
    }

    pub(crate) fn hello(&self) -> proto::Hello {
        let carried = self.run.as_ref().map(|run| (run.run_id.clone(), run.epoch));
        let prepared = self.preparing.as_ref().map(|one| (one.order.run_id.clone(), one.order.epoch));
        let refused = self.refusal.as_ref().map(|refusal| (refusal.run_id.clone(), refusal.epoch));
        let (run_id, run_epoch) = carried.or(prepared).or(refused).unwrap_or_default();
        proto::Hello {
            protocol: proto::PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: self.options.region.to_string(),
            slot: self.slot.clone(),
            incarnation: self.incarnation.clone(),
            workers: self.workers,
            capabilities: vec!["http1".into(), "http2".into(), "tls".into()],
            started_unix_ms: self.started_unix_ms,
            run_id,
            run_epoch,
        }
    }

    /// A plan is ready, or cannot be: then the refusal waits to be told.
    pub(crate) fn begin_run(&mut self, prepared: Result<Ready, String>) {
        let Some(Preparing { order, .. }) = self.preparing.take() else { return };
        let begun = prepared.and_then(|ready| {
            Run::begin(&order, &self.slot, ready, self.workers)
                .map_err(|error| format!("its worker threads cannot be started: {error}"))
        });
        match begun {
            Ok(run) => self.run = Some(run),
            Err(reason) => {
                tracing::warn!(run = order.run_id, reason, "cannot take its share");
                self.refusal = Some(proto::NotArmed { run_id: order.run_id, epoch: order.epoch, reason });
            }
        }
    }

    /// A worker broke: the share can't be carried to its end.
    pub(crate) async fn give_up(&mut self, reason: String) {
        let Some(run) = self.run.take() else { return };
        tracing::error!(run = run.run_id, reason, "gives its share up");
        self.refusal = Some(proto::NotArmed { run_id: run.run_id.clone(), epoch: run.epoch, reason });
        run.abandon().await;
    }
}

/// The result of making a plan ready, as text where it failed. Never ends when nothing is prepared.
pub(crate) async fn made_ready(preparing: &mut Option<Preparing>) -> Result<Ready, String> {
    match preparing {
        None => std::future::pending().await,
        Some(preparing) => match (&mut preparing.task).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(reason)) => Err(reason.to_string()),
            Err(broken) => Err(format!("preparing ended unexpectedly: {broken}")),
        },
    }
}

pub(crate) async fn next_of(run: &mut Option<Run>) -> RunSays {
    match run {
        None => std::future::pending().await,
        Some(run) => run.next().await,
    }
}
