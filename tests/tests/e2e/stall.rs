//! A server that stands still: response time tells it, service time does not.

use squall_tests::hlog;
use squall_tests::machine;
use squall_tests::nginx::{Nginx, Served};
use squall_tests::squall::run;
use squall_tests::summary::Summary;
use squall_tests::wait::secs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const RATE_PER_S: u64 = 200;
const RUN_S: u64 = 20;
const STALL: Duration = Duration::from_secs(5);
/// What the generator may add.
const TOLERANCE_MS: f64 = 5.0;
/// `$msec` in nginx's log, and one bucket of the histogram in a thousand.
const LOG_RESOLUTION_MS: f64 = 1.0;
const BUCKET: f64 = 0.001;

/// One request at a time: while it hangs, arrivals queue inside the generator.
fn plan() -> String {
    format!("name: stall\nurl: /\nrate: {RATE_PER_S}/s\nhold_for: {RUN_S}s\nconcurrency: 1\n")
}

/// The response times that must come out, in ms and sorted: a request that was
/// meant during the stall ends at `stall end + the work before it in the queue`
/// and began when the plan says; any other ends as soon as it begins.
///
/// When the server got to each of the thousand behind the stall is read from
/// its own log: they take a fraction of a second that depends on the machine.
fn expected(log: &[Served], thawed_s: f64) -> Vec<f64> {
    let interval_s = 1.0 / RATE_PER_S as f64;
    let intended_s = |number: usize| number as f64 * interval_s;
    // Before the stall requests end as soon as they begin; the fastest tells the start.
    let stalled = log.iter().position(|served| served.at_s >= thawed_s - LOG_RESOLUTION_MS / 1e3).expect("a stall");
    let start_s = (0..stalled).map(|number| log[number].at_s - intended_s(number)).fold(f64::INFINITY, f64::min);
    let waited_s = |number: usize| (log[number].at_s - start_s - intended_s(number)).max(0.0);
    let mut times: Vec<f64> =
        (0..log.len()).map(|number| if number < stalled { 0.0 } else { waited_s(number) * 1e3 }).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn percentile(sorted: &[f64], percentile: f64) -> f64 {
    let rank = (percentile / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank.min(sorted.len()) - 1]
}

fn wall_clock_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

fn assert_close(what: &str, measured_ms: f64, expected_ms: f64, more_ms: f64) {
    let tolerance = TOLERANCE_MS + LOG_RESOLUTION_MS + more_ms + expected_ms * BUCKET;
    let off = (measured_ms - expected_ms).abs();
    println!("{what}: {measured_ms:.2} ms, expected {expected_ms:.2} ms, off by {off:.2} of {tolerance:.2}");
    assert!(off <= tolerance, "{what}: {measured_ms} ms, expected {expected_ms} ± {tolerance} ms");
}

fn response_ms(summary: &Summary, figure: &str) -> f64 {
    summary.number(&format!("latency.response_time.{figure}_us")) / 1e3
}

#[test]
fn response_time_shows_a_stall_as_the_closed_form_says_and_service_time_hides_it() {
    let _place = machine::alone();
    let nginx = Nginx::start();
    let mut running = run(&plan()).target(&nginx.url()).start();
    running.until("5 s of load", secs(20), || nginx.served_so_far() >= 5 * RATE_PER_S as usize);
    let frozen = Instant::now();
    nginx.freeze();
    std::thread::sleep(STALL);
    let thawed_s = wall_clock_s();
    nginx.thaw();
    let stood_still_ms = frozen.elapsed().as_secs_f64() * 1e3;
    let ended = running.ends();
    let (summary, log) = (ended.summary(), nginx.stop());
    summary.expect_whole().expect_all_ok(RATE_PER_S * RUN_S);
    assert_eq!(log.len() as u64, RATE_PER_S * RUN_S);

    let expected = expected(&log, thawed_s);
    for (figure, at) in [("p50", 50.0), ("p90", 90.0), ("p95", 95.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)] {
        assert_close(figure, response_ms(&summary, figure), percentile(&expected, at), 0.0);
    }
    // The longest wait is the stall, less at most the time to the next arrival,
    // more by what the signal took to have an effect.
    let woken = log.iter().find(|served| served.at_s >= thawed_s - LOG_RESOLUTION_MS / 1e3).expect("served again");
    let to_wake_ms = (woken.at_s - thawed_s).max(0.0) * 1e3;
    let between_arrivals_ms = 1e3 / RATE_PER_S as f64;
    assert_close("stall", response_ms(&summary, "max"), stood_still_ms, to_wake_ms + between_arrivals_ms);

    // One request was with the server; the thousand behind it were not sent yet.
    let service = hlog::sum_of(&ended.file("intervals.hlog"), "service_time");
    let stalled_in_service = service.count_between(1_000_000, service.high());
    assert_eq!(stalled_in_service, 1, "requests whose service time shows the stall");
    let (service_p99, response_p99) = (service.value_at_quantile(0.99), response_ms(&summary, "p99") * 1e3);
    assert!((service_p99 as f64) < response_p99 / 10.0, "service p99 {service_p99} µs, response p99 {response_p99} µs");
    let warnings = summary.texts("warnings").join("\n");
    assert!(warnings.contains("requests waited before they were sent"), "{warnings}");
    assert!(ended.stderr.contains("requests waited before"), "people are told, too:\n{}", ended.stderr);
}
