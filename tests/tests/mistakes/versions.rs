//! Peers of another version, each way round.

use crate::told::Told;
use squall_proto::cluster_client::ClusterClient;
use squall_proto::cluster_server::{Cluster, ClusterServer};
use squall_proto::operator_client::OperatorClient;
use squall_proto::{
    AgentMessage, ControllerMessage, Hello, PROTOCOL, Refused, SubmitRunRequest, agent_message, controller_message,
    refused,
};
use squall_tests::cluster::Controller;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, once};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

const OTHER_PROTOCOL: u32 = 999;
const OURS: &str = env!("CARGO_PKG_VERSION");

/// A controller that refuses every agent.
struct Refusing(Refused);

type Answers = Box<dyn Stream<Item = Result<ControllerMessage, Status>> + Send + Unpin>;

#[tonic::async_trait]
impl Cluster for Refusing {
    type SessionStream = Answers;

    async fn session(&self, _: Request<Streaming<AgentMessage>>) -> Result<Response<Answers>, Status> {
        let message = Some(controller_message::Message::Refused(self.0.clone()));
        Ok(Response::new(Box::new(once(Ok(ControllerMessage { message })))))
    }
}

/// Serves it for as long as the runtime lives; gives its URL. It knows no operators.
fn refusing(runtime: &Runtime, code: refused::Code, reason: &str) -> String {
    let refused = Refused { code: code.into(), reason: reason.to_owned(), ..Refused::default() };
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = ClusterServer::new(Refusing(refused));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        format!("http://{address}")
    })
}

async fn dial(url: String) -> Channel {
    Endpoint::from_shared(url).expect("a URL").connect().await.expect("the controller")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn an_agent_that_is_refused_for_its_version() {
    let (runtime, mut told) = (runtime(), Told::new());
    let reason = "agent 0.1.0 speaks protocol 1, controller 9.0.0 speaks 9: run the same version on both";
    let url = refusing(&runtime, refused::Code::Incompatible, reason);
    told.agent(&["--controller", &url]);
    told.is_as_in("version_agent_refused");
}

#[test]
fn an_agent_that_is_refused_for_another_reason() {
    let (runtime, mut told) = (runtime(), Told::new());
    let url = refusing(&runtime, refused::Code::Invalid, "the fleet is full");
    told.agent(&["--controller", &url]);
    told.is_as_in("agent_refused");
}

#[test]
fn a_controller_that_does_not_know_what_is_asked() {
    let (runtime, mut told) = (runtime(), Told::new());
    let url = refusing(&runtime, refused::Code::Invalid, "");
    told.squall(&["runs", "--controller", &url]);
    told.is_as_in("version_controller_too_old");
}

#[test]
fn a_controller_refuses_an_agent_of_another_protocol_and_names_both() {
    let (runtime, told) = (runtime(), Told::new());
    let controller = Controller::start(told.dir());
    let url = controller.url().to_owned();
    let hello = Hello {
        protocol: OTHER_PROTOCOL,
        version: "9.9.9".to_owned(),
        region: "azure/eastus".to_owned(),
        incarnation: "1".to_owned(),
        ..Hello::default()
    };
    let first = runtime.block_on(async {
        let mut client = ClusterClient::new(dial(url).await);
        let message = Some(agent_message::Message::Hello(hello));
        let mut answers = client.session(once(AgentMessage { message })).await.expect("a session").into_inner();
        answers.message().await.expect("an answer").and_then(|answer| answer.message)
    });
    let Some(controller_message::Message::Refused(refused)) = first else { panic!("not refused: {first:?}") };
    assert_eq!(refused.code(), refused::Code::Incompatible);
    let expected =
        format!("agent 9.9.9 speaks protocol 999, controller {OURS} speaks {PROTOCOL}: run the same version on both");
    assert_eq!(refused.reason, expected);
}

#[test]
fn a_controller_refuses_a_run_of_another_protocol_and_names_both() {
    let (runtime, told) = (runtime(), Told::new());
    let controller = Controller::start(told.dir());
    let url = controller.url().to_owned();
    let status = runtime.block_on(async {
        let mut client = OperatorClient::new(dial(url).await);
        let request = SubmitRunRequest { protocol: OTHER_PROTOCOL, ..SubmitRunRequest::default() };
        client.submit_run(request).await.expect_err("another protocol")
    });
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let expected = format!(
        "this CLI speaks protocol 999, the controller ({OURS}) speaks {PROTOCOL}: run the same version on both"
    );
    assert_eq!(status.message(), expected);
}
