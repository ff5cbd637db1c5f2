//! One way of a link, decided: which frame arrives, and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a frame meets on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// From the last bit sent to the last bit arrived.
    pub delay: Duration,
    /// Bits a second; `None` takes no time.
    pub rate_bits: Option<u64>,
    /// The share of frames that never arrive, 0 to 1.
    pub loss: f64,
    /// Nothing arrives.
    pub cut: bool,
}

/// What happened to frames so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub offered: u64,
    pub delivered: u64,
    pub lost: u64,
    pub offered_bytes: u64,
    pub delivered_bytes: u64,
}

/// Frames that wait longer than this to be sent are dropped, as routers do.
const LONGEST_QUEUE: Duration = Duration::from_secs(1);

/// One way of a link.
pub(super) struct Line {
    pub conditions: Conditions,
    pub counts: Counts,
    /// When the last bit of the last frame has been sent.
    free_at: Instant,
    /// In the order of arrival.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    dice: u64,
}

impl Line {
    pub fn new(conditions: Conditions, now: Instant) -> Self {
        let (counts, under_way) = (Counts::default(), VecDeque::new());
        Self { conditions, counts, free_at: now, under_way, dice: 0x5EED }
    }

    /// A frame is to be sent.
    pub fn offer(&mut self, frame: &[u8], now: Instant) {
        self.counts.offered += 1;
        self.counts.offered_bytes += frame.len() as u64;
        let begins = self.free_at.max(now);
        let queue_is_full = begins - now > LONGEST_QUEUE;
        if self.conditions.cut || queue_is_full || self.is_unlucky() {
            self.counts.lost += 1;
            return;
        }
        self.free_at = begins + self.time_to_send(frame.len());
        let arrives = self.free_at + self.conditions.delay;
        // A delay made shorter lets nobody overtake: reordering is not what it is for.
        let arrives = self.under_way.back().map_or(arrives, |(last, _)| arrives.max(*last));
        self.under_way.push_back((arrives, frame.to_vec()));
    }

    /// The next frame that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.next_arrival().filter(|at| *at <= now)?;
        let (_, frame) = self.under_way.pop_front()?;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += frame.len() as u64;
        Some(frame)
    }

    pub fn next_arrival(&self) -> Option<Instant> {
        self.under_way.front().map(|(at, _)| *at)
    }

    fn time_to_send(&self, bytes: usize) -> Duration {
        let nanoseconds = |rate: u64| (bytes as u64 * 8).saturating_mul(1_000_000_000) / rate.max(1);
        Duration::from_nanos(self.conditions.rate_bits.map_or(0, nanoseconds))
    }

    /// Thrown with the same dice in every run.
    fn is_unlucky(&mut self) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (self.dice >> 11) as f64 / (1u64 << 53) as f64;
        uniform < self.conditions.loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn line(conditions: Conditions) -> (Line, Instant) {
        let now = Instant::now();
        (Line::new(conditions, now), now)
    }

    #[test]
    fn a_frame_arrives_after_the_delay_and_not_before() {
        let (mut line, now) = line(Conditions { delay: 10 * MS, ..Conditions::default() });
        line.offer(b"frame", now);
        assert_eq!(line.arrived(now + 10 * MS - Duration::from_nanos(1)), None);
        assert_eq!(line.arrived(now + 10 * MS).as_deref(), Some(&b"frame"[..]));
    }

    #[test]
    fn frames_wait_for_each_other_on_a_slow_line_and_the_queue_is_bounded() {
        let (mut line, now) = line(Conditions { rate_bits: Some(80_000), ..Conditions::default() });
        for _ in 0..100 {
            line.offer(&[0; 1_000], now);
        }
        // 100 ms a frame: those that would begin more than a second later are lost.
        assert_eq!(line.counts.lost, 89);
        assert!(line.arrived(now + 99 * MS).is_none());
        assert!(line.arrived(now + 100 * MS).is_some());
        assert!(line.arrived(now + 199 * MS).is_none());
        assert!(line.arrived(now + 200 * MS).is_some());
    }

    #[test]
    fn a_cut_line_loses_what_is_sent_then_and_nothing_before_or_after() {
        let (mut line, now) = line(Conditions { delay: MS, ..Conditions::default() });
        line.offer(b"before", now);
        line.conditions.cut = true;
        line.offer(b"during", now);
        line.conditions.cut = false;
        line.offer(b"after", now);
        let arrived: Vec<_> = std::iter::from_fn(|| line.arrived(now + MS)).collect();
        assert_eq!(arrived, [b"before".to_vec(), b"after".to_vec()]);
        assert_eq!((line.counts.offered, line.counts.delivered, line.counts.lost), (3, 2, 1));
    }

    #[test]
    fn a_shorter_delay_lets_no_frame_overtake() {
        let (mut line, now) = line(Conditions { delay: 50 * MS, ..Conditions::default() });
        line.offer(b"first", now);
        line.conditions.delay = MS;
        line.offer(b"second", now);
        assert_eq!(line.arrived(now + MS), None);
        assert_eq!(line.arrived(now + 50 * MS).as_deref(), Some(&b"first"[..]));
        assert_eq!(line.arrived(now + 50 * MS).as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn about_the_given_share_of_frames_is_lost() {
        let (mut line, now) = line(Conditions { loss: 0.2, ..Conditions::default() });
        for _ in 0..10_000 {
            line.offer(b"x", now);
        }
        assert!((1_800..2_200).contains(&line.counts.lost), "{:?}", line.counts);
    }
}
