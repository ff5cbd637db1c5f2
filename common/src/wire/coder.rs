//! A binary range coder: bits in, bytes out, each bit at the cost of its surprise.
//!
//! The arithmetic is all integers, so both ends compute the same. Byte for byte
//! it is LZMA's coder with probabilities of 16 bits and without its first byte,
//! which is always zero.

/// Below this the range takes another byte.
const TOP: u32 = 1 << 24;
/// Bytes the decoder is ahead of what it decoded.
const AHEAD: usize = 4;

/// A probability of a one, learned from the bits that came. 1 stands for 2⁻¹⁶.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    of_one: u16,
    /// Bits seen; few are trusted less than many.
    seen: u16,
}

impl Chance {
    const LEAST: u32 = 32;
    /// From here on old bits are forgotten at the rate new ones come.
    const REMEMBERED: u16 = 60;

    /// What is expected before any bit came: `ones` to `others`.
    pub(super) fn of(ones: u64, others: u64) -> Self {
        let of_one = (ones << 16) / (ones + others).max(1);
        Self { of_one: Self::clamped(of_one as i64), seen: 1 }
    }

    fn clamped(of_one: i64) -> u16 {
        of_one.clamp(Self::LEAST.into(), i64::from((1 << 16) - Self::LEAST)) as u16
    }

    #[inline]
    fn learn(&mut self, bit: bool) {
        self.seen = (self.seen + 1).min(Self::REMEMBERED);
        let to = i64::from(bit) << 16;
        let step = (to - i64::from(self.of_one)) * 2 / i64::from(2 * self.seen + 1);
        self.of_one = Self::clamped(i64::from(self.of_one) + step);
    }
}

/// One direction of the coder: what a model needs of it.
pub(super) trait Coder {
    /// Codes `bit` (the decoder ignores it) and tells what was coded.
    fn bit(&mut self, bit: bool, chance: &mut Chance) -> bool;
    /// The same for `count` ≤ 64 bits about which nothing is known.
    fn plain(&mut self, bits: u64, count: u32) -> u64;
}

pub(super) struct Encoder {
    low: u64,
    range: u32,
    cache: Option<u8>,
    /// Bytes 0xff that a carry may still change.
    held: usize,
    out: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { low: 0, range: u32::MAX, cache: None, held: 0, out: Vec::with_capacity(4_096) }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        (0..=AHEAD).for_each(|_| self.shift());
        self.out
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        if self.low < 0xff00_0000 || carry > 0 {
            // Nothing stands before the first byte for a carry to reach.
            self.out.extend(self.cache.map(|byte| byte.wrapping_add(carry)));
            self.out.extend(std::iter::repeat_n(0xff_u8.wrapping_add(carry), std::mem::take(&mut self.held)));
            self.cache = Some((self.low >> 24) as u8);
        } else {
            self.held += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    #[inline]
    fn fill(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl Coder for Encoder {
    #[inline]
    fn bit(&mut self, bit: bool, chance: &mut Chance) -> bool {
        let ones = (self.range >> 16) * u32::from(chance.of_one);
        if bit {
            self.range = ones;
        } else {
            self.low += u64::from(ones);
            self.range -= ones;
        }
        chance.learn(bit);
        self.fill();
        bit
    }

    fn plain(&mut self, bits: u64, count: u32) -> u64 {
        for place in (0..count).rev() {
            self.range >>= 1;
            if bits >> place & 1 == 1 {
                self.low += u64::from(self.range);
            }
            self.fill();
        }
        bits
    }
}

/// Reads zeros beyond its end; [`Decoder::ended`] tells whether it had to.
pub(super) struct Decoder<'a> {
    code: u32,
    range: u32,
    bytes: &'a [u8],
    read: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { code: 0, range: u32::MAX, bytes, read: 0 };
        (0..AHEAD).for_each(|_| decoder.take());
        decoder
    }

    /// Whether all that was decoded so far stood in the bytes.
    pub(super) fn is_inside(&self) -> bool {
        self.read <= self.bytes.len()
    }

    /// Whether the bytes end exactly where what was decoded ends.
    pub(super) fn ended(&self) -> bool {
        self.read == self.bytes.len()
    }

    fn take(&mut self) {
        let byte = self.bytes.get(self.read).copied().unwrap_or(0);
        self.code = self.code << 8 | u32::from(byte);
        self.read += 1;
    }

    #[inline]
    fn fill(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.take();
        }
    }
}

impl Coder for Decoder<'_> {
    #[inline]
    fn bit(&mut self, _: bool, chance: &mut Chance) -> bool {
        let ones = (self.range >> 16) * u32::from(chance.of_one);
        let bit = self.code < ones;
        if bit {
            self.range = ones;
        } else {
            self.code -= ones;
            self.range -= ones;
        }
        chance.learn(bit);
        self.fill();
        bit
    }

    fn plain(&mut self, _: u64, count: u32) -> u64 {
        let mut bits = 0;
        for _ in 0..count {
            self.range >>= 1;
            let bit = self.code >= self.range;
            if bit {
                self.code -= self.range;
            }
            bits = bits << 1 | u64::from(bit);
            self.fill();
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_come_back_as_they_went_in(bits in prop::collection::vec((any::<bool>(), 0usize..3), 0..2_000), plain in any::<u64>()) {
            let fresh = [Chance::of(1, 1), Chance::of(1, 100_000), Chance::of(100_000, 1)];
            let (mut chances, mut encoder) = (fresh, Encoder::new());
            for &(bit, which) in &bits {
                encoder.bit(bit, &mut chances[which]);
            }
            encoder.plain(plain, 64);
            let bytes = encoder.finish();
            let (mut chances, mut decoder) = (fresh, Decoder::new(&bytes));
            for &(bit, which) in &bits {
                prop_assert_eq!(decoder.bit(false, &mut chances[which]), bit);
            }
            prop_assert_eq!(decoder.plain(0, 64), plain);
            prop_assert!(decoder.ended());
        }
    }

    #[test]
    fn what_is_expected_costs_little() {
        let (mut encoder, mut chance) = (Encoder::new(), Chance::of(1, 1));
        (0..20_000).for_each(|_| {
            encoder.bit(false, &mut chance);
        });
        assert!(encoder.finish().len() < 20);
    }
}
