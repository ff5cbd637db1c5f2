//! A worker against a real socket: whatever happens, every request is accounted for.

use super::*;
use crate::ceiling::Ceilings;
use squall_common::interval::SkipReason;
use squall_common::plan::file::{PlanSource, load};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Answers every request after `delay`; for ever, if that is `None`, with silence.
fn server(delay: Option<Duration>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(stream, delay));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, delay: Option<Duration>) {
    let mut request = [0u8; 4096];
    while matches!(stream.read(&mut request), Ok(read) if read > 0) {
        match delay {
            Some(delay) => std::thread::sleep(delay),
            None => std::thread::park(),
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// What one worker told of a plan that it carried alone.
struct Told {
    end: WorkerEnd,
    snapshots: Vec<IntervalSnapshot>,
}

impl Told {
    fn skipped(&self, reason: SkipReason) -> u64 {
        self.snapshots
            .iter()
            .flat_map(|snapshot| snapshot.flows.values())
            .map(|flow| flow.skipped[reason as usize])
            .sum()
    }

    fn merged(&self) -> Ledger {
        let mut sum = Ledger::default();
        for snapshot in &self.snapshots {
            snapshot.flows.values().for_each(|flow| sum.add_flow(flow));
            snapshot.series.values().for_each(|series| sum.add_series(series));
        }
        sum
    }

    /// The laws of the ledger, and the totals against the snapshots.
    fn assert_accounted(&self) {
        assert_eq!(self.end.totals.imbalances(), Vec::<String>::new());
        assert_eq!(self.end.totals.differences(&self.merged()), Vec::<String>::new());
    }
}

fn prepared(plan: &str, address: SocketAddr, lease: Duration) -> Arc<Prepared> {
    prepared_below(plan, address, lease, Ceilings::default())
}

fn prepared_below(plan: &str, address: SocketAddr, lease: Duration, ceilings: Ceilings) -> Arc<Prepared> {
    let source = PlanSource {
        name: "plan.yaml".into(),
        text: plan.into(),
        files: Default::default(),
        overrides: vec![("target".into(), format!("http://{address}"))],
    };
    prepared_from(&source, lease, ceilings)
}

fn prepared_from(source: &PlanSource, lease: Duration, ceilings: Ceilings) -> Arc<Prepared> {
    let plan = Arc::new(load(source).unwrap_or_else(|problems| panic!("{problems}")).plan);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let targets = plan
        .targets
        .iter()
        .map(|target| runtime.block_on(TargetShared::prepare(target, &Arc::default())).unwrap())
        .collect();
    let secrets = Arc::new(Secrets::read(&plan.secrets, secrets_in_headers(&plan)).unwrap());
    let shares = vec![Share::whole(); plan.loads.len()];
    Arc::new(Prepared {
        compiled: CompiledPlan::new(&plan, &secrets).unwrap(),
        targets,
        budget: ceilings.judge(&plan, &shares).unwrap(),
        shares,
        tokens: runtime.block_on(Tokens::fetch(&secrets, &Arc::default())).unwrap(),
        secrets,
        prompts: Vec::new(),
        seed: plan.seed,
        flows: Arc::new(FlowTable::of(&plan)),
        lease_until_ns: AtomicU64::new(now_ns() + lease.as_nanos() as u64),
        sample_log: None,
        busy_poll_ns: 100_000,
        keeping: None,
        plan,
    })
}

/// Runs one worker; `stops` are sent so long after the start.
fn carry(prepared: Arc<Prepared>, stops: &[(Duration, StopKind)]) -> Told {
    let (orders, heard) = watch::channel(Orders { start_ns: Some(now_ns() + 20_000_000), ..Orders::default() });
    let (sender, mut receiver) = mpsc::channel(256);
    let worker = std::thread::spawn(move || run(prepared, Lane { index: 0, count: 1 }, heard, sender));
    for &(after, kind) in stops {
        std::thread::sleep(after);
        orders.send_modify(|orders| orders.stop = Some(kind));
    }
    let mut snapshots = Vec::new();
    loop {
        match receiver.blocking_recv().map(|(_, message)| message) {
            Some(FromWorker::Ready) => {}
            Some(FromWorker::Interval(snapshot)) => snapshots.push(snapshot),
            Some(FromWorker::Done(end)) => {
                worker.join().unwrap();
                return Told { end, snapshots };
            }
            other => panic!("the worker ended with {other:?}"),
        }
    }
}

const LONG: Duration = Duration::from_secs(60);
const QUICK: Option<Duration> = Some(Duration::from_millis(1));

#[test]
fn every_arrival_is_sent_and_answered() {
    let told = carry(prepared("{url: /, rate: 200/s, hold_for: 1500ms}", server(QUICK), LONG), &[]);
    told.assert_accounted();
    let totals = told.end.totals;
    assert_eq!((totals.planned, totals.sent, totals.completed), (300, 300, 300));
    let intervals: Vec<u32> = told.snapshots.iter().map(|snapshot| snapshot.first_interval).collect();
    assert!(intervals.windows(2).all(|pair| pair[0] < pair[1]), "{intervals:?}");
}

#[test]
fn arrivals_beyond_max_in_flight_are_skipped_and_counted_when_the_plan_says_so() {
    let plan = "{target: http://x, load: {rate: 100/s, for: 1s, max_in_flight: {limit: 2, when_full: skip}}, \
                drain: 200ms, scenarios: {s: {get: /}}}";
    let told = carry(prepared(plan, server(None), LONG), &[]);
    told.assert_accounted();
    let totals = told.end.totals;
    assert_eq!((totals.planned, totals.sent, totals.cut_off), (100, 2, 2));
    assert_eq!(told.skipped(SkipReason::MaxInFlight), 98);
}

#[test]
fn arrivals_that_wait_when_the_drain_ends_are_skipped_and_counted() {
    let plan =
        "{target: http://x, load: {rate: 100/s, for: 1s, max_in_flight: 2}, drain: 200ms, scenarios: {s: {get: /}}}";
    let told = carry(prepared(plan, server(None), LONG), &[]);
    told.assert_accounted();
    assert_eq!((told.end.totals.planned, told.end.totals.cut_off), (100, 2));
    assert_eq!(told.skipped(SkipReason::Ended), 98);
}

#[test]
fn what_waits_for_a_connection_at_the_end_was_never_sent() {
    let plan = "{targets: {t: {url: http://x, connections: {max: 1}}}, load: {users: 5, for: 300ms}, drain: 200ms, \
                scenarios: {s: {get: /}}}";
    let told = carry(prepared(plan, server(None), LONG), &[]);
    told.assert_accounted();
    assert_eq!((told.end.totals.sent, told.end.totals.cut_off, told.skipped(SkipReason::Ended)), (1, 1, 4));
}

#[test]
fn a_graceful_stop_sends_nothing_new_and_finishes_what_is_under_way() {
    let slow = server(Some(Duration::from_millis(300)));
    let stop = [(Duration::from_millis(500), StopKind::Graceful)];
    let told = carry(prepared("{url: /, concurrency: 4, hold_for: 1m}", slow, LONG), &stop);
    told.assert_accounted();
    let totals = told.end.totals;
    assert_eq!(totals.cut_off, 0);
    assert!(totals.completed >= 4 && totals.completed == totals.sent, "{totals:?}");
}

#[test]
fn a_stop_now_cuts_off_and_counts_it() {
    let stop = [(Duration::from_millis(200), StopKind::Graceful), (Duration::from_millis(200), StopKind::Now)];
    let told = carry(prepared("{url: /, concurrency: 3, hold_for: 1m}", server(None), LONG), &stop);
    told.assert_accounted();
    assert_eq!((told.end.totals.sent, told.end.totals.cut_off), (3, 3));
}

#[test]
fn load_ends_with_its_lease() {
    let prepared = prepared("{url: /, rate: 100/s, hold_for: 1m}", server(QUICK), Duration::from_millis(700));
    let told = carry(prepared, &[]);
    told.assert_accounted();
    assert!(told.end.lease_ended);
    assert!((20..=80).contains(&told.end.totals.planned), "{:?}", told.end.totals);
}

#[test]
fn iterations_are_counted_to_the_last_even_when_time_ends_them() {
    let plan = "{target: http://x, load: {users: 2, iterations: 50, at_most: 300ms}, scenarios: {s: {get: /}}}";
    let told = carry(prepared(plan, server(Some(Duration::from_millis(50))), LONG), &[]);
    told.assert_accounted();
    assert_eq!(told.end.totals.planned, 50);
    assert!(told.skipped(SkipReason::Ended) >= 30, "{:?}", told.end.totals);
}

#[test]
fn a_unique_feeder_that_is_used_up_skips_and_counts() {
    let plan = "{target: http://x, load: {users: 1, iterations: 5}, feeders: {f: {rows: [{id: 1}, {id: 2}], order: unique}}, \
                scenarios: {s: {get: '/{{f.id}}'}}}";
    let told = carry(prepared(plan, server(QUICK), LONG), &[]);
    told.assert_accounted();
    assert_eq!((told.end.totals.sent, told.skipped(SkipReason::FeederExhausted)), (2, 3));
}

#[test]
fn a_failed_step_ends_its_iteration_and_the_rest_counts_as_skipped() {
    let plan = "{target: http://x, load: {users: 1, iterations: 3}, scenarios: {s: {steps: [\
                {get: /a, checks: [{status: 404}]}, {get: /b}, {get: /c}]}}}";
    let told = carry(prepared(plan, server(QUICK), LONG), &[]);
    told.assert_accounted();
    assert_eq!((told.end.totals.planned, told.end.totals.sent), (9, 3));
    assert_eq!(told.skipped(SkipReason::EarlierStep), 6);
}

#[test]
fn users_that_find_nobody_there_leave_their_worker_alive() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = carry(prepared("{url: /, concurrency: 3, hold_for: 500ms}", nobody, LONG), &[]);
    told.assert_accounted();
    let totals = told.end.totals;
    assert_eq!(totals.failed, totals.sent);
    assert!((3..=300).contains(&totals.sent), "{totals:?}");
}

#[test]
fn users_whose_feeder_is_used_up_end_instead_of_spinning() {
    let plan = "{target: http://x, load: {users: 2, for: 1s}, feeders: {f: {rows: [{id: 1}, {id: 2}], order: unique}}, \
                scenarios: {s: {get: '/{{f.id}}'}}}";
    let told = carry(prepared(plan, server(QUICK), LONG), &[]);
    told.assert_accounted();
    assert_eq!((told.end.totals.sent, told.skipped(SkipReason::FeederExhausted)), (2, 2));
}

#[test]
fn a_user_still_busy_when_its_next_span_begins_is_ready_when_it_is_free() {
    let plan = "{target: http://x, load: {phases: [{hold: 1, for: 100ms}, {pause: 100ms}, {hold: 1, for: 2s}]}, \
                scenarios: {s: {get: /}}}";
    let told = carry(prepared(plan, server(Some(Duration::from_millis(700))), LONG), &[]);
    told.assert_accounted();
    let worst_lag_us = told
        .snapshots
        .iter()
        .flat_map(|snapshot| snapshot.series.values())
        .filter_map(|series| series.latencies(squall_common::plan::Metric::DispatchLag))
        .map(squall_common::histogram::Latencies::max_us)
        .max()
        .unwrap();
    assert!(worst_lag_us < 300_000, "{worst_lag_us} us of lag where nobody waited");
}

#[test]
fn a_failed_last_step_is_no_completed_iteration() {
    let plan = "{target: http://x, load: {users: 1, iterations: 3}, scenarios: {s: {get: /, checks: [{status: 404}]}}}";
    let told = carry(prepared(plan, server(QUICK), LONG), &[]);
    let flows = told.snapshots.iter().flat_map(|snapshot| snapshot.flows.values());
    let iterations =
        flows.fold((0, 0), |sum, flow| (sum.0 + flow.iterations_started, sum.1 + flow.iterations_completed));
    assert_eq!(iterations, (3, 0));
}

/// What the ceilings said of a plan against a server that answers at once.
fn held(plan: &str, ceilings: Ceilings) -> Told {
    let told = carry(prepared_below(plan, server(Some(Duration::ZERO)), LONG, ceilings), &[]);
    told.assert_accounted();
    told
}

fn limits(told: &Told) -> Vec<&str> {
    told.snapshots.iter().filter_map(|snapshot| snapshot.health.generator_limited.as_deref()).collect()
}

#[test]
fn users_faster_than_the_ceiling_are_held_to_it_and_the_result_says_so() {
    let ceilings = Ceilings { max_rate: Some(50.0), ..Ceilings::default() };
    let told = held("{url: /, concurrency: 4, hold_for: 2s}", ceilings);
    let sent = told.end.totals.sent;
    // A tenth of a second may be used ahead, and each user may end one request of its last turn.
    assert!((50..=110).contains(&sent), "{sent}");
    assert!(limits(&told).contains(&"the agent's ceiling `--max-rate 50/s` held requests back"), "{:?}", limits(&told));
    assert!(told.end.errors.iter().any(|line| line.contains("--max-rate 50/s")), "{:?}", told.end.errors);
}

#[test]
fn bytes_above_the_ceiling_hold_arrivals_back_and_none_is_lost() {
    // A request and its answer are about 100 bytes: 50 of them in a second are more than 2 kB.
    let ceilings = Ceilings { max_bytes_per_s: Some(2_000), ..Ceilings::default() };
    let told = held("{url: /, rate: 50/s, hold_for: 2s, drain: 30s}", ceilings);
    let totals = told.end.totals;
    assert_eq!((totals.planned, totals.sent), (100, 100));
    assert!(limits(&told).iter().any(|line| line.contains("--max-bytes-per-s")), "{:?}", limits(&told));
}

#[test]
fn a_load_below_its_ceilings_is_not_marked() {
    let ceilings = Ceilings { max_rate: Some(100.0), max_connections: Some(50), max_bytes_per_s: Some(1 << 30) };
    let told = held("{url: /, rate: 100/s, hold_for: 1s}", ceilings);
    assert!(told.end.errors.is_empty(), "{:?}", told.end.errors);
    assert!(!limits(&told).iter().any(|line| line.contains("ceiling")), "{:?}", limits(&told));
}

#[test]
fn values_land_in_the_strings_of_a_json_body_whatever_they_hold() {
    let (sender, bodies) = std::sync::mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut buffer = [0u8; 4096];
            while let Ok(read) = stream.read(&mut buffer) {
                request.extend_from_slice(&buffer[..read]);
                let Some(head) = memchr::memmem::find(&request, b"\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&request[head + 4..]) {
                    sender.send(body).unwrap();
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    break;
                }
            }
        }
    });
    let plan = "
feeders: {rows: rows.csv}
scenarios:
  s:
    post: /
    json: {text: 'a {{rows.value}} b', id: '{{$randomInt 7 7}}'}
    load: {users: 1, iterations: 1}
";
    let value = "quote \" back \\ slash\nline";
    let source = PlanSource {
        name: "plan.yaml".into(),
        text: plan.into(),
        files: [("rows.csv".to_owned(), bytes::Bytes::from(format!("value\n\"{}\"\n", value.replace('"', "\"\""))))]
            .into(),
        overrides: vec![("target".into(), format!("http://{address}"))],
    };
    let told = carry(prepared_from(&source, LONG, Ceilings::default()), &[]);
    assert_eq!(told.end.totals.completed, 1);
    let body = bodies.recv_timeout(LONG).unwrap();
    assert_eq!(body, serde_json::json!({"text": format!("a {value} b"), "id": "7"}));
}
