//! Lengths drawn from a distribution: one draw is one random number through the
//! inverse of the cumulative distribution, so that a draw depends on its place
//! alone and bounds cut the tails off exactly.

use libm::{erfc, exp, log, pow, sqrt};
use squall_common::plan::prompts::{Length, LogNormalBy};
use squall_common::random::Random;

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

/// A [`Length`] made ready to be drawn from.
#[derive(Clone, Debug)]
pub struct Lengths(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Fixed(u32),
    Uniform { min: u32, max: u32 },
    Bell(Bell),
    Histogram { tokens: Vec<u32>, weights: Weights },
}

/// Normal, or the exponential of normal.
#[derive(Clone, Copy, Debug)]
struct Bell {
    middle: f64,
    spread: f64,
    is_log: bool,
    min: u32,
    max: u32,
    /// The part of the distribution below the lower bound, and below the upper one.
    below: (f64, f64),
}

impl Lengths {
    /// Says what is wrong with a length that cannot be drawn from.
    pub fn new(length: &Length) -> Result<Self, String> {
        length.check()?;
        Ok(Self(match length {
            Length::Fixed(tokens) => Shape::Fixed(*tokens),
            Length::Uniform { min, max } => Shape::Uniform { min: *min, max: *max },
            Length::Normal { mean, stddev, min, max } => Shape::Bell(Bell::new(*mean, *stddev, false, *min, *max)),
            Length::LogNormal { by, min, max } => {
                let (mu, sigma) = log_parameters(*by);
                Shape::Bell(Bell::new(mu, sigma, true, *min, *max))
            }
            Length::Histogram(bars) => Shape::Histogram {
                tokens: bars.iter().map(|(tokens, _)| *tokens).collect(),
                weights: Weights::new(bars.iter().map(|(_, weight)| *weight)),
            },
        }))
    }

    pub fn draw(&self, random: &mut Random) -> u32 {
        match &self.0 {
            Shape::Fixed(tokens) => *tokens,
            Shape::Uniform { min, max } => random.between(i64::from(*min), i64::from(*max)) as u32,
            Shape::Bell(bell) => bell.at(random.unit()),
            Shape::Histogram { tokens, weights } => tokens[weights.draw(random)],
        }
    }
}

/// Median and spread of the logarithms.
fn log_parameters(by: LogNormalBy) -> (f64, f64) {
    match by {
        LogNormalBy::Percentiles { p50, p99 } => (log(p50), (log(p99) - log(p50)) / Z99),
        LogNormalBy::Moments { mean, stddev } => {
            let variance = log(1.0 + (stddev / mean) * (stddev / mean));
            (log(mean) - variance / 2.0, sqrt(variance))
        }
    }
}

impl Bell {
    /// The bounds take in all that rounds to them.
    fn new(middle: f64, spread: f64, is_log: bool, min: u32, max: u32) -> Self {
        let below = |bound: f64| {
            let bound = if is_log { log(bound) } else { bound };
            normal_below((bound - middle) / spread)
        };
        let below = (below(f64::from(min) - 0.5), below(f64::from(max) + 0.5));
        Self { middle, spread, is_log, min, max, below }
    }

    fn at(&self, unit: f64) -> u32 {
        let (low, high) = self.below;
        // Never 0 or 1, whose places are infinite.
        let part = (low + unit * (high - low)).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
        let z = normal_quantile(part);
        let value = self.middle + self.spread * z;
        let value = if self.is_log { exp(value) } else { value };
        (value.round() as u32).clamp(self.min, self.max)
    }
}

/// Positions drawn in proportion to their weights.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Up to and with each position. Never empty, the last above 0.
    sums: Vec<f64>,
}

impl Weights {
    pub(crate) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self { sums: sums.collect() }
    }

    /// The k-th (from 1) in proportion to `k^-exponent`: Zipf's law over `count` positions.
    pub(crate) fn zipf(count: u32, exponent: f64) -> Self {
        Self::new((1..=count).map(|k| pow(f64::from(k), -exponent)))
    }

    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        let place = random.unit() * self.sums[self.sums.len() - 1];
        // A product rounded up to the sum itself would lie behind the last.
        self.sums.partition_point(|&sum| sum <= place).min(self.sums.len() - 1)
    }
}

/// The part of the standard normal distribution below `z`.
fn normal_below(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// Where `part` of the standard normal distribution lies below: algorithm AS 241
/// (Wichura 1988, "The percentage points of the normal distribution", PPND16),
/// good to about 1 part in 10^16.
fn normal_quantile(part: f64) -> f64 {
    let q = part - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(&CENTRE, r);
    }
    let r = sqrt(-log(if q < 0.0 { part } else { 1.0 - part }));
    let z = if r <= 5.0 { ratio(&MIDDLE, r - 1.6) } else { ratio(&TAIL, r - 5.0) };
    if q < 0.0 { -z } else { z }
}

/// Coefficients from the highest power down.
type Rational = ([f64; 8], [f64; 8]);

fn ratio((above, below): &Rational, r: f64) -> f64 {
    let at = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, c| sum * r + c);
    at(above) / at(below)
}

const CENTRE: Rational = (
    [
        2.509_080_928_730_122_7e3,
        3.343_057_558_358_813e4,
        6.726_577_092_700_87e4,
        4.592_195_393_154_987e4,
        1.373_169_376_550_946e4,
        1.971_590_950_306_551_3e3,
        1.331_416_678_917_843_8e2,
        3.387_132_872_796_366_5,
    ],
    [
        5.226_495_278_852_854e3,
        2.872_908_573_572_194_3e4,
        3.930_789_580_009_271e4,
        2.121_379_430_158_659_7e4,
        5.394_196_021_424_751e3,
        6.871_870_074_920_579e2,
        4.231_333_070_160_091e1,
        1.0,
    ],
);
const MIDDLE: Rational = (
    [
        7.745_450_142_783_414e-4,
        2.272_384_498_926_918_4e-2,
        2.417_807_251_774_506e-1,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ],
    [
        1.050_750_071_644_416_9e-9,
        5.475_938_084_995_345e-4,
        1.519_866_656_361_645_7e-2,
        1.481_039_764_274_800_8e-1,
        6.897_673_349_851e-1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ],
);
const TAIL: Rational = (
    [
        2.010_334_399_292_288_1e-7,
        2.711_555_568_743_487_6e-5,
        1.242_660_947_388_078_4e-3,
        2.653_218_952_657_612_4e-2,
        2.965_605_718_285_048_7e-1,
        1.784_826_539_917_291_3,
        5.463_784_911_164_114,
        6.657_904_643_501_103,
    ],
    [
        2.044_263_103_389_939_8e-15,
        1.421_511_758_316_446e-7,
        1.846_318_317_510_054_8e-5,
        7.868_691_311_456_133e-4,
        1.487_536_129_085_061_5e-2,
        1.369_298_809_227_358e-1,
        5.998_322_065_558_88e-1,
        1.0,
    ],
);

#[cfg(test)]
mod tests;
