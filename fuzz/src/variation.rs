//! Seeded damage to good inputs: for every change, without coverage, on any toolchain.

/// A small generator of numbers, the same ones for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Numbers that sit on edges, as bytes and as text.
const EDGES: [&[u8]; 10] = [
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x08",
    b"\x00",
    b"18446744073709551615",
    b"9223372036854775808",
    b"-1",
    b"1e308",
    b"0.0000001",
    b"99999999999999999999999999",
    b"\xf0\x9f\x92\xa5",
];

/// One of `inputs`, damaged in one to four places.
pub fn of(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = inputs[dice.below(inputs.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let until = at + dice.below(bytes.len() - at + 1);
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.below(256) as u8,
            2 => drop(bytes.drain(at..until.min(at + 16))),
            3 => drop(bytes.splice(at..at, EDGES[dice.below(EDGES.len())].iter().copied())),
            4 => bytes.truncate(at),
            5 => {
                let twice = bytes[at..until].to_vec();
                drop(bytes.splice(at..at, twice));
            }
            _ => {
                let other = &inputs[dice.below(inputs.len())];
                let from = dice.below(other.len() + 1);
                drop(bytes.splice(at..until, other[from..].iter().copied()));
            }
        }
    }
    bytes
}
