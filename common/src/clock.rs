//! Where another machine's monotonic clock stands against ours, and how well we know it.
//!
//! Four-timestamp exchanges (RFC 5905 §8): the one with the smallest round trip
//! bounds the error best, since the offset can be wrong by half of it at most.

/// One exchange: sent and received on our clock (`t0`, `t3`), received and
/// answered on theirs (`t1`, `t2`). Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub t0_ns: u64,
    pub t1_ns: u64,
    pub t2_ns: u64,
    pub t3_ns: u64,
}

impl Exchange {
    fn round_trip_ns(self) -> u64 {
        self.t3_ns.saturating_sub(self.t0_ns).saturating_sub(self.t2_ns.saturating_sub(self.t1_ns))
    }

    fn offset_ns(self) -> i64 {
        let out = i128::from(self.t1_ns) - i128::from(self.t0_ns);
        let back = i128::from(self.t2_ns) - i128::from(self.t3_ns);
        ((out + back) / 2) as i64
    }
}

/// What all exchanges so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockEstimate {
    /// Their clock minus ours.
    pub offset_ns: i64,
    /// The offset is right within this.
    pub bound_ns: u64,
    pub worst_round_trip_ns: u64,
    pub exchanges: u32,
}

impl ClockEstimate {
    pub fn first(exchange: Exchange) -> Self {
        let round_trip_ns = exchange.round_trip_ns();
        Self {
            offset_ns: exchange.offset_ns(),
            bound_ns: round_trip_ns.div_ceil(2),
            worst_round_trip_ns: round_trip_ns,
            exchanges: 1,
        }
    }

    pub fn observe(&mut self, exchange: Exchange) {
        let one = Self::first(exchange);
        if one.bound_ns < self.bound_ns {
            (self.offset_ns, self.bound_ns) = (one.offset_ns, one.bound_ns);
        }
        self.worst_round_trip_ns = self.worst_round_trip_ns.max(one.worst_round_trip_ns);
        self.exchanges += 1;
    }

    /// An instant on their clock, on ours.
    pub fn to_ours(&self, theirs_ns: u64) -> u64 {
        (i128::from(theirs_ns) - i128::from(self.offset_ns)).max(0) as u64
    }

    /// An instant on our clock, on theirs.
    pub fn to_theirs(&self, ours_ns: u64) -> u64 {
        (i128::from(ours_ns) + i128::from(self.offset_ns)).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However unequal the two ways are, the true offset lies within the bound.
        #[test]
        fn the_bound_holds(offset in -1_000_000_000i64..1_000_000_000, ways in prop::collection::vec((0u64..200_000_000, 0u64..200_000_000, 0u64..1_000_000), 8..20)) {
            let start = 10_000_000_000u64;
            let theirs = |ours: u64| (ours as i64 + offset) as u64;
            let exchanges = ways.iter().map(|&(out, back, work)| Exchange {
                t0_ns: start, t1_ns: theirs(start + out), t2_ns: theirs(start + out + work), t3_ns: start + out + work + back,
            });
            let estimate = exchanges.fold(None, |so_far: Option<ClockEstimate>, exchange| match so_far {
                None => Some(ClockEstimate::first(exchange)),
                Some(mut estimate) => { estimate.observe(exchange); Some(estimate) }
            }).unwrap();
            prop_assert!(estimate.offset_ns.abs_diff(offset) <= estimate.bound_ns + 1);
            prop_assert_eq!(estimate.to_theirs(estimate.to_ours(start)), start);
        }
    }
}
