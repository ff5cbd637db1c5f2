//! Good inputs: what Squall writes today, and what servers answer.
//!
//! They are in `corpus/` too, for libFuzzer; tests take them from here as well, so
//! that a format that changes does not leave the tests behind.

use prost::Message;
use squall_common::interval::{Flow, FlowKey, IntervalSnapshot, Series, SeriesKey};
use squall_common::plan::{Metric, ScenarioId, StepId, TargetId};
use squall_common::sample::OutcomeClass;
use squall_common::wire::{SnapshotWriter, bundle_digest};
use squall_proto as proto;
use squall_proto::agent_message::Message as FromAgent;
use squall_proto::controller_message::Message as FromController;
use std::io::Write;

/// `(TARGET/NAME, bytes)` of every one.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |target: &str, name: &str, bytes: Vec<u8>| all.push((format!("{target}/{name}"), bytes));
    let snapshots = [("empty", IntervalSnapshot::of(0)), ("second", one_second())];
    for (name, snapshot) in snapshots {
        let wire = SnapshotWriter::default().snapshot("run-1", "agent-1", 7, 1, &snapshot);
        add("snapshot", name, wire.encode_to_vec());
        add("agent-message", &format!("snapshot-{name}"), from_agent(FromAgent::Snapshot(wire)));
    }
    for (name, message) in agent_messages() {
        add("agent-message", name, from_agent(message));
    }
    for (name, message) in controller_messages() {
        add("controller-message", name, proto::ControllerMessage { message: Some(message) }.encode_to_vec());
    }
    for (name, text) in PLANS {
        add("plan", name, (*text).into());
    }
    add("plan", "customers.yaml", [CUSTOMERS_PLAN, b"\0", CUSTOMERS].concat());
    add("simulator", "regions.yaml", CLOUD.into());
    add(
        "simulator",
        "regions.json",
        br#"{"admin_port": 9000, "regions": [{"name": "azure/eastus", "port": 0}]}"#.into(),
    );
    for (name, answer) in ANSWERS {
        add("http1-response", name, [&[20], *answer].concat());
    }
    for (name, coding, body) in bodies() {
        add("coded-body", name, [vec![coding], body].concat());
    }
    add("set-cookie", "usual", COOKIES.into());
    for (name, location) in LOCATIONS {
        add("location", name, [b"/shop/cart?id=1\n", *location].concat());
    }
    for (name, api, stream) in STREAMS {
        add("token-stream", name, [&[*api, 30], *stream].concat());
    }
    all
}

/// With the number of the API they speak.
const STREAMS: &[(&str, u8, &[u8])] = &[
    (
        "azure",
        0,
        b"data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n\
          data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
          data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n\
          data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
          data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n",
    ),
    (
        "crlf-and-pings",
        1,
        b"\xef\xbb\xbf: ping\r\n\r\ndata: {\"choices\":\r\ndata: [{\"text\":\"a\"}]}\r\n\r\n\
          data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\r\r",
    ),
    (
        "responses",
        3,
        b"event: response.output_text.delta\n\
          data: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"a\"}\n\n\
          event: response.completed\n\
          data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}}\n\n",
    ),
    ("error-in-stream", 0, b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"code\":500}}\n\n"),
    ("error-in-its-place", 0, b"{\"error\":{\"code\":\"content_filter\",\"message\":\"no\",\"innererror\":{}}}"),
];

fn one_second() -> IntervalSnapshot {
    let mut snapshot = IntervalSnapshot::of(41);
    let flow = FlowKey { scenario: ScenarioId(0), step: StepId(1), target: TargetId(0) };
    snapshot.flows.insert(flow, Flow { planned: 12, sent: 11, skipped: [0, 1, 0, 0], cut_off: 1, ..Flow::default() });
    let mut series = Series::default();
    (series.bytes_sent, series.bytes_received) = (1_200, 9_000);
    series.outcomes[0] = 10;
    series.statuses.insert(200, 10);
    for metric in [Metric::ResponseTime, Metric::ServiceTime, Metric::DispatchLag] {
        for value_us in [250, 260, 300, 900, 1_100, 4_000, 65_000, 1_000_000, 59_000_000, 3_700_000_000] {
            series.latencies_mut(metric).record_us(value_us);
        }
    }
    snapshot.series.insert(SeriesKey { flow, class: OutcomeClass::Ok }, series);
    snapshot.health.workers = 2;
    snapshot.health.generator_limited = Some("a worker's event loop stood still for 300 ms".into());
    snapshot
}

fn from_agent(message: FromAgent) -> Vec<u8> {
    proto::AgentMessage { message: Some(message) }.encode_to_vec()
}

fn agent_messages() -> Vec<(&'static str, FromAgent)> {
    let run_id = || "run-1".to_owned();
    vec![
        (
            "hello",
            FromAgent::Hello(proto::Hello {
                protocol: squall_proto::PROTOCOL,
                version: "0.1.0".into(),
                region: "azure/eastus".into(),
                slot: "agent-1".into(),
                incarnation: "0000018f-1".into(),
                workers: 4,
                ..proto::Hello::default()
            }),
        ),
        ("heartbeat", FromAgent::Heartbeat(proto::Heartbeat { t0_ns: 1_767_225_600_000_000_000, run_id: run_id() })),
        (
            "armed",
            FromAgent::Armed(proto::Armed {
                run_id: run_id(),
                epoch: 7,
                clock_offset_ns: -1_500,
                exchanges: 8,
                ..proto::Armed::default()
            }),
        ),
        (
            "finished",
            FromAgent::Finished(proto::Finished {
                run_id: run_id(),
                epoch: 7,
                last_sequence: 12,
                planned: 120,
                sent: 119,
                skipped: 1,
                completed: 119,
                ..proto::Finished::default()
            }),
        ),
    ]
}

fn controller_messages() -> Vec<(&'static str, FromController)> {
    let bundle = proto::PlanBundle {
        plan_name: "checkout.yaml".into(),
        plan_text: String::from_utf8_lossy(CUSTOMERS_PLAN).into_owned(),
        files: vec![proto::PlanFile { path: "customers.csv".into(), content: CUSTOMERS.into() }],
        overrides: vec![proto::Override { key: "target".into(), value: "http://localhost:8080".into() }],
    };
    let prepare = proto::Prepare {
        run_id: "run-1".into(),
        epoch: 7,
        plan_digest: bundle_digest(&bundle),
        bundle: Some(bundle),
        seed: 42,
        shares: vec![proto::Share { weights: vec![2, 1, 0, 5], index: 1, within: None }],
        arm_within_ms: 30_000,
        keep_all: false,
    };
    let answer = proto::HeartbeatAnswer { t0_ns: 1, t1_ns: 2, t2_ns: 3, may_run_for_ms: 10_000 };
    vec![("prepare", FromController::Prepare(prepare)), ("heartbeat-answer", FromController::HeartbeatAnswer(answer))]
}

/// The examples that users start from.
const PLANS: &[(&str, &str)] = &[
    ("quickstart.yaml", include_str!("../../examples/quickstart.yaml")),
    ("poisson.yaml", include_str!("../../examples/poisson.yaml")),
    ("shared-iterations.yaml", include_str!("../../examples/shared-iterations.yaml")),
    ("staircase-and-spike.yaml", include_str!("../../examples/staircase-and-spike.yaml")),
    ("three-regions.yaml", include_str!("../../examples/three-regions.yaml")),
    ("tls-http2.yaml", include_str!("../../examples/tls-http2.yaml")),
];
const CUSTOMERS_PLAN: &[u8] = include_bytes!("../../examples/checkout.yaml");
const CUSTOMERS: &[u8] = include_bytes!("../../examples/customers.csv");

const CLOUD: &str = "\
admin_port: 9000
regions:
  - {name: azure/eastus, port: 9001, base_latency_ms: 20}
  - {name: azure/westeurope, port: 9002}
";

const ANSWERS: &[(&str, &[u8])] = &[
    ("length", b"HTTP/1.1 200 OK\r\nserver: nginx\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"),
    (
        "chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0005\r\nworld\r\n0\r\nx-sum: 1\r\n\r\n",
    ),
    ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    ("until-close", b"HTTP/1.0 200 OK\r\nconnection: close\r\n\r\neverything up to the end"),
    ("throttled", b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"),
];

const COOKIES: &str = "\
shop.example.com
/cart/add
session=0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax
seen=1; Domain=example.com; Max-Age=3600
old=; Expires=Wed, 21 Oct 2015 07:28:00 GMT
new=1; Expires=Sun, 06-Nov-2094 08:49:37 GMT; Path=/cart
";

const LOCATIONS: &[(&str, &[u8])] = &[
    ("absolute", b"http://localhost:8080/next?page=2#top"),
    ("rooted", b"/next"),
    ("relative", b"../a/./b/../c?d=e"),
    ("scheme-relative", b"//localhost:8080/x"),
    ("query", b"?id=2"),
];

/// The first byte of a body picks its coding: gzip, deflate, brotli, zstd.
fn bodies() -> Vec<(&'static str, u8, Vec<u8>)> {
    const TEXT: &[u8] = b"hello hello hello hello, and so on";
    let best = flate2::Compression::best();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), best);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), best);
    let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), best);
    for encoder in [&mut gzip as &mut dyn Write, &mut zlib, &mut bare] {
        encoder.write_all(TEXT).expect("memory takes it");
    }
    let whole = "memory takes it";
    vec![
        ("gzip", 0, gzip.finish().expect(whole)),
        ("zlib", 1, zlib.finish().expect(whole)),
        ("bare-deflate", 1, bare.finish().expect(whole)),
        // `hello` as one uncompressed meta-block and an empty last one.
        ("brotli", 2, vec![0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03]),
        // `hello` as one raw block of a frame that tells its size.
        ("zstd", 3, vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x05, 0x29, 0, 0, b'h', b'e', b'l', b'l', b'o']),
    ]
}
