//! The plain endpoints, over real sockets.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use squall_simulator::{Config, RegionConfig, Simulator};
use support::{EAST, cloud};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn every_region_answers_on_its_own_address() {
    let cloud = cloud().await;
    let regions = cloud.simulator.regions();
    assert_eq!(regions.len(), 3);
    for region in &regions {
        let response = cloud.client.get(format!("{}/", region.url)).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "squall simulator\n");
    }
    cloud.simulator.stop().await;
}

#[tokio::test]
async fn a_size_is_exact_small_or_large() {
    let cloud = cloud().await;
    for size in [0, 1, 512, 65_536, 65_537, 3_000_000] {
        for path in [format!("/bytes/{size}"), format!("/fixed?bytes={size}")] {
            let response = cloud.get(&path).await.unwrap();
            assert_eq!(response.content_length(), Some(size));
            assert_eq!(response.bytes().await.unwrap().len() as u64, size, "{path}");
        }
    }
    assert_eq!(cloud.get("/bytes/many").await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_status_is_the_one_asked_for() {
    let cloud = cloud().await;
    for status in [200, 204, 304, 404, 429, 503] {
        assert_eq!(cloud.get(&format!("/status/{status}")).await.unwrap().status(), status);
    }
    let refused = cloud.get("/fixed?status=teapot").await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("teapot"));
}

#[tokio::test]
async fn an_echo_is_the_body_as_it_was() {
    let cloud = cloud().await;
    let sent = cloud.client.post(cloud.url("/echo")).header("content-type", "application/x-odd").body("ab\0c");
    let response = sent.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-odd");
    assert_eq!(&response.bytes().await.unwrap()[..], b"ab\0c");

    let sent = cloud.client.put(cloud.url("/echo/json?a=1&b=x%20y")).header("x-one", "1").body("text");
    let echoed: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(echoed["method"], "PUT");
    assert_eq!(echoed["path"], "/echo/json");
    assert_eq!(echoed["query"], json!({"a": "1", "b": "x y"}));
    assert_eq!(echoed["headers"]["x-one"], "1");
    assert_eq!(echoed["body"], "text");
}

#[tokio::test]
async fn a_flow_of_login_order_and_item_can_be_followed() {
    let cloud = cloud().await;
    let login = cloud.client.post(cloud.url("/login")).send().await.unwrap();
    assert!(login.headers()["set-cookie"].to_str().unwrap().starts_with("session="));
    let login: Value = login.json().await.unwrap();
    assert!(login["token"].is_string() && login["id"].is_u64());
    for path in ["/orders", "/api/v1/order"] {
        let order = cloud.client.post(cloud.url(path)).json(&json!({"skuId": "A1B2"})).send().await.unwrap();
        assert_eq!(order.status(), 201);
        let location = order.headers()["location"].to_str().unwrap().to_owned();
        let order: Value = order.json().await.unwrap();
        assert_eq!(location, format!("{path}/{}", order["orderId"].as_str().unwrap()));
        assert_eq!(cloud.get(path).await.unwrap().status(), 405);
    }
    let item: Value = cloud.get("/items/42").await.unwrap().json().await.unwrap();
    assert_eq!(item["id"], "42");
}

#[tokio::test]
async fn gzip_comes_only_when_accepted() {
    let cloud = cloud().await;
    let zipped = cloud.client.get(cloud.url("/bytes/20000?compress=1")).header("accept-encoding", "gzip");
    let zipped = zipped.send().await.unwrap();
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let zipped = zipped.bytes().await.unwrap();
    let mut whole = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped[..]), &mut whole).unwrap();
    assert_eq!(whole.len(), 20_000);
    let plain = cloud.get("/bytes/20000?compress=1").await.unwrap();
    assert!(!plain.headers().contains_key("content-encoding"));
    assert_eq!(plain.bytes().await.unwrap().len(), 20_000);
}

#[tokio::test]
async fn redirects_lead_home() {
    let cloud = cloud().await;
    let follow = |number: u32| format!("/redirect/{number}");
    let first = cloud.get(&follow(2)).await.unwrap();
    assert_eq!((first.status().as_u16(), &first.headers()["location"]), (302, &"/redirect/1".parse().unwrap()));
    assert_eq!(cloud.get(&follow(1)).await.unwrap().headers()["location"], "/");
}

#[tokio::test]
async fn a_slow_body_takes_its_time() {
    let cloud = cloud().await;
    let start = Instant::now();
    let response = cloud.get("/slow-body?bytes=1000&over_ms=200").await.unwrap();
    let head = start.elapsed();
    assert_eq!(response.bytes().await.unwrap().len(), 1_000);
    assert!(head < Duration::from_millis(150), "{head:?}");
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_fixed_wait_is_true_to_a_fraction_of_a_millisecond() {
    let cloud = cloud().await;
    for _ in 0..50 {
        cloud.get("/fixed?ms=5").await.unwrap().bytes().await.unwrap();
    }
    cloud.settled().await;
    let truth = cloud.simulator.truth().regions[EAST].paths["/fixed"].clone();
    assert_eq!(truth.latency.count, 50);
    assert!(truth.latency.min_us >= 5_000, "{:?}", truth.latency);
    // The median is within 0.2 ms on an idle machine; a busy one spares the fastest.
    assert!(truth.latency.min_us < 5_900, "{:?}", truth.latency);
}

#[tokio::test]
async fn a_reset_and_a_truncated_answer_are_what_they_say() {
    let cloud = cloud().await;
    let mut socket = tokio::net::TcpStream::connect(cloud.address()).await.unwrap();
    socket.write_all(b"GET /reset HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let lost = socket.read(&mut [0; 100]).await.unwrap_err();
    assert_eq!(lost.kind(), std::io::ErrorKind::ConnectionReset);

    let mut socket = tokio::net::TcpStream::connect(cloud.address()).await.unwrap();
    socket.write_all(b"GET /truncate?bytes=1000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 1000"), "{head}");
    assert_eq!(body.len(), 500);
    assert_eq!(cloud.settled().await.cut_by_fault, 2);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served_on_the_same_port() {
    let cloud = cloud().await;
    let client = support::clients().http2_prior_knowledge().build().unwrap();
    let all =
        futures_util::future::join_all((0..50).map(|_| client.get(cloud.url("/fixed?ms=20&bytes=100000")).send()));
    let start = Instant::now();
    for response in all.await {
        let response = response.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.bytes().await.unwrap().len(), 100_000);
    }
    assert!(start.elapsed() < Duration::from_millis(900), "streams share the connection: {:?}", start.elapsed());
    let total = cloud.settled().await;
    assert_eq!((total.completed, total.body_bytes_out), (50, 5_000_000));
    assert_eq!(cloud.simulator.truth().regions[EAST].connections_accepted, 1);
}

#[tokio::test]
async fn a_head_request_is_completed_without_a_body() {
    let cloud = cloud().await;
    let response = cloud.client.head(cloud.url("/fixed?bytes=700")).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], "700");
    let total = cloud.settled().await;
    assert_eq!((total.completed, total.body_bytes_out), (1, 0));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let region = RegionConfig { port, ..RegionConfig::named(EAST) };
    let Err(refused) = Simulator::start(Config { regions: vec![region], ..Config::default() }).await else {
        panic!("two listen on {port}")
    };
    let text = refused.to_string();
    assert!(text.contains(&port.to_string()) && text.contains(EAST), "{text}");
}

#[tokio::test]
async fn stopping_ends_everything_and_frees_the_ports() {
    let cloud = cloud().await;
    let mut socket = tokio::net::TcpStream::connect(cloud.address()).await.unwrap();
    socket.write_all(b"GET /fixed?ms=60000 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    while cloud.simulator.truth().regions[EAST].total.in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let address = cloud.address();
    cloud.simulator.stop().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert!(socket.read(&mut [0; 100]).await.is_err());
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn the_banner_fits_80_columns_and_names_everything() {
    let cloud = cloud().await;
    let banner = cloud.simulator.banner();
    assert!(banner.lines().all(|line| line.chars().count() <= 80), "{banner}");
    for region in cloud.simulator.regions() {
        assert!(banner.contains(&region.url) && banner.contains(&region.name));
    }
    assert!(banner.contains(&cloud.simulator.admin_url()));
}
