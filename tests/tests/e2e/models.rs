//! Streams of tokens: what the client counts and times is what the simulator served.

use squall_tests::machine;
use squall_tests::simulator::Simulator;
use squall_tests::squall::run;
use squall_tests::summary::Summary;

const REGION: &str = "azure/eastus";

fn chat_plan(simulator: &Simulator, load: &str) -> String {
    let url = simulator.url(REGION);
    format!(
        "
name: chat
target: {{url: '{url}', deployment: gpt-4o, auth: {{api_key: '${{env:MODEL_KEY}}'}}}}
scenarios:
  chat:
    chat: {{messages: [{{role: user, content: 'Hello {{{{$randomFirstName}}}}'}}], max_tokens: 60, stream: true}}
    goodput: [ttft < 60s]
load: {load}
"
    )
}

/// Requests, chunks and tokens by the client and by the server.
fn expect_equal_counts(summary: &Summary, served: &Summary) {
    let models = Summary(summary.at("models").clone());
    assert_eq!(models.count("answers"), served.count("streams.completed"));
    assert_eq!(models.count("chunks"), served.count("streams.output_chunks"));
    assert_eq!(models.count("tokens.output"), served.count("tokens.output"));
    assert_eq!(models.count("tokens.input"), served.count("tokens.prompt"));
    assert_eq!(models.at("tokens.counted_by"), "server");
    assert_eq!(models.count("latency.inter_token.count"), served.count("streams.gap.count"));
    assert_eq!(models.count("latency.ttft.count"), served.count("streams.ttft.count"));
}

/// Within 1 ms, or 2 % of what was served.
fn expect_same_times(summary: &Summary, served: &Summary) {
    for (ours, theirs) in [("ttft_service", "ttft"), ("inter_token", "gap")] {
        for figure in ["p50_us", "p99_us"] {
            let measured = summary.number(&format!("models.latency.{ours}.{figure}"));
            let truth = served.number(&format!("streams.{theirs}.{figure}"));
            println!("{ours} {figure}: {measured} µs, served {truth} µs");
            assert!(
                (measured - truth).abs() <= f64::max(1_000.0, truth * 0.02),
                "{ours} {figure}: {measured}, {truth}"
            );
        }
    }
}

fn deployment(simulator: &Simulator) -> Summary {
    let truth = simulator.truth();
    truth.part("regions", REGION).part("deployments", "gpt-4o")
}

#[test]
fn one_stream_is_timed_as_the_server_saw_it() {
    let _place = machine::alone();
    let simulator = Simulator::start(&[REGION]);
    let run = run(&chat_plan(&simulator, "{users: 1, for: 6s}")).env("MODEL_KEY", "k");
    let summary = run.ends().summary();
    summary.expect_whole();
    let served = deployment(&simulator);
    expect_equal_counts(&summary, &served);
    expect_same_times(&summary, &served);
}

#[test]
fn ninety_streams_on_three_agents_lose_no_chunk_and_no_token() {
    let _place = machine::alone();
    let simulator = Simulator::start(&[REGION]);
    let run = run(&chat_plan(&simulator, "{users: 90, for: 6s}")).env("MODEL_KEY", "k").agents(3);
    let summary = run.ends().summary();
    summary.expect_whole();
    let completed = summary.count("coverage.completed");
    assert!(completed > 100, "{completed}");
    assert_eq!(summary.count("models.good.requests"), completed);
    expect_equal_counts(&summary, &deployment(&simulator));
}

#[test]
fn made_up_prompts_are_as_long_as_the_plan_says_on_any_number_of_agents() {
    let _place = machine::shared();
    let simulator = Simulator::start(&[REGION]);
    let url = simulator.url(REGION);
    let plan = format!(
        "
name: prompts
target: {{url: '{url}', deployment: gpt-4o, auth: {{api_key: '${{env:MODEL_KEY}}'}}}}
prompts:
  made: {{tokens: 200, output: 8}}
scenarios:
  ask: {{chat: {{prompts: made, stream: true, temperature: 0}}}}
load: {{rate: 20/s, for: 3s}}
"
    );
    let summary = run(&plan).env("MODEL_KEY", "k").agents(2).ends().summary();
    summary.expect_whole().expect_all_ok(60);
    let served = deployment(&simulator);
    expect_equal_counts(&summary, &served);
    // 200 of the prompt, and what the server adds to a message.
    assert_eq!(served.count("tokens.prompt"), 60 * 204);
    assert!(served.count("tokens.output") <= 60 * 8, "{}", served.count("tokens.output"));
}
