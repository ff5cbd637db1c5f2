//! The truth is what clients count, exactly.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use futures_util::future::{join, join_all};
use serde_json::Value;
use squall_common::histogram::Latencies;
use support::{EAST, cloud};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_truth_equals_the_clients_counts_with_some_aborted() {
    let cloud = cloud().await;
    let one = |number: u64| {
        let path = match number % 4 {
            0 => "/fixed?ms=2&bytes=100".to_owned(),
            1 => "/status/503".to_owned(),
            2 => "/bytes/100000".to_owned(),
            _ => format!("/items/{number}"),
        };
        let request = cloud.client.get(cloud.url(&path));
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            Some((status, response.bytes().await.unwrap().len() as u64))
        }
    };
    let hang = |_| async {
        let mut socket = tokio::net::TcpStream::connect(cloud.address()).await.unwrap();
        socket.write_all(b"GET /fixed?ms=60000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        socket
    };
    let (answers, hung) = join(join_all((0..800).map(one)), join_all((0..200).map(hang))).await;
    // A client that leaves before the server read its request aborted nothing.
    while cloud.simulator.truth().regions[EAST].total.in_flight != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(hung);
    let mut status: BTreeMap<u16, u64> = BTreeMap::new();
    for (code, _) in answers.iter().flatten() {
        *status.entry(*code).or_default() += 1;
    }
    let completed = answers.iter().flatten().count() as u64;
    let total = cloud.settled().await;
    assert_eq!((total.completed, &total.status), (completed, &status));
    assert_eq!(total.latency.count, completed);
    assert_eq!(total.body_bytes_out, answers.iter().flatten().map(|(_, bytes)| bytes).sum::<u64>());
    assert_eq!((total.aborted_by_client, total.cut_by_fault, total.in_flight), (200, 0, 0));
    assert_eq!(total.started, completed + 200);

    let truth = cloud.truth_over_http().await;
    assert_eq!(truth, cloud.simulator.truth());
    let region = &truth.regions[EAST];
    assert_eq!(region.paths["/items/{id}"].completed, 200);
    assert_eq!(region.paths["/fixed"].aborted_by_client, 200);
    assert_eq!(region.paths.values().map(|path| path.started).sum::<u64>(), total.started);
    assert!(region.wire_bytes_out > total.body_bytes_out);
    assert_eq!(truth.regions["aws/us-west-2"].total.started, 0);
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_body_aborted_it() {
    let cloud = cloud().await;
    let mut response = cloud.get("/bytes/200000000").await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    let total = cloud.settled().await;
    assert_eq!((total.started, total.aborted_by_client, total.completed), (1, 1, 0));
}

#[tokio::test]
async fn an_http2_stream_that_is_cancelled_is_aborted_alone() {
    let cloud = cloud().await;
    let client = support::clients().http2_prior_knowledge().build().unwrap();
    client.get(cloud.url("/")).send().await.unwrap();
    let hung = client.get(cloud.url("/fixed?ms=60000")).timeout(Duration::from_millis(100)).send();
    let (hung, served) = join(hung, client.get(cloud.url("/fixed?ms=200")).send()).await;
    assert!(hung.is_err());
    assert_eq!(served.unwrap().status(), 200);
    let total = cloud.settled().await;
    assert_eq!((total.started, total.completed, total.aborted_by_client), (3, 2, 1));
    assert_eq!(cloud.simulator.truth().regions[EAST].connections_accepted, 1);
}

#[tokio::test]
async fn the_histogram_has_the_clusters_shape_and_the_same_count() {
    let cloud = cloud().await;
    for _ in 0..20 {
        cloud.get("/uniform?min_ms=0&max_ms=3").await.unwrap();
    }
    let latency = cloud.settled().await.latency;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&latency.hdr_v2_deflate_base64).unwrap();
    let read = hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    let read = Latencies::from_parts(read, 0, 0).unwrap();
    assert_eq!((read.count(), read.percentile_us(99.0)), (20, latency.p99_us));
}

#[tokio::test]
async fn a_reset_starts_the_truth_again() {
    let cloud = cloud().await;
    cloud.get("/").await.unwrap();
    cloud.settled().await;
    let admin = cloud.simulator.admin_url();
    cloud.client.post(format!("{admin}/admin/reset")).send().await.unwrap();
    let region = cloud.simulator.truth().regions[EAST].clone();
    assert_eq!((region.total.started, region.connections_accepted, region.wire_bytes_in), (0, 0, 0));
    cloud.get("/").await.unwrap();
    assert_eq!(cloud.settled().await.completed, 1);
}

#[tokio::test]
async fn the_admin_server_says_it_is_well_and_where_regions_are() {
    let cloud = cloud().await;
    let admin = cloud.simulator.admin_url();
    assert_eq!(cloud.client.get(format!("{admin}/healthz")).send().await.unwrap().status(), 200);
    let regions: Value = cloud.client.get(format!("{admin}/admin/regions")).send().await.unwrap().json().await.unwrap();
    assert_eq!(regions["regions"][0]["url"], cloud.simulator.regions()[0].url);
    assert_eq!(regions["regions"][0]["deployments"][0]["name"], "gpt-4o");
    assert_eq!(cloud.client.get(format!("{admin}/nothing")).send().await.unwrap().status(), 404);
}
