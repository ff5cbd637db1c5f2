use super::fake::{cluster, hello};
use squall_proto::{controller_message, refused};

async fn refusal(agent: &mut super::fake::FakeAgent) -> (refused::Code, String) {
    match agent.next().await {
        controller_message::Message::Refused(refused) => (refused.code(), refused.reason),
        other => panic!("not refused but {other:?}"),
    }
}

#[tokio::test]
async fn an_agent_is_welcomed_into_a_slot_named_after_its_region() {
    let cluster = cluster();
    let mut agent = cluster.agent("", "01").await;
    assert_eq!(agent.slot, "azure-eastus-1");
    assert_eq!(agent.heartbeat("").await, 0, "an idle agent has no lease");
    let agents = cluster.operator().list_agents(squall_proto::ListAgentsRequest {}).await.unwrap().into_inner().agents;
    assert_eq!((agents.len(), agents[0].state.as_str()), (1, "idle"));
}

#[tokio::test]
async fn a_newer_incarnation_supersedes_the_older() {
    let cluster = cluster();
    let mut old = cluster.agent("s", "01").await;
    let new = cluster.agent("s", "02").await;
    assert!(new.epoch > old.epoch);
    assert_eq!(refusal(&mut old).await.0, refused::Code::Superseded);
    let mut late = cluster.dial(hello("s", "01")).await;
    assert_eq!(refusal(&mut late).await.0, refused::Code::Superseded);
    assert!(late.ends().await);
}

#[tokio::test]
async fn a_hello_that_overtakes_another_of_the_same_agent_turns_nobody_away() {
    let cluster = cluster();
    let mut one = cluster.agent("s", "01").await;
    let mut other = cluster.agent("s", "01").await;
    assert_eq!(one.epoch, other.epoch);
    assert!(one.is_sent_back().await, "it is to connect again, not to go away");
    other.heartbeat("").await;
}

#[tokio::test]
async fn another_protocol_is_refused_with_both_versions() {
    let cluster = cluster();
    let mut hello = hello("s", "01");
    (hello.protocol, hello.version) = (99, "9.9.9".into());
    let mut agent = cluster.dial(hello).await;
    let (code, reason) = refusal(&mut agent).await;
    assert_eq!(code, refused::Code::Incompatible);
    assert!(reason.contains("9.9.9") && reason.contains("99"), "{reason}");
    assert!(reason.contains(env!("CARGO_PKG_VERSION")), "{reason}");
    assert!(agent.ends().await);
}

#[tokio::test]
async fn a_region_that_is_none_is_refused() {
    let cluster = cluster();
    let mut hello = hello("s", "01");
    hello.region = "Nowhere At All".into();
    let mut agent = cluster.dial(hello).await;
    let (code, reason) = refusal(&mut agent).await;
    assert!(code == refused::Code::Invalid && reason.contains("cloud/region"), "{reason}");
}

#[tokio::test]
async fn a_run_without_agents_says_how_to_start_one() {
    let error = cluster().submit().await.unwrap_err();
    assert!(error.message().contains("squall-agent --controller"), "{error}");
}

#[tokio::test]
async fn a_second_run_on_the_same_agent_is_refused_and_names_the_first() {
    let cluster = cluster();
    let mut agent = cluster.agent("s", "01").await;
    let first = cluster.submit().await.unwrap();
    agent.prepared().await;
    let error = cluster.submit().await.unwrap_err();
    assert!(error.message().contains(&first) && error.message().contains("squall stop"), "{error}");
}
