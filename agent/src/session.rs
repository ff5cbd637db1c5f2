//! The agent's side of the cluster protocol: one dial-out stream.
//!
//! Whatever comes in is one event, handled to its end before the next. Load
//! runs on threads of its own and can't hold this up; nor can this hold up the
//! load: a session that goes silent only lets the load lease run out. What must
//! not be lost is never in here but in the [`Agent`], which outlives it.

use crate::agent::{Agent, AgentEnd, Preparing, made_ready, next_of};
use crate::clock::now_ns;
use crate::outgoing::Telling;
use crate::prepare::prepare;
use crate::run::{Run, RunSays};
use crate::worker::StopKind;
use proto::agent_message::Message as Up;
use proto::cluster_client::ClusterClient;
use proto::controller_message::Message as Down;
use squall_common::clock::{ClockEstimate, Exchange};
use squall_proto as proto;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages under way to the controller; snapshots wait in the uplink instead.
const OUTBOUND_QUEUE: usize = 64;
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// A process that is stopped takes connections and never answers: others are tried well within a load lease.
const OPENED_WITHIN: Duration = Duration::from_secs(5);
/// Exchanges before a clock offset is good enough to start by.
const CLOCK_EXCHANGES: u32 = 8;
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(1);
/// Without any answer for so many heartbeats the session is given up and dialled anew:
/// a proxy may keep a stream open whose other end is gone.
const SILENT_HEARTBEATS: u32 = 5;
/// A goodbye is heard within this time, or not at all.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Largest message taken: a plan with its files.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// One stream to one controller.
pub(crate) struct Session<'a> {
    agent: &'a mut Agent,
    heartbeat: Duration,
    up: mpsc::Sender<proto::AgentMessage>,
    /// Exchanges still wanted at once, one after the other.
    burst: u32,
    /// Heartbeats since the last answer.
    unanswered: u32,
    /// All workers stand ready, and this controller has not been told.
    arm: bool,
    /// A start on a clock that is not measured yet.
    go: Option<proto::Go>,
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

/// A controller that does not let this agent in will not do so later; one that was not understood may.
fn turned_away(status: &tonic::Status) -> AgentEnd {
    match status.code() {
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => AgentEnd::Refused(status.message().to_owned()),
        _ => not_welcome(status.message()),
    }
}

impl<'a> Session<'a> {
    pub async fn open(
        agent: &'a mut Agent,
        channel: Channel,
    ) -> Result<(Self, Streaming<proto::ControllerMessage>), AgentEnd> {
        let mut client = ClusterClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (up, outbound) = mpsc::channel(OUTBOUND_QUEUE);
        let mut session =
            Self { agent, heartbeat: DEFAULT_HEARTBEAT, up, burst: 0, unanswered: 0, arm: false, go: None };
        let hello_ns = now_ns();
        session.send(Up::Hello(session.agent.hello())).await?;
        let opening = async {
            let mut inbound = client.session(ReceiverStream::new(outbound)).await?.into_inner();
            let first = inbound.message().await?;
            Ok::<_, tonic::Status>((inbound, first))
        };
        let opened = session.agent.meanwhile(tokio::time::timeout(OPENED_WITHIN, opening)).await;
        let (inbound, first) = opened
            .map_err(|_| not_welcome("the controller sent no welcome in time"))?
            .map_err(|status| turned_away(&status))?;
        match first {
            Some(proto::ControllerMessage { message: Some(Down::Welcome(welcome)) }) => {
                session.be_welcome(welcome, hello_ns).await;
                Ok((session, inbound))
            }
            Some(proto::ControllerMessage { message: Some(Down::Refused(refused)) }) => Err(refusal(refused)),
            Some(_) => Err(not_welcome("the controller spoke before its welcome")),
            None => Err(not_welcome("the controller closed the session")),
        }
    }

    /// Takes up what the last session left: a run that is still wanted goes on.
    async fn be_welcome(&mut self, welcome: proto::Welcome, hello_ns: u64) {
        let agent = &mut *self.agent;
        agent.slot = welcome.slot;
        if welcome.heartbeat_ms > 0 {
            self.heartbeat = Duration::from_millis(welcome.heartbeat_ms.into());
        }
        if welcome.clock != agent.clock_name {
            // Another machine's clock: nothing known of the old one holds.
            (agent.clock, agent.clock_name) = (None, welcome.clock);
        }
        tracing::info!(slot = agent.slot, region = %agent.options.region, epoch = welcome.epoch, "registered");
        if !welcome.run_goes_on {
            agent.refusal = None;
            if let Some(preparing) = agent.preparing.take() {
                preparing.task.abort();
            }
            if let Some(run) = &agent.run {
                tracing::warn!(run = run.run_id, "the run goes on without this agent, or is over");
                agent.drop_run().await;
            }
        }
        if let Some(run) = &mut agent.run {
            agent.lease.welcomed(hello_ns);
            run.renew_lease(agent.lease);
            run.outgoing().rewind(welcome.stored_sequence);
            self.arm = run.is_armed() && !run.is_started();
        }
    }

    async fn send(&self, message: Up) -> Step {
        let message = proto::AgentMessage { message: Some(message) };
        // A queue that stays full means that nothing gets through any more.
        let sent = tokio::time::timeout(WELCOME_WITHIN, self.up.send(message)).await;
        sent.map_err(|_| lost("the controller takes nothing"))?
            .map_err(|_| lost("the connection to the controller is gone"))
    }

    pub async fn serve(
        mut self,
        mut inbound: Streaming<proto::ControllerMessage>,
        mut shutdown: watch::Receiver<bool>,
    ) -> AgentEnd {
        let mut heartbeats = tokio::time::interval(self.heartbeat);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.burst = CLOCK_EXCHANGES;
        let mut may_shut_down = true;
        loop {
            let leave_at = self.agent.leaving;
            let has_to_tell = self.agent.refusal.is_some() || self.agent.run.as_ref().is_some_and(Run::has_to_tell);
            let step = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.hear(message).await,
                    Ok(None) => Err(lost("the controller closed the session")),
                    Err(status) => Err(lost(status.message())),
                },
                _ = heartbeats.tick() => self.beat_or_give_up().await,
                prepared = made_ready(&mut self.agent.preparing) => {
                    self.agent.begin_run(prepared);
                    Ok(())
                }
                says = next_of(&mut self.agent.run) => self.listen_to_run(says).await,
                permit = self.up.clone().reserve_owned(), if has_to_tell => match permit {
                    Ok(permit) => self.tell(permit).await,
                    Err(_) => Err(lost("the connection to the controller is gone")),
                },
                asked = shutdown.wait_for(|asked| *asked), if may_shut_down => {
                    may_shut_down = false;
                    if asked.is_ok() {
                        self.agent.begin_leaving().await;
                    }
                    // Otherwise nobody can ask any more; the session goes on.
                    Ok(())
                }
                () = at(leave_at) => return self.say_goodbye(&mut inbound).await,
            };
            if let Err(end) = step {
                return end;
            }
            if self.agent.run.as_ref().is_some_and(Run::is_over) {
                self.agent.drop_run().await;
            }
            if self.agent.leaving.is_some() && self.agent.run.as_ref().is_none_or(Run::is_told) {
                return self.say_goodbye(&mut inbound).await;
            }
        }
    }

    async fn hear(&mut self, message: proto::ControllerMessage) -> Step {
        match message.message {
            Some(Down::HeartbeatAnswer(answer)) => self.note_answer(&answer).await,
            Some(Down::Prepare(order)) => self.prepare(order).await,
            Some(Down::Go(go)) => {
                self.go(go);
                Ok(())
            }
            Some(Down::Ack(ack)) => {
                if let Some(run) = self.run_named(&ack.run_id, ack.epoch) {
                    run.outgoing().acknowledge(ack.sequence, ack.finished);
                }
                Ok(())
            }
            Some(Down::Stop(stop)) => {
                self.stop(&stop).await;
                Ok(())
            }
            Some(Down::Adopt(order)) => self.adopt(&order).await,
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
        self.agent.run.as_mut().filter(|run| run.run_id == run_id && run.epoch == epoch)
    }

    async fn beat_or_give_up(&mut self) -> Step {
        if self.unanswered >= SILENT_HEARTBEATS {
            return Err(AgentEnd::Silent { why: format!("no answer to {SILENT_HEARTBEATS} heartbeats") });
        }
        self.unanswered += 1;
        self.beat().await
    }

    async fn beat(&mut self) -> Step {
        let run_id = self.agent.run.as_ref().map(|run| run.run_id.clone()).unwrap_or_default();
        self.send(Up::Heartbeat(proto::Heartbeat { t0_ns: now_ns(), run_id })).await
    }

    /// An answer is one clock exchange, and renews the load lease from when its
    /// heartbeat was sent.
    async fn note_answer(&mut self, answer: &proto::HeartbeatAnswer) -> Step {
        self.unanswered = 0;
        let exchange = Exchange { t0_ns: answer.t0_ns, t1_ns: answer.t1_ns, t2_ns: answer.t2_ns, t3_ns: now_ns() };
        match &mut self.agent.clock {
            None => self.agent.clock = Some(ClockEstimate::first(exchange)),
            Some(clock) => clock.observe(exchange),
        }
        self.agent.lease.answered(answer.t0_ns, answer.may_run_for_ms);
        if let Some(run) = &self.agent.run {
            run.renew_lease(self.agent.lease);
        }
        if let Some(go) = self.go.take() {
            self.go(go);
        }
        if self.arm {
            self.tell_armed().await?;
        }
        if self.burst > 0 {
            self.burst -= 1;
            return self.beat().await;
        }
        Ok(())
    }

    async fn prepare(&mut self, order: proto::Prepare) -> Step {
        let agent = &mut *self.agent;
        // A controller that prepares another run is done with the one before,
        // whatever of that was never started or never acknowledged.
        agent.refusal = None;
        if let Some(preparing) = agent.preparing.take() {
            preparing.task.abort();
        }
        if let Some(run) = &agent.run {
            tracing::warn!(run = run.run_id, "given up for another run");
            agent.drop_run().await;
        }
        tracing::info!(run = order.run_id, "preparing");
        let (slot, options, copy) = (agent.slot.clone(), agent.options.clone(), order.clone());
        // On a thread that may block: reading certificates does.
        let runtime = tokio::runtime::Handle::current();
        let task = tokio::task::spawn_blocking(move || runtime.block_on(prepare(&copy, &slot, &options)));
        agent.preparing = Some(Preparing { order, task });
        // Clocks drift and machines are suspended: every run measures anew.
        agent.clock = None;
        (self.arm, self.go) = (false, None);
        self.burst = CLOCK_EXCHANGES;
        self.beat().await
    }

    fn known_clock(&self) -> Option<ClockEstimate> {
        self.agent.clock.filter(|clock| clock.exchanges >= CLOCK_EXCHANGES)
    }

    fn go(&mut self, go: proto::Go) {
        let Some(clock) = self.known_clock() else {
            // Of another controller than the one we armed for: it is not said again.
            self.go = Some(go);
            return;
        };
        let start_ns = clock.to_ours(go.start_at_ns);
        let lease = self.agent.lease;
        // Said again after a reconnect: it has begun long ago.
        if let Some(run) = self.run_named(&go.run_id, go.epoch).filter(|run| !run.is_started()) {
            run.go(start_ns, lease);
            self.arm = false;
            tracing::info!(run = go.run_id, in_ms = start_ns.saturating_sub(now_ns()) / 1_000_000, "load starts");
        }
    }

    async fn adopt(&mut self, order: &proto::Adopt) -> Step {
        let Some(from_ns) = self.run_named(&order.run_id, order.epoch).and_then(|run| run.adopt(order)) else {
            return Ok(());
        };
        let (run_id, epoch, number) = (order.run_id.clone(), order.epoch, order.number);
        self.send(Up::Adopted(proto::Adopted { run_id, epoch, number, from_ns })).await
    }

    async fn stop(&mut self, stop: &proto::Stop) {
        let agent = &mut *self.agent;
        if let Some(preparing) = agent.preparing.take_if(|preparing| preparing.order.run_id == stop.run_id) {
            preparing.task.abort();
            return;
        }
        let Some(run) = agent.run.as_mut().filter(|run| run.run_id == stop.run_id) else { return };
        tracing::info!(run = run.run_id, reason = stop.reason, "stopping");
        // What is to start once the clock is known ends without a start, and says so.
        let is_started = run.is_started() || self.go.take().is_some();
        if is_started && !stop.over {
            run.stop(if stop.now { StopKind::Now } else { StopKind::Graceful });
        } else {
            agent.drop_run().await;
        }
    }

    async fn listen_to_run(&mut self, says: RunSays) -> Step {
        match says {
            RunSays::Armed => {
                self.arm = true;
                self.tell_armed().await
            }
            RunSays::More => Ok(()),
            RunSays::Failed(reason) => {
                self.agent.give_up(reason).await;
                Ok(())
            }
        }
    }

    /// Sends what the run has to tell, one message for each turn of the loop: a long
    /// backlog must not hold up heartbeats.
    async fn tell(&mut self, permit: mpsc::OwnedPermit<proto::AgentMessage>) -> Step {
        let message = if let Some(refusal) = self.agent.refusal.take() {
            Up::NotArmed(refusal)
        } else {
            match self.agent.run.as_mut().and_then(Run::tell) {
                Some(Ok(Telling::Snapshot(snapshot))) => Up::Snapshot(snapshot),
                Some(Ok(Telling::Finished(finished))) => Up::Finished(finished),
                Some(Err(broken)) => {
                    self.agent.give_up(broken.to_string()).await;
                    return Ok(());
                }
                None => return Ok(()),
            }
        };
        permit.send(proto::AgentMessage { message: Some(message) });
        Ok(())
    }

    async fn tell_armed(&mut self) -> Step {
        let (Some(run), Some(clock)) = (&self.agent.run, self.known_clock()) else { return Ok(()) };
        let armed = proto::Armed {
            run_id: run.run_id.clone(),
            epoch: run.epoch,
            clock_offset_ns: clock.offset_ns,
            clock_bound_ns: clock.bound_ns,
            worst_rtt_ns: clock.worst_round_trip_ns,
            exchanges: clock.exchanges,
            warnings: run.warnings.clone(),
        };
        self.arm = false;
        self.send(Up::Armed(armed)).await
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
        proto::refused::Code::NotLeader => {
            AgentEnd::NotLeader(Some(refused.leader).filter(|leader| !leader.is_empty()))
        }
        _ => AgentEnd::Refused(refused.reason),
    }
}

async fn at(instant: Option<tokio::time::Instant>) {
    match instant {
        None => std::future::pending().await,
        Some(instant) => tokio::time::sleep_until(instant).await,
    }
}
