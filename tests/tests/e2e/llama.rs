//! A real server that is not ours, llama.cpp's: it tells no truth of its own, so
//! a tap before it keeps what went over the wire.

use squall_tests::llama::{self, Llama};
use squall_tests::machine;
use squall_tests::squall::run;
use squall_tests::summary::Summary;
use squall_tests::tap::{Exchange, Tap};

/// Runs one scenario against the server; the summary, and what the tap saw.
fn seen(llama: &Llama, scenario: &str, load: &str) -> (Summary, Vec<Exchange>) {
    seen_with(llama, scenario, load, 1_000)
}

fn seen_with(llama: &Llama, scenario: &str, load: &str, per_connection: u32) -> (Summary, Vec<Exchange>) {
    let tap = Tap::before(llama.port());
    let url = tap.url();
    let plan = format!(
        "
name: llama
target: {{url: '{url}/v1', model: tiny, connections: {{max_requests: {per_connection}}}}}
scenarios:
  talk:
    {scenario}
load: {load}
"
    );
    let summary = run(&plan).ends().summary();
    summary.expect_balanced();
    let exchanges = tap.stop();
    assert_eq!(summary.count("coverage.sent"), exchanges.len() as u64, "requests of which the tap knows");
    (summary, exchanges)
}

fn models(summary: &Summary) -> Summary {
    Summary(summary.at("models").clone())
}

/// Every stream is whole, of so many tokens, each in a chunk of its own; and counted so.
fn expect_streams(summary: &Summary, exchanges: &[Exchange], path: &str, tokens_each: usize) {
    summary.expect_whole().expect_all_ok(exchanges.len() as u64);
    for exchange in exchanges {
        assert_eq!((exchange.path.as_str(), exchange.status), (path, 200));
        assert_eq!(exchange.finish_reason().as_deref(), Some("length"), "{}", exchange.text());
        assert_eq!(exchange.deltas().len(), tokens_each, "{}", exchange.text());
    }
    let streams = exchanges.len() as u64;
    let chunks: u64 = exchanges.iter().map(|exchange| exchange.deltas().len() as u64).sum();
    let models = models(summary);
    assert_eq!(models.count("answers"), streams);
    assert_eq!(models.count("chunks"), chunks);
    assert_eq!(models.count("tokens.output"), chunks);
    // Asked to, by `stream_options`, and does not.
    assert_eq!(models.at("tokens.counted_by"), "chunks");
    assert_eq!(models.count("finish.length"), streams);
    assert_eq!(models.count("latency.ttft.count"), streams);
    assert_eq!(models.count("latency.inter_token.count"), chunks - streams);
}

#[test]
fn a_chat_streamed_by_llama_cpp_is_counted_as_it_was_sent() {
    let _place = machine::shared();
    let llama = Llama::that_queues();
    let chat = "chat: {messages: [{role: user, content: 'Hello {{$randomFirstName}}'}], max_tokens: 24, stream: true}";
    let (summary, exchanges) = seen(&llama, chat, "{iterations: 12, users: 2, at_most: 60s}");
    assert_eq!(exchanges.len(), 12);
    expect_streams(&summary, &exchanges, "/v1/chat/completions", 24);
}

#[test]
fn completions_streamed_by_llama_cpp_are_counted_as_they_were_sent() {
    let _place = machine::shared();
    let llama = Llama::that_queues();
    let completions = "completions: {prompt: 'once there was {{$randomFirstName}}', max_tokens: 16, stream: true}";
    let (summary, exchanges) = seen(&llama, completions, "{iterations: 12, users: 1, at_most: 60s}");
    assert_eq!(exchanges.len(), 12);
    expect_streams(&summary, &exchanges, "/v1/completions", 16);
}

#[test]
fn tokens_of_answers_in_one_piece_are_those_that_llama_cpp_counted() {
    let _place = machine::shared();
    let llama = Llama::that_queues();
    let chat = "chat: {messages: [{role: user, content: 'Hello {{$randomFirstName}}'}], max_tokens: 16}";
    let (summary, exchanges) = seen(&llama, chat, "{iterations: 12, users: 2, at_most: 60s}");
    summary.expect_whole().expect_all_ok(12);
    let usage = |of: &str| -> u64 {
        exchanges.iter().map(|exchange| exchange.json()["usage"][of].as_u64().expect("a count of tokens")).sum()
    };
    let models = models(&summary);
    assert_eq!(models.at("tokens.counted_by"), "server");
    assert_eq!(models.count("tokens.input"), usage("prompt_tokens"));
    assert_eq!(models.count("tokens.output"), usage("completion_tokens"));
    assert_eq!(models.count("answers"), 12);
    assert_eq!(models.count("chunks"), 0);
}

#[test]
fn a_second_turn_carries_what_llama_cpp_said_in_the_first() {
    let _place = machine::shared();
    let llama = Llama::that_queues();
    let turns = "
    steps:
      - name: ask
        chat: {messages: [{role: user, content: 'Hello {{$randomFirstName}}'}], max_tokens: 16}
        extract: {answer: {json: /choices/0/message/content}}
      - name: go on
        chat:
          messages:
            - {role: user, content: Hello}
            - {role: assistant, content: '{{answer}}'}
            - {role: user, content: go on}
          max_tokens: 24
          stream: true";
    let (summary, exchanges) = seen(&llama, turns, "{iterations: 6, users: 1, at_most: 60s}");
    summary.expect_whole().expect_all_ok(12);
    for turn in exchanges.chunks(2) {
        let said = &turn[0].json()["choices"][0]["message"]["content"];
        assert!(said.as_str().is_some_and(|text| !text.is_empty()), "{}", turn[0].text());
        assert_eq!(turn[1].asked["messages"][1]["content"], *said);
    }
    let (asked, went_on): (Vec<&Exchange>, Vec<&Exchange>) =
        exchanges.iter().partition(|exchange| exchange.asked["stream"] != true);
    let counted: u64 =
        asked.iter().map(|exchange| exchange.json()["usage"]["completion_tokens"].as_u64().expect("a count")).sum();
    let streamed: u64 = went_on.iter().map(|exchange| exchange.deltas().len() as u64).sum();
    assert_eq!((asked.len(), went_on.len(), streamed), (6, 6, 6 * 24));
    let models = models(&summary);
    assert_eq!(models.at("tokens.counted_by"), "mixed");
    assert_eq!(models.count("chunks"), streamed);
    assert_eq!(models.count("tokens.output"), counted + streamed);
}

#[test]
fn a_prompt_too_long_for_llama_cpp_is_an_empty_stream_and_not_ok() {
    let _place = machine::shared();
    let llama = Llama::that_queues();
    let prompt = "the word ".repeat(llama::CONTEXT);
    let chat = format!("chat: {{messages: [{{role: user, content: '{prompt}'}}], max_tokens: 16, stream: true}}");
    // After such an answer the server closes the connection, on the next request if that is quick.
    let (summary, exchanges) = seen_with(&llama, &chat, "{iterations: 3, users: 1, at_most: 60s}", 1);
    assert!(exchanges.iter().all(|exchange| exchange.status == 200 && exchange.text().is_empty()), "{exchanges:#?}");
    assert_eq!(summary.count("status.200"), 3);
    assert_eq!(summary.count("outcomes.ok"), 0);
    assert_eq!(summary.count("outcomes.protocol"), 3);
    assert_eq!(summary.count("coverage.failed"), 3);
    let told = summary.texts("warnings").join("\n");
    assert!(told.contains("a stream was asked for and nothing came"), "{told}");
}

#[test]
fn a_parameter_of_the_wrong_type_is_llama_cpps_own_error() {
    let _place = machine::shared();
    let llama = Llama::that_queues();
    let chat = "chat: {messages: [{role: user, content: Hello}], temperature: warm, stream: true}";
    let (summary, exchanges) = seen(&llama, chat, "{iterations: 3, users: 1, at_most: 60s}");
    assert!(exchanges.iter().all(|exchange| exchange.status == 500), "{exchanges:#?}");
    assert_eq!(summary.count("outcomes.ok"), 0);
    assert_eq!(summary.count("outcomes.http_5xx"), 3);
}

#[test]
fn streams_that_llama_cpp_breaks_off_for_another_request_are_truncated() {
    let _place = machine::shared();
    let llama = Llama::that_interrupts();
    let chat = "chat: {messages: [{role: user, content: Hello}], max_tokens: 200, stream: true}";
    let (summary, exchanges) = seen(&llama, chat, "{iterations: 20, users: 2, at_most: 60s}");
    let broken = exchanges.iter().filter(|exchange| exchange.finish_reason().is_none()).count() as u64;
    assert!(broken > 0, "two users never met");
    assert_eq!(summary.count("outcomes.truncated"), broken);
    assert_eq!(summary.count("coverage.completed"), 20 - broken);
    let chunks: u64 = exchanges.iter().map(|exchange| exchange.deltas().len() as u64).sum();
    assert_eq!(models(&summary).count("chunks"), chunks);
}
