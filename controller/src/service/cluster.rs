//! One agent's session: who it is, signs of life, and messages handed to its run.

use crate::fleet::{Controller, Input, OUTBOX, Outbox, message};
use crate::identity::access::{self, Caller};
use crate::registry::{Introduction, Joined, NotJoined, SessionId};
use crate::seat::Seat;
use squall_agent::clock::now_ns;
use squall_common::plan::Region;
use squall_proto::cluster_server::Cluster;
use squall_proto::{
    AgentMessage, ControllerMessage, Hello, PROTOCOL, Refused, Stop, Welcome, agent_message, controller_message,
    refused,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// A peer that says nothing is not kept waiting for.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// The service for agents.
pub struct ClusterService {
    seat: Seat,
}

impl ClusterService {
    pub fn new(seat: Seat) -> Self {
        Self { seat }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    type SessionStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let region = request.extensions().get::<Caller>().and_then(|caller| caller.region.clone());
        match self.seat.controller() {
            Ok(controller) => {
                let session = Session { controller, outbox, region };
                tokio::spawn(session.serve(request.into_inner()));
            }
            Err(not_leader) => {
                let (reason, leader) = (not_leader.to_string(), not_leader.leader.unwrap_or_default());
                let refused = Refused { code: refused::Code::NotLeader.into(), reason, leader };
                // A new queue has room.
                let _ = outbox.try_send(Ok(message(controller_message::Message::Refused(refused))));
            }
        }
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

struct Session {
    controller: Controller,
    outbox: Outbox,
    /// The only one its certificate is for; `None`: any.
    region: Option<Region>,
}

/// Why a session goes no further.
enum End {
    /// The stream ended, broke or was superseded.
    Closed,
    Refused(refused::Code, String),
}

impl Session {
    async fn serve(self, mut incoming: Streaming<AgentMessage>) {
        let hello = match tokio::time::timeout(HELLO_WITHIN, incoming.message()).await {
            Ok(Ok(Some(AgentMessage { message: Some(agent_message::Message::Hello(hello)) }))) => hello,
            Ok(Ok(Some(_))) => return self.refuse(refused::Code::Invalid, "a session begins with Hello".into()).await,
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        };
        let (slot, session) = match self.join(&hello) {
            Ok(joined) => joined,
            Err(End::Refused(code, reason)) => return self.refuse(code, reason).await,
            Err(End::Closed) => return,
        };
        tracing::info!(%slot, region = %hello.region, version = %hello.version, "agent joined");
        let ended = tokio::select! {
            ended = self.listen(&slot, session, &mut incoming) => ended,
            // The agent is gone, or this session was superseded and its queue dropped.
            () = self.outbox.closed() => End::Closed,
        };
        self.controller.shared().disconnect(&slot, session);
        if let End::Refused(code, reason) = ended {
            self.refuse(code, reason).await;
        }
        tracing::info!(%slot, "agent's session ended");
    }

    /// Introduces the agent to the fleet; the welcome is the first message it gets.
    fn join(&self, hello: &Hello) -> Result<(String, SessionId), End> {
        let ours = env!("CARGO_PKG_VERSION");
        if hello.protocol != PROTOCOL {
            let reason = format!(
                "agent {} speaks protocol {}, controller {ours} speaks {PROTOCOL}: run the same version on both",
                hello.version, hello.protocol
            );
            return Err(End::Refused(refused::Code::Incompatible, reason));
        }
        if let Some(reason) = access::wrong_region(self.region.as_ref(), &hello.region) {
            return Err(End::Refused(refused::Code::Invalid, reason));
        }
        let introduction = Introduction {
            region: hello.region.clone(),
            slot: hello.slot.clone(),
            incarnation: hello.incarnation.clone(),
            version: hello.version.clone(),
            workers: hello.workers,
        };
        let shared = self.controller.shared();
        let heartbeat_ms = shared.options.heartbeat.as_millis() as u32;
        let welcome = |joined: &Joined, stored: Option<u64>| {
            message(controller_message::Message::Welcome(Welcome {
                epoch: joined.epoch,
                slot: joined.slot.clone(),
                heartbeat_ms,
                controller_version: ours.to_owned(),
                run_goes_on: stored.is_some(),
                stored_sequence: stored.unwrap_or(0),
                clock: squall_agent::clock::name().to_owned(),
            }))
        };
        let carried = (hello.run_id.as_str(), hello.run_epoch);
        match shared.join(&introduction, carried, self.outbox.clone(), welcome) {
            Ok((joined, session)) => Ok((joined.slot, session)),
            Err(error @ NotJoined::Superseded { .. }) => {
                Err(End::Refused(refused::Code::Superseded, error.to_string()))
            }
            Err(error @ (NotJoined::Invalid(_) | NotJoined::Full)) => {
                Err(End::Refused(refused::Code::Invalid, error.to_string()))
            }
        }
    }

    async fn refuse(&self, code: refused::Code, reason: String) {
        tracing::warn!(%reason, "agent refused");
        let refused = Refused { code: code.into(), reason, leader: String::new() };
        // An agent that hung up meanwhile needs no answer.
        let _ = self.outbox.send(Ok(message(controller_message::Message::Refused(refused)))).await;
    }

    async fn listen(&self, slot: &str, session: SessionId, incoming: &mut Streaming<AgentMessage>) -> End {
        loop {
            let received = match incoming.message().await {
                Ok(Some(received)) => received,
                Ok(None) => return End::Closed,
                Err(status) => {
                    tracing::debug!(%slot, %status, "session broke");
                    return End::Closed;
                }
            };
            let t1_ns = now_ns();
            // A message of a kind we do not know comes from a newer agent: it was told our version.
            let Some(received) = received.message else { continue };
            if let Err(ended) = self.handle(slot, session, received, t1_ns).await {
                return ended;
            }
        }
    }

    async fn handle(
        &self,
        slot: &str,
        session: SessionId,
        received: agent_message::Message,
        t1_ns: u64,
    ) -> Result<(), End> {
        use agent_message::Message;
        let shared = self.controller.shared();
        let (run_id, epoch) = match &received {
            Message::Hello(_) => return Err(End::Refused(refused::Code::Invalid, "Hello was said already".into())),
            Message::Heartbeat(heartbeat) => {
                let answer = shared.heartbeat(slot, session, heartbeat, t1_ns).ok_or(End::Closed)?;
                return self.answer(controller_message::Message::HeartbeatAnswer(answer));
            }
            Message::Leaving(leaving) => {
                shared.leave(slot, session, &leaving.reason);
                return Err(End::Closed);
            }
            Message::Armed(armed) => {
                shared.set_clock(slot, session, armed.clock_offset_ns, armed.clock_bound_ns);
                (armed.run_id.clone(), armed.epoch)
            }
            Message::NotArmed(refusal) => (refusal.run_id.clone(), refusal.epoch),
            Message::Snapshot(snapshot) => (snapshot.run_id.clone(), snapshot.epoch),
            Message::Adopted(adopted) => (adopted.run_id.clone(), adopted.epoch),
            Message::Finished(finished) => (finished.run_id.clone(), finished.epoch),
        };
        let (own_epoch, inbox) = shared.route(slot, session, &run_id).ok_or(End::Closed)?;
        match inbox {
            Some(inbox) if epoch == own_epoch => {
                let input = Input::FromAgent { slot: slot.to_owned(), epoch, message: Box::new(received) };
                // A run that ends meanwhile needs the message no longer.
                let _ = inbox.send(input).await;
                Ok(())
            }
            // Of an older epoch: fenced out, as if it had never been said.
            Some(_) => Ok(()),
            None if matches!(received, Message::Snapshot(_) | Message::Finished(_)) => {
                let reason = "the run is over, or goes on without this agent".to_owned();
                self.answer(controller_message::Message::Stop(Stop { run_id, now: true, reason, over: true }))
            }
            None => Ok(()),
        }
    }

    /// Never waits: an agent that does not read its answers is let go, and may come back.
    fn answer(&self, answer: controller_message::Message) -> Result<(), End> {
        self.outbox.try_send(Ok(message(answer))).map_err(|_| End::Closed)
    }
}
