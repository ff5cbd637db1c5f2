//! Sizes of plans and the form of run ids, asked for directly and by the CLI.

use crate::fleet::Fleet;
use squall_proto::operator_client::OperatorClient;
use squall_proto::{
    GetResultRequest, PROTOCOL, PlanBundle, PlanFile, StopRunRequest, SubmitRunRequest, WatchRunRequest,
};
use squall_tests::machine;
use tonic::Code;
use tonic::transport::Endpoint;

const PLAN: &str = "{url: 'http://127.0.0.1:1/', rate: 1/s, hold_for: 1s}";

fn submission(plan_text: String, files: usize, bytes: usize) -> SubmitRunRequest {
    let files = (0..files).map(|n| PlanFile { path: format!("{n}.csv"), content: vec![b'x'; bytes].into() }).collect();
    let bundle = PlanBundle { plan_name: "plan.yaml".to_owned(), plan_text, files, ..PlanBundle::default() };
    SubmitRunRequest { bundle: Some(bundle), protocol: PROTOCOL, ..SubmitRunRequest::default() }
}

#[test]
fn what_is_too_large_or_no_run_id_is_refused_whoever_asks() {
    let _place = machine::shared();
    let fleet = Fleet::start(&[], &[], &[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(ask_for_too_much(fleet.controller.clone()));
}

async fn ask_for_too_much(controller: String) {
    let channel = Endpoint::from_shared(controller).expect("a URL").connect().await.expect("a controller");
    let mut operator = OperatorClient::new(channel).max_encoding_message_size(256 << 20);
    for (request, told) in [
        (submission("#".repeat((1 << 20) + 1), 0, 0), "the plan is 1.00 MiB"),
        (submission(PLAN.to_owned(), 257, 1), "257 files, and 256 is the most"),
        (submission(PLAN.to_owned(), 1, (32 << 20) + 1), "the file `0.csv` is 32.0 MiB"),
        (submission(PLAN.to_owned(), 61, 1 << 20), "61 MiB together"),
    ] {
        let status = operator.submit_run(request).await.expect_err("too large");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(told), "{}", status.message());
    }
    for run_id in ["../../etc/passwd", "01JD8ZK3T9QW5E6R7Y8V9X0ABCDEF", "a\u{0}b", &"0".repeat(1 << 20)] {
        let run_id = run_id.to_owned();
        let watched = operator.watch_run(WatchRunRequest { run_id: run_id.clone() }).await.err();
        let got = operator.get_result(GetResultRequest { run_id: run_id.clone() }).await.err();
        let stopped = operator.stop_run(StopRunRequest { run_id, now: true, reason: String::new() }).await.err();
        for status in [watched, got, stopped] {
            let status = status.expect("not a run id");
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(status.message().contains("is not a run id") && status.message().len() < 300, "{status}");
        }
    }
    let reason = "x".repeat(1 << 20);
    let stopped = operator.stop_run(StopRunRequest { run_id: "latest".into(), now: true, reason }).await;
    assert_eq!(stopped.expect_err("too long").code(), Code::InvalidArgument);
}

#[test]
fn the_cli_refuses_a_plan_that_is_too_large_before_it_asks_anyone() {
    let _place = machine::shared();
    let fleet = Fleet::start(&[], &[], &[]);
    let ran = fleet.run(&"#".repeat((1 << 20) + 1), &[]);
    assert_eq!(ran.exit_code, 2, "{}", ran.stderr);
    assert!(ran.said().contains("plan.yaml: the plan is 1.00 MiB"), "{}", ran.said());
    let ran = fleet.squall(&["watch", "no-such-run"]);
    assert_eq!(ran.exit_code, 2, "{}", ran.stderr);
    assert!(ran.said().contains("`no-such-run` is not a run id"), "{}", ran.said());
}
