//! Each fault, switched on and off while the service runs.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{EAST, cloud, hello};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn an_error_rate_answers_its_share_with_its_status() {
    let cloud = cloud().await;
    cloud.fault(json!({"region": EAST, "error_rate": 0.25, "status": 503})).await;
    let mut failed = 0;
    for _ in 0..400 {
        failed += u32::from(cloud.get("/").await.unwrap().status() == 503);
    }
    assert!((60..140).contains(&failed), "{failed} of 400 failed");
    let other = &cloud.simulator.regions()[1].url;
    assert_eq!(cloud.client.get(other).send().await.unwrap().status(), 200);
    let total = cloud.settled().await;
    assert_eq!(total.status[&503], u64::from(failed), "the truth counts what was sent");
    cloud.heal().await;
    assert_eq!(cloud.get("/").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_stall_accepts_but_answers_nothing_until_it_ends() {
    let cloud = cloud().await;
    cloud.fault(json!({"stall": true, "for_ms": 300})).await;
    let start = Instant::now();
    assert_eq!(cloud.get("/").await.unwrap().status(), 200);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(250) && waited < Duration::from_millis(900), "{waited:?}");
    let latency = cloud.settled().await.latency;
    assert!(latency.max_us > 250_000, "the truth has it too: {latency:?}");
}

#[tokio::test]
async fn a_stall_holds_streams_under_way() {
    let cloud = cloud().await;
    let mut response = cloud.chat("/openai/deployments/gpt-4o/chat/completions", hello(200, true)).await;
    response.chunk().await.unwrap();
    cloud.fault(json!({"stall": true})).await;
    let drained = async { while response.chunk().await.unwrap().is_some() {} };
    assert!(tokio::time::timeout(Duration::from_millis(300), drained).await.is_err(), "the stream went on");
    cloud.heal().await;
    let drained = async { while response.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), drained).await.unwrap();
}

#[tokio::test]
async fn a_reset_rate_resets_connections() {
    let cloud = cloud().await;
    cloud.fault(json!({"reset_rate": 1.0})).await;
    let mut socket = tokio::net::TcpStream::connect(cloud.address()).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let lost = socket.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(lost.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(cloud.settled().await.cut_by_fault, 1);
}

#[tokio::test]
async fn added_latency_is_added() {
    let cloud = cloud().await;
    cloud.fault(json!({"latency_ms": 40})).await;
    cloud.fault(json!({"latency_ms": 20, "region": EAST})).await;
    cloud.get("/fixed?ms=10").await.unwrap();
    let latency = cloud.settled().await.latency;
    assert!(latency.min_us >= 70_000 && latency.min_us < 200_000, "{latency:?}");
}

#[tokio::test]
async fn a_slow_body_is_spread_over_its_time() {
    let cloud = cloud().await;
    cloud.fault(json!({"slow_body_ms": 200})).await;
    let start = Instant::now();
    let response = cloud.get("/fixed?bytes=4000").await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(150));
    assert_eq!(response.bytes().await.unwrap().len(), 4_000);
    assert!(start.elapsed() >= Duration::from_millis(195), "{:?}", start.elapsed());
}

#[tokio::test]
async fn truncated_answers_break_off() {
    let cloud = cloud().await;
    cloud.fault(json!({"truncate_rate": 1.0})).await;
    let response = cloud.get("/fixed?bytes=4000").await.unwrap();
    assert_eq!(response.content_length(), Some(4_000));
    assert!(response.bytes().await.is_err());
    assert!(cloud.get("/bytes/100000").await.unwrap().bytes().await.is_err());
    let mut stream = cloud.chat("/openai/deployments/gpt-4o/chat/completions", hello(20, true)).await;
    assert!(stream.chunk().await.unwrap().is_some(), "a stream begins");
    assert!(stream.text().await.is_err(), "and breaks off");
    assert_eq!(cloud.settled().await.cut_by_fault, 3);
}

#[tokio::test]
async fn a_region_that_is_down_refuses_and_comes_back_on_its_port() {
    let cloud = cloud().await;
    let mut open = tokio::net::TcpStream::connect(cloud.address()).await.unwrap();
    open.write_all(b"GET /fixed?ms=60000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    while cloud.simulator.truth().regions[EAST].total.in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cloud.fault(json!({"region": EAST, "down": true})).await;
    let lost = open.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(lost.kind(), std::io::ErrorKind::ConnectionReset);
    for _ in 0..3 {
        let refused = tokio::net::TcpStream::connect(cloud.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    let other = &cloud.simulator.regions()[1].url;
    assert_eq!(cloud.client.get(other).send().await.unwrap().status(), 200);
    cloud.heal().await;
    assert_eq!(cloud.get("/").await.unwrap().status(), 200);
    let total = cloud.settled().await;
    assert_eq!((total.cut_by_fault, total.completed, total.aborted_by_client), (1, 1, 0));
}

#[tokio::test]
async fn a_region_that_is_down_for_a_while_comes_back_by_itself() {
    let cloud = cloud().await;
    cloud.fault(json!({"region": EAST, "down": true, "for_ms": 150})).await;
    assert!(cloud.get("/").await.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cloud.get("/").await.unwrap().status(), 200);
}

#[tokio::test]
async fn faults_are_listed_and_deleted_one_by_one() {
    let cloud = cloud().await;
    let url = format!("{}/admin/faults", cloud.simulator.admin_url());
    let id = cloud.fault(json!({"region": EAST, "latency_ms": 1})).await;
    cloud.fault(json!({"stall": true, "for_ms": 60_000})).await;
    let listed: Value = cloud.client.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["faults"][0]["id"], id);
    assert_eq!(listed["faults"][1]["stall"], true);
    assert_eq!(cloud.client.delete(format!("{url}/{id}")).send().await.unwrap().status(), 200);
    assert_eq!(cloud.client.delete(format!("{url}/{id}")).send().await.unwrap().status(), 404);
    let removed: Value = cloud.client.delete(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(removed["removed"], 1);
}

#[tokio::test]
async fn a_fault_that_can_not_be_is_refused_with_its_field() {
    let cloud = cloud().await;
    let url = format!("{}/admin/faults", cloud.simulator.admin_url());
    for (fault, named) in [
        (json!({"error_rate": 7}), "error_rate"),
        (json!({"region": "azure/mars", "stall": true}), "azure/mars"),
        (json!({"stahl": true}), "stahl"),
        (json!({}), "no fault named"),
    ] {
        let refused = cloud.client.post(&url).json(&fault).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        let text = refused.text().await.unwrap();
        assert!(text.contains(named), "{text}");
    }
}
