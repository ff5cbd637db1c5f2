//! Plan × agents → shares, exactly: together the shares are the plan, nothing
//! is lost and nothing is sent twice, whatever the weights.
//!
//! Numbered things (arrivals, users, iterations) are dealt by their number in
//! the whole fleet, so a share can be computed anywhere from the weights alone
//! and a random value made for number 17 is the same on one agent or on forty.

use crate::plan::{Load, Region};
use crate::random::mix;
use std::sync::Arc;

/// Shares of a load finer than this are rounded to it.
const MAX_DENOMINATOR: u64 = 1 << 20;
/// Sets the draw inside a share apart from the one that made it.
const DRAWN_ANEW: u32 = 0x5eed_0a11;

/// The part of one load that one agent owns: `weights[index]` out of their sum.
///
/// A share may itself be split: then it is that part of the share it lies `within`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    weights: Arc<[u32]>,
    index: usize,
    within: Option<Arc<Share>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShare {
    #[error("share {index} of {len} weights does not exist")]
    NoSuchIndex { index: usize, len: usize },
    #[error("the weights of a load sum up to {sum}; 1 to {MAX_DENOMINATOR} can be split exactly")]
    Denominator { sum: u64 },
}

impl Share {
    pub fn new(weights: impl Into<Arc<[u32]>>, index: usize) -> Result<Self, InvalidShare> {
        let weights: Arc<[u32]> = weights.into();
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        if index >= weights.len() {
            return Err(InvalidShare::NoSuchIndex { index, len: weights.len() });
        }
        if sum == 0 || sum > MAX_DENOMINATOR {
            return Err(InvalidShare::Denominator { sum });
        }
        Ok(Self { weights, index, within: None })
    }

    /// The whole load on one agent.
    pub fn whole() -> Self {
        Self { weights: Arc::from([1]), index: 0, within: None }
    }

    /// The same part, of `whole` instead of the whole load.
    pub fn within(self, whole: Share) -> Self {
        Self { within: Some(Arc::new(whole)), ..self }
    }

    /// The share that this one is a part of, if not of the whole load.
    pub fn parent(&self) -> Option<&Share> {
        self.within.as_deref()
    }

    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn numerator(&self) -> u64 {
        u64::from(self.weights[self.index])
    }

    pub fn denominator(&self) -> u64 {
        self.weights.iter().map(|&weight| u64::from(weight)).sum()
    }

    /// The phase offset: the weights of the shares before this one.
    pub fn offset(&self) -> u64 {
        self.weights[..self.index].iter().map(|&weight| u64::from(weight)).sum()
    }

    /// This share's part of a fixed count, by largest remainder.
    pub fn count_of(&self, total: u64) -> u64 {
        let total = self.within.as_ref().map_or(total, |whole| whole.count_of(total));
        apportion(total, &self.weights)[self.index]
    }

    /// This share's part of a fixed number of iterations that `users` users of the
    /// fleet run: the first fleet-wide number and how many, by its users.
    pub fn iterations_of(&self, iterations: u64, users: u32) -> (u64, u64) {
        let users: Vec<u32> =
            apportion(users.into(), &self.weights).into_iter().map(|users| users.min(u32::MAX.into()) as u32).collect();
        let counts = apportion(iterations, &users);
        (counts[..self.index].iter().sum(), counts[self.index])
    }

    /// Fleet-wide numbers of this share's users, out of `total`, in order.
    ///
    /// Users of different agents alternate as their counts allow, so that a
    /// ramp of users rises on all agents together.
    pub fn user_numbers(&self, total: u64) -> Vec<u64> {
        if let Some(whole) = &self.within {
            let all = whole.user_numbers(total);
            let part = Self { within: None, ..self.clone() };
            return part.user_numbers(all.len() as u64).into_iter().map(|place| all[place as usize]).collect();
        }
        let counts = apportion(total, &self.weights);
        let own = u128::from(counts[self.index]);
        (0..counts[self.index])
            .map(|user| {
                // This user stands at (2·user+1)/(2·own) of the fleet's length; its
                // number is how many stand before it, ties going to the lower index.
                let place = 2 * u128::from(user) + 1;
                let before = |(index, &count): (usize, &u64)| {
                    if index == self.index {
                        return user;
                    }
                    let count = u128::from(count);
                    // Users k of that share with (2k+1)/(2·count) < place/(2·own), or equal for a lower index.
                    let reach = place * count;
                    let counted = if index < self.index {
                        (reach + own) / (2 * own)
                    } else {
                        (reach + own).div_ceil(2 * own).saturating_sub(1)
                    };
                    counted.min(count) as u64
                };
                counts.iter().enumerate().map(before).sum()
            })
            .collect()
    }

    /// Which of the fleet's numbers `0, 1, 2, …` are this share's.
    pub fn deal(&self) -> Deal {
        let divisor = self.weights.iter().fold(0, |divisor, &weight| gcd(divisor, u64::from(weight)));
        let block = self.denominator() / divisor;
        let (offset, width) = (self.offset() / divisor, self.numerator() / divisor);
        let stride = spread_stride(block);
        let owned = (0..block).filter(|place| (offset..offset + width).contains(&(place * stride % block))).collect();
        Deal { block, owned, within: self.within.as_ref().map(|whole| Box::new(whole.deal())) }
    }

    /// Whether a point drawn uniformly from the 64-bit numbers falls to this
    /// share: independent thinning, under which a Poisson process stays one.
    pub fn owns_point(&self, point: u64) -> bool {
        let point = match &self.within {
            Some(whole) if !whole.owns_point(point) => return false,
            // Where it stands inside the other share must not decide again: it is drawn anew.
            Some(_) => mix(point, &[u64::from(DRAWN_ANEW)]),
            None => point,
        };
        let place = (u128::from(point) * u128::from(self.denominator())) >> 64;
        (u128::from(self.offset())..u128::from(self.offset() + self.numerator())).contains(&place)
    }
}

/// A share's numbers, as a pattern that repeats: even over any stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    block: u64,
    owned: Vec<u64>,
    /// Numbers are dealt out of those of another deal.
    within: Option<Box<Deal>>,
}

impl Deal {
    /// The fleet-wide number of this share's `local`-th thing; `None` for an empty share.
    pub fn number_of(&self, local: u64) -> Option<u64> {
        let width = self.owned.len() as u64;
        let (blocks, place) = (local.checked_div(width)?, local % width);
        let number = blocks * self.block + self.owned[place as usize];
        self.within.as_ref().map_or(Some(number), |whole| whole.number_of(number))
    }

    /// How many of the numbers below `end` are this share's.
    pub fn count_below(&self, end: u64) -> u64 {
        let end = self.within.as_ref().map_or(end, |whole| whole.count_below(end));
        let (blocks, rest) = (end / self.block, end % self.block);
        blocks * self.owned.len() as u64 + self.owned.partition_point(|&place| place < rest) as u64
    }
}

/// A step through `0..block` that visits every place once and spreads
/// neighbours: the number coprime to `block` closest to its golden section.
fn spread_stride(block: u64) -> u64 {
    let golden = (block as f64 * 0.618_033_988_749_895).round() as u64;
    (0..=block)
        .flat_map(|away| [golden.saturating_sub(away), golden + away])
        .find(|&stride| stride >= 1 && gcd(stride, block) == 1)
        .unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Splits `total` by `weights`, by largest remainder (Hamilton's method): every
/// part is its exact quota rounded up or down, and the parts sum to `total`.
/// Equal remainders go to the lower index. All zero weights give all zeroes.
pub fn apportion(total: u64, weights: &[u32]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let exact = |&weight: &u32| u128::from(total) * u128::from(weight);
    let mut parts: Vec<u64> = weights.iter().map(|weight| (exact(weight) / sum) as u64).collect();
    let left = total - parts.iter().sum::<u64>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&index| (std::cmp::Reverse(exact(&weights[index]) % sum), index));
    for &index in by_remainder.iter().take(left as usize) {
        parts[index] += 1;
    }
    parts
}

/// Why a load cannot be carried by the agents at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotSplit {
    #[error(
        "load `{load}` is to come from region `{region}`, but no agent is there (agents are in: {present}); start one there, or change `from`"
    )]
    NoAgentInRegion { load: String, region: Region, present: String },
    #[error("no agent is there to carry the load")]
    NoAgents,
}

/// The weight of every agent in one load, agents given by their regions.
///
/// A region's weight is shared equally by its agents; agents in regions that
/// the load does not name get none.
pub fn agent_weights(load: &Load, agent_regions: &[Region]) -> Result<Vec<u32>, CannotSplit> {
    if agent_regions.is_empty() {
        return Err(CannotSplit::NoAgents);
    }
    if load.from.is_empty() {
        return Ok(vec![1; agent_regions.len()]);
    }
    let agents_in = |region: &Region| agent_regions.iter().filter(|&there| there == region).count() as u64;
    for (region, _) in &load.from {
        if agents_in(region) == 0 {
            let mut present: Vec<&str> = agent_regions.iter().map(Region::as_str).collect();
            present.sort_unstable();
            present.dedup();
            let present = present.join(", ");
            return Err(CannotSplit::NoAgentInRegion { load: load.name.clone(), region: region.clone(), present });
        }
    }
    // A common multiple of the agent counts makes every agent's weight whole.
    let common = load.from.iter().fold(1u64, |common, (region, _)| {
        let agents = agents_in(region);
        common / gcd(common, agents) * agents
    });
    let weight_of = |region: &Region| {
        let weight = load.from.iter().find(|(named, _)| named == region).map_or(0, |&(_, weight)| weight);
        if weight == 0 { 0 } else { u64::from(weight) * (common / agents_in(region)) }
    };
    let exact: Vec<u64> = agent_regions.iter().map(weight_of).collect();
    let divisor = exact.iter().fold(0, |divisor, &weight| gcd(divisor, weight)).max(1);
    let sum: u64 = exact.iter().sum::<u64>() / divisor;
    let scale = |weight: u64| {
        let reduced = weight / divisor;
        if sum <= MAX_DENOMINATOR {
            reduced as u32
        } else {
            (u128::from(reduced) * u128::from(MAX_DENOMINATOR / 2) / u128::from(sum)).max(u128::from(weight > 0)) as u32
        }
    };
    Ok(exact.into_iter().map(scale).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_weights() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(0u32..200, 1..12).prop_filter("some weight", |weights| weights.iter().sum::<u32>() > 0)
    }

    fn shares(weights: &[u32]) -> Vec<Share> {
        (0..weights.len()).map(|index| Share::new(weights, index).unwrap()).collect()
    }

    proptest! {
        /// Nothing lost, nothing sent twice: numbers.
        #[test]
        fn every_number_falls_to_exactly_one_share(weights in any_weights(), total in 0u64..3_000) {
            let mut dealt: Vec<u64> = shares(&weights).iter().flat_map(|share| {
                let deal = share.deal();
                (0..deal.count_below(total)).filter_map(|local| deal.number_of(local)).collect::<Vec<_>>()
            }).collect();
            dealt.sort_unstable();
            prop_assert_eq!(dealt, (0..total).collect::<Vec<_>>());
        }

        /// Nothing lost, nothing sent twice: users.
        #[test]
        fn every_user_falls_to_exactly_one_share(weights in any_weights(), total in 0u64..600) {
            let mut dealt: Vec<u64> = shares(&weights).iter().flat_map(|share| share.user_numbers(total)).collect();
            dealt.sort_unstable();
            prop_assert_eq!(dealt, (0..total).collect::<Vec<_>>());
        }

        /// Iterations go only where users are, and all of them go somewhere.
        #[test]
        fn shared_iterations_are_dealt_by_users(weights in any_weights(), iterations in 0u64..10_000, users in 1u32..50) {
            let mut next = 0;
            for share in shares(&weights) {
                let (first, count) = share.iterations_of(iterations, users);
                prop_assert_eq!(first, next);
                prop_assert!(count == 0 || share.count_of(users.into()) > 0);
                next += count;
            }
            prop_assert_eq!(next, iterations);
        }

        #[test]
        fn every_point_falls_to_exactly_one_share(weights in any_weights(), point in any::<u64>()) {
            prop_assert_eq!(shares(&weights).iter().filter(|share| share.owns_point(point)).count(), 1);
        }

        /// Nothing lost, nothing sent twice when a share is itself dealt out.
        #[test]
        fn the_parts_of_a_share_are_that_share(weights in any_weights(), parts in any_weights(), total in 0u64..1_000, point in any::<u64>()) {
            for whole in shares(&weights) {
                let within: Vec<Share> = shares(&parts).into_iter().map(|part| part.within(whole.clone())).collect();
                let numbers = |share: &Share| {
                    let deal = share.deal();
                    (0..deal.count_below(total)).filter_map(|local| deal.number_of(local)).collect::<Vec<_>>()
                };
                let mut dealt: Vec<u64> = within.iter().flat_map(&numbers).collect();
                dealt.sort_unstable();
                prop_assert_eq!(dealt, numbers(&whole));
                let mut users: Vec<u64> = within.iter().flat_map(|part| part.user_numbers(total.min(100))).collect();
                users.sort_unstable();
                let mut all = whole.user_numbers(total.min(100));
                all.sort_unstable();
                prop_assert_eq!(users, all);
                let owners = within.iter().filter(|part| part.owns_point(point)).count();
                prop_assert_eq!(owners, usize::from(whole.owns_point(point)));
                prop_assert_eq!(within.iter().map(|part| part.count_of(total)).sum::<u64>(), whole.count_of(total));
            }
        }

        #[test]
        fn counts_are_quotas_rounded_up_or_down(weights in any_weights(), total in 0u64..1_000_000_000_000) {
            let parts = apportion(total, &weights);
            let sum: u128 = weights.iter().map(|&w| u128::from(w)).sum();
            prop_assert_eq!(parts.iter().sum::<u64>(), total);
            for (part, &weight) in parts.iter().zip(&weights) {
                let quota = u128::from(total) * u128::from(weight);
                prop_assert!(u128::from(*part) * sum + sum > quota && u128::from(*part) * sum < quota + sum);
            }
        }

        /// Over any stretch of numbers, a share is never far from its quota.
        #[test]
        fn a_share_is_even_over_any_stretch(weights in any_weights(), from in 0u64..2_000, length in 1u64..2_000) {
            let sum: u64 = weights.iter().map(|&w| u64::from(w)).sum();
            for share in shares(&weights) {
                let deal = share.deal();
                let got = (deal.count_below(from + length) - deal.count_below(from)) as f64;
                let quota = length as f64 * share.numerator() as f64 / sum as f64;
                prop_assert!((got - quota).abs() <= 12.0, "{got} of {quota}");
            }
        }

        #[test]
        fn any_region_weights_and_counts_can_be_split(agents in prop::collection::vec(0usize..4, 1..20), weights in prop::collection::vec(1u32..10_000, 4)) {
            let region = |n: usize| Region::new(&format!("cloud/r{n}")).unwrap();
            let regions: Vec<Region> = agents.iter().map(|&n| region(n)).collect();
            let mut named: Vec<usize> = agents.clone();
            named.sort_unstable();
            named.dedup();
            let load = Load { name: "l".into(), drives: vec![], model: crate::plan::LoadModel::Closed { phases: vec![], pacing: None },
                from: named.iter().map(|&n| (region(n), weights[n])).collect() };
            let dealt = agent_weights(&load, &regions).unwrap();
            for index in 0..dealt.len() {
                prop_assert!(Share::new(dealt.clone(), index).is_ok());
            }
        }
    }

    #[test]
    fn equal_agents_take_turns() {
        let deal = Share::new(vec![1, 1, 1], 0).unwrap().deal();
        let first: Vec<u64> = (0..4).filter_map(|local| deal.number_of(local)).collect();
        assert!(first.windows(2).all(|pair| pair[1] - pair[0] == 3), "{first:?}");
    }

    #[test]
    fn an_agent_in_no_named_region_carries_nothing() {
        let region = |name| Region::new(name).unwrap();
        let load = Load {
            name: "chat".into(),
            drives: vec![],
            model: crate::plan::LoadModel::Closed { phases: vec![], pacing: None },
            from: vec![(region("azure/eastus"), 50), (region("aws/us-west-2"), 50)],
        };
        let agents = [region("azure/eastus"), region("azure/eastus"), region("aws/us-west-2"), region("gcp/x")];
        assert_eq!(agent_weights(&load, &agents).unwrap(), [1, 1, 2, 0]);
        let missing = agent_weights(&load, &agents[..2]).unwrap_err().to_string();
        assert!(missing.contains("aws/us-west-2") && missing.contains("agents are in: azure/eastus"), "{missing}");
    }
}
