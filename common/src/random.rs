//! Seeded randomness with values that never change between versions or
//! machines: a plan and a seed name the same requests for ever.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
//! generators", OOPSLA 2014). Not for secrets.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of random numbers that depends on nothing but where it was seeded.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// One well-mixed number for a place named by `parts`.
pub fn mix(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(finish(seed.wrapping_add(GOLDEN)), |mixed, part| {
        finish(mixed.wrapping_add(GOLDEN) ^ finish(part.wrapping_add(GOLDEN)))
    })
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// The stream of the place named by `parts`, apart from all others.
    pub fn at(seed: u64, parts: &[u64]) -> Self {
        Self { state: mix(seed, parts) }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        finish(self.state)
    }

    /// Uniform in `0..bound`, without bias worth naming (multiply-shift, Lemire 2019). 0 for bound 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Uniform in `min..=max`.
    pub fn between(&mut self, min: i64, max: i64) -> i64 {
        if max <= min {
            return min;
        }
        let width = (max as i128 - min as i128 + 1) as u128;
        let offset = if width > u128::from(u64::MAX) { self.next_u64() } else { self.below(width as u64) };
        (min as i128 + i128::from(offset)) as i64
    }
}

/// A seeded permutation of `0..size` without a table: a four-round Feistel
/// network over the next even number of bits, walked until it lands inside
/// (Black & Rogaway 2002, "Ciphers with arbitrary finite domains"). `size` is above 0 and `place` below it.
pub fn permute(place: u64, size: u64, seed: u64) -> u64 {
    let half_bits = (64 - (size - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half_bits) - 1;
    let mut at = place;
    loop {
        let (mut left, mut right) = (at >> half_bits, at & mask);
        for round in 0..4 {
            (left, right) = (right, left ^ (mix(seed, &[round, right]) & mask));
        }
        at = left << half_bits | right;
        if at < size {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_the_same_numbers_for_ever() {
        let mut random = Random::at(7, &[1, 2]);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        let mut again = Random::at(7, &[1, 2]);
        assert_eq!(first, (0..3).map(|_| again.next_u64()).collect::<Vec<_>>());
        assert_ne!(first[0], Random::at(7, &[2, 1]).next_u64());
    }

    #[test]
    fn exponentials_have_mean_one() {
        let mut random = Random::at(3, &[]);
        let mean = (0..200_000).map(|_| random.exponential()).sum::<f64>() / 200_000.0;
        assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
    }

    #[test]
    fn between_reaches_both_bounds_and_no_further() {
        let mut random = Random::at(1, &[]);
        let drawn: std::collections::BTreeSet<i64> = (0..200).map(|_| random.between(-2, 2)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert_eq!(random.between(i64::MIN, i64::MIN), i64::MIN);
    }
}
