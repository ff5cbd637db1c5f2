//! A cache of prompt prefixes, as Azure has it: prompts that share their first
//! 1,024 tokens or more, in steps of 128, are not read again. Pure: the caller
//! brings the time.

use std::collections::HashMap;

use super::prompt::{Prompt, TOKEN_CHARS};

const LEAST_TOKENS: usize = 1_024;
const STEP_TOKENS: usize = 128;
/// More prefixes than these and those idle longest are forgotten.
const MAX_PREFIXES: usize = 200_000;

#[derive(Debug)]
pub(crate) struct PrefixCache {
    /// A prefix is forgotten after so long without use; 0: nothing is kept.
    idle_us: u64,
    /// When each prefix, by its hash, was used last.
    used_us: HashMap<u64, u64>,
}

/// The hashes of a prompt's prefixes, shortest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefixes(Vec<u64>);

impl Prefixes {
    pub(crate) fn of(prompt: &Prompt) -> Self {
        let mut hashes = Vec::new();
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        for (index, char) in prompt.text.chars().enumerate() {
            hash = (hash ^ u64::from(u32::from(char))).wrapping_mul(0x0100_0000_01B3).rotate_left(5);
            let chars = index + 1;
            let tokens = chars / TOKEN_CHARS;
            let is_step = tokens >= LEAST_TOKENS && (tokens - LEAST_TOKENS).is_multiple_of(STEP_TOKENS);
            if chars.is_multiple_of(TOKEN_CHARS) && is_step {
                hashes.push(hash);
            }
        }
        Self(hashes)
    }
}

impl PrefixCache {
    pub(crate) fn new(idle_s: u64) -> Self {
        Self { idle_us: idle_s * 1_000_000, used_us: HashMap::new() }
    }

    /// How many leading tokens need not be read.
    pub(crate) fn cached_tokens(&mut self, now_us: u64, prefixes: &Prefixes) -> u32 {
        let mut tokens = 0;
        for (hash, length) in prefixes.0.iter().zip((LEAST_TOKENS..).step_by(STEP_TOKENS)) {
            match self.used_us.get_mut(hash) {
                Some(used_us) if *used_us + self.idle_us > now_us => *used_us = now_us,
                _ => break,
            }
            tokens = length;
        }
        tokens as u32
    }

    /// A prompt has been read.
    pub(crate) fn keep(&mut self, now_us: u64, prefixes: &Prefixes) {
        if self.idle_us == 0 {
            return;
        }
        self.used_us.extend(prefixes.0.iter().map(|hash| (*hash, now_us)));
        if self.used_us.len() > MAX_PREFIXES {
            let mut times: Vec<u64> = self.used_us.values().copied().collect();
            let (_, median_us, _) = times.select_nth_unstable(MAX_PREFIXES / 2);
            let from_us = *median_us;
            self.used_us.retain(|_, used_us| *used_us > from_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn prefixes(tokens: usize, tail: &str) -> Prefixes {
        Prefixes::of(&Prompt { text: "sail".repeat(tokens) + tail })
    }

    #[test]
    fn a_shared_prefix_is_cached_in_steps_from_1024_tokens() {
        for (shared, expected) in [(1_023, 0), (1_024, 1_024), (1_151, 1_024), (1_152, 1_152), (2_000, 1_920)] {
            let mut cache = PrefixCache::new(300);
            assert_eq!(cache.cached_tokens(0, &prefixes(shared, "moor and more")), 0, "nothing was read yet");
            cache.keep(0, &prefixes(shared, "moor and more"));
            assert_eq!(cache.cached_tokens(1, &prefixes(shared, "reef the main")), expected, "{shared} shared");
        }
    }

    #[test]
    fn a_prefix_is_forgotten_when_idle_and_use_keeps_it() {
        let mut cache = PrefixCache::new(300);
        cache.keep(0, &prefixes(1_024, ""));
        assert_eq!(cache.cached_tokens(299 * S, &prefixes(1_024, "")), 1_024);
        assert_eq!(cache.cached_tokens(598 * S, &prefixes(1_024, "")), 1_024);
        assert_eq!(cache.cached_tokens(898 * S, &prefixes(1_024, "")), 0);
        let mut off = PrefixCache::new(0);
        off.keep(0, &prefixes(1_024, ""));
        assert_eq!(off.cached_tokens(0, &prefixes(1_024, "")), 0);
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut cache = PrefixCache::new(300);
        for number in 0..60 {
            cache.keep(number, &Prefixes((0..10_000).map(|hash| number * 10_000 + hash).collect()));
            assert!(cache.used_us.len() <= MAX_PREFIXES);
        }
    }
}
