//! A controller to talk to, and an agent that says what a test tells it to.

use crate::fleet::{Controller, Options};
use crate::in_process::InProcess;
use crate::run::Limits;
use crate::store::{EmbeddedStore, Store};
use squall_common::interval::{Flow, FlowKey, IntervalSnapshot, Series, SeriesKey};
use squall_common::plan::{Metric, ScenarioId, StepId, TargetId};
use squall_common::sample::{Outcome, OutcomeClass};
use squall_common::wire::SnapshotWriter;
use squall_proto::cluster_client::ClusterClient;
use squall_proto::operator_client::OperatorClient;
use squall_proto::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Cluster {
    pub transport: InProcess,
    pub store: Arc<dyn Store>,
}

pub fn quick() -> Options {
    Options {
        limits: Limits {
            arm: Duration::from_secs(2),
            start_margin: Duration::from_millis(20),
            finish_grace: Duration::from_secs(2),
            stop_now: Duration::from_secs(1),
            ..Limits::default()
        },
        silent_after: Duration::from_millis(600),
        ..Options::default()
    }
}

pub fn cluster_on(store: Arc<dyn Store>, options: Options) -> Cluster {
    let controller = Controller::start(store.clone(), options).unwrap();
    Cluster { transport: InProcess::serve(&controller), store }
}

pub fn cluster() -> Cluster {
    cluster_on(Arc::new(EmbeddedStore::in_memory().unwrap()), quick())
}

/// 10 requests/s for one second, after which in-flight requests have another.
pub fn plan() -> PlanBundle {
    PlanBundle { plan_name: "plan.yaml".into(), plan_text: PLAN.to_owned(), files: vec![], overrides: vec![] }
}

const PLAN: &str = "url: http://127.0.0.1:1/\nrate: 10/s\nhold_for: 1s\ndrain: 1s\n";

impl Cluster {
    pub fn operator(&self) -> OperatorClient<Channel> {
        OperatorClient::new(self.transport.channel())
    }

    pub async fn submit(&self) -> Result<String, Status> {
        let request = SubmitRunRequest { bundle: Some(plan()), protocol: PROTOCOL, ..SubmitRunRequest::default() };
        Ok(self.operator().submit_run(request).await?.into_inner().run_id)
    }

    pub async fn watch(&self, run_id: &str) -> Streaming<RunUpdate> {
        self.operator().watch_run(WatchRunRequest { run_id: run_id.into() }).await.unwrap().into_inner()
    }

    pub async fn end_of(&self, run_id: &str) -> RunFinished {
        let mut updates = self.watch(run_id).await;
        let last = async {
            loop {
                match updates.message().await.unwrap().unwrap().update.unwrap() {
                    run_update::Update::Finished(finished) => return finished,
                    _ => continue,
                }
            }
        };
        tokio::time::timeout(PATIENCE, last).await.expect("the run ends")
    }

    pub async fn agent(&self, slot: &str, incarnation: &str) -> FakeAgent {
        let mut agent = self.dial(hello(slot, incarnation)).await;
        match agent.next().await {
            controller_message::Message::Welcome(welcome) => {
                (agent.slot, agent.epoch) = (welcome.slot, welcome.epoch);
                agent
            }
            other => panic!("no welcome but {other:?}"),
        }
    }

    /// An agent that still carries a run, with a new session.
    pub async fn agent_back(
        &self,
        slot: &str,
        incarnation: &str,
        run_id: &str,
        run_epoch: u64,
    ) -> (FakeAgent, Welcome) {
        let carried = Hello { run_id: run_id.into(), run_epoch, ..hello(slot, incarnation) };
        let mut agent = self.dial(carried).await;
        match agent.next().await {
            controller_message::Message::Welcome(welcome) => {
                (agent.slot, agent.epoch) = (welcome.slot.clone(), welcome.epoch);
                (agent, welcome)
            }
            other => panic!("no welcome but {other:?}"),
        }
    }

    pub async fn dial(&self, hello: Hello) -> FakeAgent {
        let (say, said) = mpsc::channel(64);
        say.send(AgentMessage { message: Some(agent_message::Message::Hello(hello)) }).await.unwrap();
        let mut client = ClusterClient::new(self.transport.channel());
        let heard = client.session(ReceiverStream::new(said)).await.unwrap().into_inner();
        FakeAgent { say, heard, slot: String::new(), epoch: 0, writer: SnapshotWriter::default() }
    }
}

pub fn hello(slot: &str, incarnation: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: "0.1.0".into(),
        region: "azure/eastus".into(),
        slot: slot.into(),
        incarnation: incarnation.into(),
        workers: 1,
        ..Hello::default()
    }
}

pub struct FakeAgent {
    say: mpsc::Sender<AgentMessage>,
    heard: Streaming<ControllerMessage>,
    pub slot: String,
    pub epoch: u64,
    writer: SnapshotWriter,
}

impl FakeAgent {
    pub async fn say(&self, message: agent_message::Message) {
        self.say.send(AgentMessage { message: Some(message) }).await.unwrap();
    }

    pub async fn next(&mut self) -> controller_message::Message {
        let next = tokio::time::timeout(PATIENCE, self.heard.message()).await.expect("a message in time");
        next.unwrap().expect("the session goes on").message.unwrap()
    }

    /// Whether the controller ends the session.
    pub async fn ends(&mut self) -> bool {
        let ended = async { while let Ok(Some(_)) = self.heard.message().await {} };
        tokio::time::timeout(PATIENCE, ended).await.is_ok()
    }

    /// Whether the controller ends the session at once, and asks for another.
    pub async fn is_sent_back(&mut self) -> bool {
        let next = tokio::time::timeout(PATIENCE, self.heard.message()).await.expect("an end in time");
        next.is_err_and(|status| status.code() == tonic::Code::Unavailable)
    }

    /// Whether nothing comes for a while.
    pub async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.heard.message()).await.is_err()
    }

    pub async fn heartbeat(&mut self, run_id: &str) -> u64 {
        self.say(agent_message::Message::Heartbeat(Heartbeat { t0_ns: 5, run_id: run_id.into() })).await;
        match self.next().await {
            controller_message::Message::HeartbeatAnswer(answer) => {
                assert!(answer.t0_ns == 5 && answer.t1_ns <= answer.t2_ns && answer.t1_ns > 0);
                answer.may_run_for_ms
            }
            other => panic!("no answer but {other:?}"),
        }
    }

    pub async fn prepared(&mut self) -> Prepare {
        match self.next().await {
            controller_message::Message::Prepare(prepare) => prepare,
            other => panic!("not told to prepare but {other:?}"),
        }
    }

    /// Arms for the run it is told to prepare.
    pub async fn arm(&mut self) -> Prepare {
        let prepare = self.prepared().await;
        let (run_id, epoch) = (prepare.run_id.clone(), prepare.epoch);
        self.say(agent_message::Message::Armed(Armed { run_id, epoch, exchanges: 8, ..Armed::default() })).await;
        prepare
    }

    pub async fn go(&mut self) -> Go {
        match self.next().await {
            controller_message::Message::Go(go) => go,
            other => panic!("not told to go but {other:?}"),
        }
    }

    /// Reads on until it is told that the run is over.
    pub async fn over(&mut self) -> bool {
        loop {
            if let controller_message::Message::Stop(stop) = self.next().await {
                return stop.over;
            }
        }
    }

    pub async fn ack(&mut self) -> u64 {
        match self.next().await {
            controller_message::Message::Ack(ack) => ack.sequence,
            other => panic!("no ack but {other:?}"),
        }
    }

    /// A snapshot of one second with so many requests, all answered.
    pub async fn snapshot(&mut self, run_id: &str, sequence: u64, requests: u64) {
        let flow = FlowKey { scenario: ScenarioId(0), step: StepId(0), target: TargetId(0) };
        let mut snapshot = IntervalSnapshot::of(sequence as u32 - 1);
        snapshot.flows.insert(flow, Flow { planned: requests, sent: requests, ..Flow::default() });
        let mut series = Series::default();
        series.outcomes[Outcome::Ok as usize] = requests;
        (0..requests).for_each(|_| series.latencies_mut(Metric::ResponseTime).record_us(1_000));
        snapshot.series.insert(SeriesKey { flow, class: OutcomeClass::Ok }, series);
        let wire = self.writer.snapshot(run_id, &self.slot, self.epoch, sequence, &snapshot);
        self.say(agent_message::Message::Snapshot(wire)).await;
    }

    pub async fn finish(&mut self, run_id: &str, last_sequence: u64, requests: u64, ended_by: &str) {
        let finished = Finished {
            run_id: run_id.into(),
            epoch: self.epoch,
            last_sequence,
            planned: requests,
            sent: requests,
            completed: requests,
            ended_by: ended_by.into(),
            ..Finished::default()
        };
        self.say(agent_message::Message::Finished(finished)).await;
    }
}
