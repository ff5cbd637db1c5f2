//! The agent's side of the cluster protocol: one dial-out stream.
//!
//! Whatever comes in is one event, handled to its end before the next. Load
//! runs on threads of its own and can't hold this up; nor can this hold up the
//! load: a session that goes silent only lets the load lease run out.

use crate::clock::now_ns;
use crate::guard::Guard;
use crate::prepare::{CannotPrepare, Ready, prepare};
use crate::run::{Run, RunSays};
use crate::worker::StopKind;
use proto::agent_message::Message as Up;
use proto::cluster_client::ClusterClient;
use proto::controller_message::Message as Down;
use squall_common::clock::{ClockEstimate, Exchange};
use squall_common::plan::Region;
use squall_proto as proto;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages under way to the controller.
const OUTBOUND_QUEUE: usize = 256;
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Exchanges before a clock offset is good enough to start by.
const CLOCK_EXCHANGES: u32 = 8;
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(1);
/// After its drain, an agent that is told to leave waits this long for acknowledgements.
const LEAVE_GRACE: Duration = Duration::from_secs(10);
/// A goodbye is heard within this time, or not at all.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Largest message taken: a plan with its files.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

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
    /// What plans may do here.
    pub guard: Guard,
}

impl AgentOptions {
    pub fn in_region(region: Region) -> Self {
        Self { region, slot: None, workers: None, sample_log: None, guard: Guard::default() }
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
    /// The connection is gone; another session may follow.
    Lost {
        why: String,
        was_welcome: bool,
    },
}

/// Serves one session on `channel` until it ends. A true `shutdown` drains and leaves.
pub async fn run(channel: Channel, options: AgentOptions, shutdown: watch::Receiver<bool>) -> AgentEnd {
    match Session::open(channel, options).await {
        Ok((session, inbound)) => session.serve(inbound, shutdown).await,
        Err(end) => end,
    }
}

struct Session {
    options: AgentOptions,
    workers: u32,
    slot: String,
    heartbeat: Duration,
    up: mpsc::Sender<proto::AgentMessage>,
    clock: Option<ClockEstimate>,
    /// Exchanges still wanted at once, one after the other.
    burst: u32,
    preparing: Option<Preparing>,
    run: Option<Run>,
    /// All workers stand ready, but the clock is not known well enough yet.
    arm_when_clock_known: bool,
    leaving: Option<tokio::time::Instant>,
}

/// A plan being made ready beside the session.
struct Preparing {
    order: proto::Prepare,
    task: tokio::task::JoinHandle<Result<Ready, CannotPrepare>>,
}

/// How the loop goes on.
type Step = Result<(), AgentEnd>;

fn lost(why: impl std::fmt::Display) -> AgentEnd {
    AgentEnd::Lost { why: why.to_string(), was_welcome: true }
}

/// Ended before there was a session.
fn not_welcome(why: impl std::fmt::Display) -> AgentEnd {
    AgentEnd::Lost { why: why.to_string(), was_welcome: false }
}

impl Session {
    async fn open(
        channel: Channel,
        options: AgentOptions,
    ) -> Result<(Self, Streaming<proto::ControllerMessage>), AgentEnd> {
        let mut client = ClusterClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (up, outbound) = mpsc::channel(OUTBOUND_QUEUE);
        let workers = options
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32));
        let mut session = Self {
            slot: options.slot.clone().unwrap_or_default(),
            options,
            workers,
            heartbeat: DEFAULT_HEARTBEAT,
            up,
            clock: None,
            burst: 0,
            preparing: None,
            run: None,
            arm_when_clock_known: false,
            leaving: None,
        };
        session.send(Up::Hello(session.hello())).await?;
        let opening = client.session(ReceiverStream::new(outbound));
        let mut inbound = match tokio::time::timeout(WELCOME_WITHIN, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(not_welcome(status.message())),
            Err(_) => return Err(not_welcome("the controller did not answer in time")),
        };
        let first = tokio::time::timeout(WELCOME_WITHIN, inbound.message()).await;
        match first
            .map_err(|_| not_welcome("the controller sent no welcome in time"))?
            .map_err(|status| not_welcome(status.message()))?
        {
            Some(proto::ControllerMessage { message: Some(Down::Welcome(welcome)) }) => {
                session.slot = welcome.slot;
                if welcome.heartbeat_ms > 0 {
                    session.heartbeat = Duration::from_millis(welcome.heartbeat_ms.into());
                }
                tracing::info!(slot = session.slot, region = %session.options.region, epoch = welcome.epoch, "registered");
                Ok((session, inbound))
            }
            Some(proto::ControllerMessage { message: Some(Down::Refused(refused)) }) => Err(refusal(refused)),
            Some(_) => Err(not_welcome("the controller spoke before its welcome")),
            None => Err(not_welcome("the controller closed the session")),
        }
    }

    fn hello(&self) -> proto::Hello {
        let started_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        proto::Hello {
            protocol: proto::PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            region: self.options.region.to_string(),
            slot: self.slot.clone(),
            incarnation: format!("{started_unix_ms:013}-{}-{}", std::process::id(), now_ns()),
            workers: self.workers,
            capabilities: vec!["http1".into(), "http2".into(), "tls".into()],
            started_unix_ms,
        }
    }

    async fn send(&self, message: Up) -> Step {
        let message = proto::AgentMessage { message: Some(message) };
        self.up.send(message).await.map_err(|_| lost("the connection to the controller is gone"))
    }

    async fn serve(
        mut self,
        mut inbound: Streaming<proto::ControllerMessage>,
        mut shutdown: watch::Receiver<bool>,
    ) -> AgentEnd {
        let end = self.serve_until_end(&mut inbound, &mut shutdown).await;
        if let Some(preparing) = self.preparing.take() {
            preparing.task.abort();
        }
        if let Some(run) = self.run.take() {
            run.abandon().await;
        }
        end
    }

    async fn serve_until_end(
        &mut self,
        inbound: &mut Streaming<proto::ControllerMessage>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> AgentEnd {
        let mut heartbeats = tokio::time::interval(self.heartbeat);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.burst = CLOCK_EXCHANGES;
        let mut may_shut_down = true;
        loop {
            let leave_at = self.leaving;
            let step = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.hear(message).await,
                    Ok(None) => Err(lost("the controller closed the session")),
                    Err(status) => Err(lost(status.message())),
                },
                _ = heartbeats.tick() => self.beat().await,
                prepared = made_ready(&mut self.preparing) => self.begin_run(prepared).await,
                says = next_of(&mut self.run) => self.pass_on(says).await,
                asked = shutdown.wait_for(|asked| *asked), if may_shut_down => {
                    may_shut_down = false;
                    match asked {
                        Ok(_) => self.leave().await,
                        // Nobody can ask any more; the session goes on.
                        Err(_) => Ok(()),
                    }
                }
                () = at(leave_at) => return self.say_goodbye(inbound).await,
            };
            if let Err(end) = step {
                return end;
            }
            if self.run.as_ref().is_some_and(Run::is_over)
                && let Some(run) = self.run.take()
            {
                run.abandon().await;
            }
            if self.leaving.is_some() && self.run.is_none() {
                return self.say_goodbye(inbound).await;
            }
        }
    }

    async fn hear(&mut self, message: proto::ControllerMessage) -> Step {
        match message.message {
            Some(Down::HeartbeatAnswer(answer)) => self.note_answer(&answer).await,
            Some(Down::Prepare(order)) => self.prepare(order).await,
            Some(Down::Go(go)) => {
                self.go(&go);
                Ok(())
            }
            Some(Down::Ack(ack)) => {
                if let Some(run) = self.run_named(&ack.run_id, ack.epoch) {
                    run.acknowledge(ack.sequence);
                }
                Ok(())
            }
            Some(Down::Stop(stop)) => self.stop(&stop).await,
            Some(Down::Release(release)) => {
                tracing::info!(reason = release.reason, "released");
                Err(AgentEnd::Released)
            }
            Some(Down::Refused(refused)) => Err(refusal(refused)),
            // Said twice, or by a newer controller: nothing to do about it.
            Some(Down::Welcome(_)) | None => Ok(()),
        }
    }

    fn run_named(&mut self, run_id: &str, epoch: u64) -> Option<&mut Run> {
        self.run.as_mut().filter(|run| run.run_id == run_id && run.epoch == epoch)
    }

    async fn beat(&mut self) -> Step {
        let run_id = self.run.as_ref().map(|run| run.run_id.clone()).unwrap_or_default();
        self.send(Up::Heartbeat(proto::Heartbeat { t0_ns: now_ns(), run_id })).await
    }

    /// An answer is one clock exchange, and renews the load lease from when its
    /// heartbeat was sent.
    async fn note_answer(&mut self, answer: &proto::HeartbeatAnswer) -> Step {
        let exchange = Exchange { t0_ns: answer.t0_ns, t1_ns: answer.t1_ns, t2_ns: answer.t2_ns, t3_ns: now_ns() };
        match &mut self.clock {
            None => self.clock = Some(ClockEstimate::first(exchange)),
            Some(clock) => clock.observe(exchange),
        }
        if let Some(run) = self.run.as_ref().filter(|run| run.is_started() && run.starts_in_ns() == 0) {
            run.renew_lease(answer.t0_ns + answer.may_run_for_ms * 1_000_000);
        }
        if self.arm_when_clock_known {
            self.arm().await?;
        }
        if self.burst > 0 {
            self.burst -= 1;
            return self.beat().await;
        }
        Ok(())
    }

    async fn prepare(&mut self, order: proto::Prepare) -> Step {
        // A controller that prepares another run is done with the one before,
        // whatever of that was never started or never acknowledged.
        if let Some(preparing) = self.preparing.take() {
            preparing.task.abort();
        }
        if let Some(run) = self.run.take() {
            tracing::warn!(run = run.run_id, "given up for another run");
            run.abandon().await;
        }
        tracing::info!(run = order.run_id, "preparing");
        let (slot, options, copy) = (self.slot.clone(), self.options.clone(), order.clone());
        // On a thread that may block: reading certificates does.
        let runtime = tokio::runtime::Handle::current();
        let task = tokio::task::spawn_blocking(move || runtime.block_on(prepare(&copy, &slot, &options)));
        self.preparing = Some(Preparing { order, task });
        // Clocks drift and machines are suspended: every run measures anew.
        self.clock = None;
        self.burst = CLOCK_EXCHANGES;
        self.beat().await
    }

    async fn begin_run(&mut self, prepared: Result<Ready, String>) -> Step {
        let Some(Preparing { order, .. }) = self.preparing.take() else { return Ok(()) };
        let begun = prepared.and_then(|ready| {
            Run::begin(&order, &self.slot, ready, self.workers)
                .map_err(|error| format!("its worker threads cannot be started: {error}"))
        });
        match begun {
            Ok(run) => {
                self.run = Some(run);
                Ok(())
            }
            Err(reason) => {
                tracing::warn!(run = order.run_id, reason, "cannot take its share");
                self.send(Up::NotArmed(proto::NotArmed { run_id: order.run_id, epoch: order.epoch, reason })).await
            }
        }
    }

    fn go(&mut self, go: &proto::Go) {
        let Some(clock) = self.clock else { return };
        let start_ns = clock.to_ours(go.start_at_ns);
        if let Some(run) = self.run_named(&go.run_id, go.epoch) {
            run.go(start_ns);
            tracing::info!(run = run.run_id, in_ms = run.starts_in_ns() / 1_000_000, "load starts");
        }
    }

    async fn stop(&mut self, stop: &proto::Stop) -> Step {
        if let Some(preparing) = self.preparing.take_if(|preparing| preparing.order.run_id == stop.run_id) {
            preparing.task.abort();
            return Ok(());
        }
        let Some(run) = self.run.as_mut().filter(|run| run.run_id == stop.run_id) else { return Ok(()) };
        tracing::info!(run = run.run_id, reason = stop.reason, "stopping");
        if run.is_started() {
            run.stop(if stop.now { StopKind::Now } else { StopKind::Graceful });
        } else if let Some(run) = self.run.take() {
            run.abandon().await;
        }
        Ok(())
    }

    async fn pass_on(&mut self, says: RunSays) -> Step {
        match says {
            RunSays::Armed => self.arm().await,
            RunSays::Snapshots(snapshots) => self.send_snapshots(snapshots).await,
            RunSays::Finished(snapshots, finished) => {
                self.send_snapshots(snapshots).await?;
                tracing::info!(run = finished.run_id, sent = finished.sent, "load ended");
                self.send(Up::Finished(*finished)).await
            }
            RunSays::Failed(reason) => {
                let Some(run) = self.run.take() else { return Ok(()) };
                let (run_id, epoch, was_started) = (run.run_id.clone(), run.epoch, run.is_started());
                run.abandon().await;
                if was_started {
                    // The share can't be carried to its end: the controller must see it go.
                    return Err(lost(format!("a worker failed: {reason}")));
                }
                self.send(Up::NotArmed(proto::NotArmed { run_id, epoch, reason })).await
            }
        }
    }

    async fn arm(&mut self) -> Step {
        let known = self.clock.filter(|clock| clock.exchanges >= CLOCK_EXCHANGES);
        self.arm_when_clock_known = known.is_none();
        let (Some(run), Some(clock)) = (&self.run, known) else { return Ok(()) };
        self.send(Up::Armed(proto::Armed {
            run_id: run.run_id.clone(),
            epoch: run.epoch,
            clock_offset_ns: clock.offset_ns,
            clock_bound_ns: clock.bound_ns,
            worst_rtt_ns: clock.worst_round_trip_ns,
            exchanges: clock.exchanges,
            warnings: run.warnings.clone(),
        }))
        .await
    }

    async fn send_snapshots(&self, snapshots: Vec<proto::Snapshot>) -> Step {
        for snapshot in snapshots {
            self.send(Up::Snapshot(snapshot)).await?;
        }
        Ok(())
    }

    async fn leave(&mut self) -> Step {
        tracing::info!("asked to leave: no new requests, finishing what is in flight");
        let drain = self.run.as_ref().map_or(Duration::ZERO, Run::drain);
        self.leaving = Some(tokio::time::Instant::now() + drain + LEAVE_GRACE);
        if let Some(run) = &mut self.run {
            if run.is_started() {
                run.stop(StopKind::Graceful);
            } else if let Some(run) = self.run.take() {
                run.abandon().await;
            }
        }
        Ok(())
    }

    /// The last word, said when everything measured has been told and
    /// acknowledged: who has left is asked nothing more. The controller closes
    /// the session once it has heard it.
    async fn say_goodbye(&self, inbound: &mut Streaming<proto::ControllerMessage>) -> AgentEnd {
        let leaving = proto::Leaving { reason: "asked to leave (SIGTERM)".into() };
        if self.send(Up::Leaving(leaving)).await.is_ok() {
            let closed = async { while let Ok(Some(_)) = inbound.message().await {} };
            let _ = tokio::time::timeout(GOODBYE_WITHIN, closed).await;
        }
        AgentEnd::Drained
    }
}

fn refusal(refused: proto::Refused) -> AgentEnd {
    match refused.code() {
        proto::refused::Code::Incompatible => AgentEnd::Incompatible(refused.reason),
        _ => AgentEnd::Refused(refused.reason),
    }
}

/// The result of making a plan ready, as text where it failed. Never ends when nothing is prepared.
async fn made_ready(preparing: &mut Option<Preparing>) -> Result<Ready, String> {
    match preparing {
        None => std::future::pending().await,
        Some(preparing) => match (&mut preparing.task).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(reason)) => Err(reason.to_string()),
            Err(broken) => Err(format!("preparing ended unexpectedly: {broken}")),
        },
    }
}

async fn next_of(run: &mut Option<Run>) -> RunSays {
    match run {
        None => std::future::pending().await,
        Some(run) => run.next().await,
    }
}

async fn at(instant: Option<tokio::time::Instant>) {
    match instant {
        None => std::future::pending().await,
        Some(instant) => tokio::time::sleep_until(instant).await,
    }
}
