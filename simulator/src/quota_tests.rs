//! Each algorithm in simulated time.

use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000;

fn quota(algorithm: QuotaAlgorithm, requests_per_min: u64, tokens_per_min: u64) -> Quota {
    Quota::new(Limits { algorithm, requests_per_min, tokens_per_min, slice_s: 0, burst_s: 60.0 })
}

fn refused(limit: &'static str, retry_after_us: u64) -> Result<(), Exceeded> {
    Err(Exceeded { limit, retry_after_us })
}

#[test]
fn a_fixed_window_refuses_beyond_its_minute_and_starts_again_with_the_next() {
    let mut quota = quota(QuotaAlgorithm::FixedWindow, 2, 100);
    assert_eq!(quota.take(0, 60), Ok(()));
    assert_eq!(quota.take(10 * S, 60), refused("token", 50 * S));
    assert_eq!(quota.take(10 * S, 40), Ok(()));
    assert_eq!(quota.take(60 * S - 1, 0), refused("call", 1));
    assert_eq!(quota.take(60 * S, 100), Ok(()));
}

#[test]
fn a_sliding_window_frees_what_is_a_minute_old() {
    let mut quota = quota(QuotaAlgorithm::SlidingWindow, 10, 100);
    assert_eq!(quota.take(0, 60), Ok(()));
    assert_eq!(quota.take(50 * S, 40), Ok(()));
    assert_eq!(quota.take(55 * S, 30), refused("token", 5 * S));
    assert_eq!(quota.take(55 * S, 70), refused("token", 55 * S), "both must be gone");
    assert_eq!(quota.take(60 * S, 60), Ok(()));
}

#[test]
fn a_bucket_fills_all_the_time_and_holds_its_burst() {
    let limits = Limits {
        algorithm: QuotaAlgorithm::TokenBucket,
        requests_per_min: 600,
        tokens_per_min: 6_000,
        slice_s: 0,
        burst_s: 1.0,
    };
    let mut quota = Quota::new(limits);
    assert_eq!(quota.take(0, 100), Ok(()), "a second's worth");
    assert_eq!(quota.take(0, 50), refused("token", S / 2));
    assert_eq!(quota.take(S / 2, 50), Ok(()));
    assert_eq!(quota.take(30 * S, 101), refused("token", 60 * S), "it never holds that much");
}

#[test]
fn requests_are_judged_on_slices_too() {
    let limits = Limits {
        algorithm: QuotaAlgorithm::FixedWindow,
        requests_per_min: 120,
        tokens_per_min: 1_000,
        slice_s: 10,
        burst_s: 60.0,
    };
    let mut quota = Quota::new(limits);
    for _ in 0..20 {
        assert_eq!(quota.take(S, 1), Ok(()));
    }
    assert_eq!(quota.take(S, 1), refused("call", 9 * S));
    let standing = quota.standing(S);
    assert_eq!((standing.limit_requests, standing.remaining_requests, standing.remaining_tokens), (120, 0, 980));
    assert_eq!((standing.reset_requests_us, standing.reset_tokens_us), (9 * S, 59 * S));
    assert_eq!(quota.take(10 * S, 1), Ok(()));
}

proptest! {
    /// Whatever comes, no window of a minute passes the limit, and the wait it names is long enough.
    #[test]
    fn a_sliding_window_is_never_passed(asks in prop::collection::vec((0..20 * S, 1..60u64), 1..80)) {
        let mut quota = quota(QuotaAlgorithm::SlidingWindow, 5, 100);
        let (mut now_us, mut taken) = (0, Vec::new());
        for (after_us, tokens) in asks {
            now_us += after_us;
            if let Err(Exceeded { retry_after_us, limit }) = quota.take(now_us, tokens) {
                prop_assert!(retry_after_us <= MINUTE_US);
                now_us += retry_after_us;
                // The other limit may still say no.
                if let Err(again) = quota.take(now_us, tokens) {
                    prop_assert_ne!(again.limit, limit);
                    continue;
                }
            }
            taken.push((now_us, tokens));
            let window: Vec<_> = taken.iter().filter(|(at_us, _)| at_us + MINUTE_US > now_us).collect();
            prop_assert!(window.len() <= 5 && window.iter().map(|(_, tokens)| tokens).sum::<u64>() <= 100);
        }
    }
}
