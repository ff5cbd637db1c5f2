//! The closed model: when each user is at work.

use super::Curve;
use crate::plan::Phase;

/// One stretch in which a user loops, in nanoseconds after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSpan {
    pub start_ns: u64,
    pub end_ns: u64,
}

/// When the fleet's user `number` (from 0) is at work: while the level stands
/// above its number. In order; neighbours are joined.
pub fn user_spans(phases: &[Phase], number: u64) -> Vec<UserSpan> {
    let mut spans: Vec<UserSpan> = Vec::new();
    for (start_s, end_s, from, to) in Curve::new(phases).stretches() {
        let Some((begin_s, finish_s)) = above(number as f64, start_s, end_s, from, to) else { continue };
        let span = UserSpan { start_ns: (begin_s * 1e9).round() as u64, end_ns: (finish_s * 1e9).round() as u64 };
        match spans.last_mut() {
            Some(last) if last.end_ns >= span.start_ns => last.end_ns = span.end_ns,
            _ if span.end_ns > span.start_ns => spans.push(span),
            _ => {}
        }
    }
    spans
}

/// The part of a straight stretch that lies above `level`.
fn above(level: f64, start_s: f64, end_s: f64, from: f64, to: f64) -> Option<(f64, f64)> {
    let crossing = || start_s + (level - from) / (to - from) * (end_s - start_s);
    match (from > level, to > level) {
        (true, true) => Some((start_s, end_s)),
        (true, false) => Some((start_s, crossing())),
        (false, true) => Some((crossing(), end_s)),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PhaseKind;
    use proptest::prelude::*;
    use std::time::Duration;

    fn phase(from: f64, to: f64, seconds: f64) -> Phase {
        Phase { name: "p".into(), kind: PhaseKind::Hold, from, to, duration: Duration::from_secs_f64(seconds) }
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn users_of_a_ramp_start_evenly_and_stay() {
        let phases = [phase(0.0, 100.0, 30.0), phase(100.0, 100.0, 300.0)];
        assert_eq!(user_spans(&phases, 0), [UserSpan { start_ns: 0, end_ns: 330 * S }]);
        assert_eq!(user_spans(&phases, 50), [UserSpan { start_ns: 15 * S, end_ns: 330 * S }]);
        assert!(user_spans(&phases, 100).is_empty());
    }

    #[test]
    fn a_user_rests_through_a_pause_and_comes_back() {
        let phases = [phase(5.0, 5.0, 2.0), phase(0.0, 0.0, 1.0), phase(3.0, 3.0, 2.0)];
        assert_eq!(
            user_spans(&phases, 2),
            [UserSpan { start_ns: 0, end_ns: 2 * S }, UserSpan { start_ns: 3 * S, end_ns: 5 * S }]
        );
        assert_eq!(user_spans(&phases, 4), [UserSpan { start_ns: 0, end_ns: 2 * S }]);
    }

    proptest! {
        /// At any instant, as many users are at work as the level says.
        #[test]
        fn the_users_at_work_are_the_level(stretches in prop::collection::vec((0u32..20, 0u32..20, 1u32..6), 1..5), at in 0.0..1.0f64) {
            let phases: Vec<Phase> = stretches.iter().map(|&(from, to, s)| phase(from.into(), to.into(), s.into())).collect();
            let curve = Curve::new(&phases);
            let at_s = at * curve.end_s();
            let level = curve.level_at(at_s);
            let at_ns = (at_s * 1e9) as u64;
            let working = (0..20).filter(|&user| user_spans(&phases, user).iter().any(|span| (span.start_ns..span.end_ns).contains(&at_ns))).count();
            prop_assert!((working as f64 - level).abs() <= 1.0, "{working} at work, level {level}");
        }
    }
}
