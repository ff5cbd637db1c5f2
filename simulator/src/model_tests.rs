//! Laws of the model server, in simulated time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Arrival {
    after_us: u64,
    work: Work,
    abandons: bool,
}

fn any_params() -> impl Strategy<Value = ModelParams> {
    (1..6u32, 0..6u32, 100.0..50_000.0f64, 1..600u32, 0.5..20.0f64, 0.0..3.0f64).prop_map(
        |(capacity, queue_limit, prefill_tokens_per_s, prefill_chunk_tokens, step_ms, step_ms_per_sequence)| {
            ModelParams {
                capacity,
                queue_limit,
                prefill_tokens_per_s,
                prefill_chunk_tokens,
                step_ms,
                step_ms_per_sequence,
            }
        },
    )
}

fn any_arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = (0..40_000u64, 0..2_000u32, 0..40u32, prop::bool::weighted(0.2)).prop_map(
        |(after_us, prompt_tokens, completion_tokens, abandons)| Arrival {
            after_us,
            work: Work { prompt_tokens, completion_tokens },
            abandons,
        },
    );
    prop::collection::vec(arrival, 1..60)
}

proptest! {
    /// Every admitted request gets all its tokens, in order, unless it went
    /// away; the refused get none; the batch and the queue keep their bounds.
    #[test]
    fn every_admitted_request_finishes_and_no_bound_is_passed(
        params in any_params(), arrivals in any_arrivals()
    ) {
        let mut server = ModelServer::new(params.clone());
        let mut now_us = 0;
        let mut tokens = Vec::new();
        let mut admitted = BTreeMap::new();
        let mut gone = BTreeSet::new();
        for (id, arrival) in arrivals.iter().enumerate() {
            let id = id as u64;
            now_us += arrival.after_us;
            tokens.extend(server.advance(now_us));
            match server.arrive(now_us, id, arrival.work) {
                Admission::Refused { retry_after_us } => {
                    prop_assert!(retry_after_us > 0);
                    prop_assert_eq!(server.queued(), params.queue_limit as usize);
                    prop_assert_eq!(server.in_service(), params.capacity as usize);
                }
                Admission::Running | Admission::Queued { .. } => {
                    admitted.insert(id, arrival.work.completion_tokens.max(1));
                }
            }
            prop_assert!(server.in_service() <= params.capacity as usize);
            prop_assert!(server.queued() <= params.queue_limit as usize);
            if arrival.abandons && server.abandon(id) {
                gone.insert(id);
            }
        }
        while let Some(next_us) = server.next_us() {
            tokens.extend(server.advance(next_us));
            prop_assert!(server.in_service() <= params.capacity as usize);
        }
        prop_assert_eq!((server.in_service(), server.queued()), (0, 0));
        prop_assert!(tokens.is_sorted_by_key(|token| token.at_us));
        let mut produced: BTreeMap<u64, u32> = BTreeMap::new();
        for token in tokens {
            let so_far = produced.entry(token.id).or_default();
            prop_assert_eq!(token.index, *so_far);
            *so_far += 1;
            prop_assert_eq!(token.last, *so_far == admitted[&token.id]);
        }
        for (id, wanted) in admitted {
            if !gone.contains(&id) {
                prop_assert_eq!(produced.get(&id), Some(&wanted));
            }
        }
    }

    /// However time is cut into calls, the same tokens come at the same times.
    #[test]
    fn the_answer_does_not_depend_on_how_often_it_is_asked(
        params in any_params(), work in prop::collection::vec((1..500u32, 1..30u32), 1..10), cut_us in 1..9_000u64
    ) {
        let loaded = || {
            let mut server = ModelServer::new(params.clone());
            for (id, (prompt_tokens, completion_tokens)) in work.iter().enumerate() {
                server.arrive(0, id as u64, Work { prompt_tokens: *prompt_tokens, completion_tokens: *completion_tokens });
            }
            server
        };
        let whole = loaded().advance(u64::MAX / 2);
        let mut server = loaded();
        let mut pieces = Vec::new();
        let mut now_us = 0;
        while server.next_us().is_some() {
            now_us += cut_us;
            pieces.extend(server.advance(now_us));
        }
        prop_assert_eq!(whole, pieces);
    }

    /// More requests at once never mean an earlier first token, on average.
    #[test]
    fn time_to_first_token_never_falls_with_load(
        params in any_params(), prompt_tokens in 1..500u32, completion_tokens in 1..30u32
    ) {
        let params = ModelParams { queue_limit: 100, ..params };
        let work = Work { prompt_tokens, completion_tokens };
        let mut before_us = 0.0;
        for together in 1..20u64 {
            let mut server = ModelServer::new(params.clone());
            for id in 0..together {
                server.arrive(0, id, work);
            }
            let first = server.advance(u64::MAX / 2).into_iter().filter(|token| token.index == 0);
            let mean_us = first.map(|token| token.at_us as f64).sum::<f64>() / together as f64;
            prop_assert!(mean_us + 1.0 >= before_us, "{together} together: {mean_us} µs after {before_us} µs");
            before_us = mean_us;
        }
    }
}

/// Tokens per second with `users` who each send their next request when the last is answered.
fn closed_loop(params: &ModelParams, users: u64) -> (f64, f64) {
    let work = Work { prompt_tokens: 50, completion_tokens: 40 };
    let mut server = ModelServer::new(params.clone());
    let mut sent_us = vec![0; users as usize];
    for user in 0..users {
        assert!(!matches!(server.arrive(0, user, work), Admission::Refused { .. }));
    }
    let (mut tokens, mut ttft_us, mut first) = (0u64, 0u64, 0u64);
    while let Some(now_us) = server.next_us().filter(|next_us| *next_us < 60_000_000) {
        for token in server.advance(now_us) {
            tokens += 1;
            if token.index == 0 {
                ttft_us += now_us - sent_us[token.id as usize];
                first += 1;
            }
            if token.last {
                sent_us[token.id as usize] = now_us;
                server.arrive(now_us, token.id, work);
            }
        }
    }
    (tokens as f64 / 60.0, ttft_us as f64 / first as f64 / 1e3)
}

#[test]
fn throughput_levels_off_while_time_to_first_token_explodes() {
    let params = ModelParams { capacity: 16, queue_limit: 200, ..ModelParams::default() };
    let (alone, ttft_alone_ms) = closed_loop(&params, 1);
    let (full, ttft_full_ms) = closed_loop(&params, 16);
    let (beyond, ttft_beyond_ms) = closed_loop(&params, 64);
    assert!(full > alone * 5.0, "a batch serves more: {alone} then {full} tokens/s");
    assert!((beyond / full - 1.0).abs() < 0.1, "but no more than it holds: {full} then {beyond} tokens/s");
    assert!(full / 16.0 < alone, "each request slows down in company");
    assert!(ttft_full_ms > ttft_alone_ms && ttft_beyond_ms > ttft_full_ms * 5.0, "{ttft_full_ms} {ttft_beyond_ms}");
}

#[test]
fn a_lone_request_takes_prefill_then_one_step_a_token() {
    let params =
        ModelParams { step_ms: 10.0, step_ms_per_sequence: 1.0, prefill_tokens_per_s: 1_000.0, ..Default::default() };
    let mut server = ModelServer::new(params);
    server.arrive(5, 1, Work { prompt_tokens: 100, completion_tokens: 3 });
    let at: Vec<u64> = server.advance(1_000_000).iter().map(|token| token.at_us).collect();
    assert_eq!(at, [110_005, 121_005, 132_005]);
}
