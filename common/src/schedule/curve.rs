//! A profile as a function of time, its integral, and the integral's inverse.

use crate::plan::Phase;

/// A piecewise-linear level over time. Pure numbers: seconds since start, and
/// whatever unit the level has; its integral counts arrivals when the level is
/// a rate per second.
#[derive(Clone, Debug)]
pub struct Curve {
    stretches: Vec<Stretch>,
    total: f64,
    end_s: f64,
}

#[derive(Clone, Debug)]
struct Stretch {
    start_s: f64,
    duration_s: f64,
    from: f64,
    to: f64,
    /// The integral at its start.
    before: f64,
}

impl Stretch {
    fn area(&self) -> f64 {
        (self.from + self.to) * 0.5 * self.duration_s
    }

    /// Seconds after this stretch's start at which its own integral reaches `area`.
    ///
    /// Solves `from·t + slope·t²/2 = area` in the form that does not cancel when
    /// the slope is near zero (Goldberg 1991, "What every computer scientist
    /// should know about floating-point arithmetic", §1.4).
    fn time_of(&self, area: f64) -> f64 {
        let slope = (self.to - self.from) / self.duration_s;
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        let divisor = self.from + root;
        if divisor > 0.0 { (2.0 * area / divisor).min(self.duration_s) } else { 0.0 }
    }
}

impl Curve {
    pub fn new(phases: &[Phase]) -> Self {
        let (mut start_s, mut before) = (0.0, 0.0);
        let stretches = phases
            .iter()
            .map(|phase| {
                let duration_s = phase.duration.as_secs_f64();
                let stretch = Stretch { start_s, duration_s, from: phase.from, to: phase.to, before };
                start_s += duration_s;
                before += stretch.area();
                stretch
            })
            .collect();
        Self { stretches, total: before, end_s: start_s }
    }

    /// The whole integral: how many arrivals a rate curve means.
    pub fn total(&self) -> f64 {
        self.total
    }

    pub fn end_s(&self) -> f64 {
        self.end_s
    }

    /// When the integral reaches `amount`; `None` at or beyond the total.
    pub fn time_of(&self, amount: f64) -> Option<f64> {
        if amount >= self.total {
            return None;
        }
        // The last stretch that begins at or below the amount and has an area of
        // its own: a pause begins where its neighbour does and holds nothing.
        let after = self.stretches.partition_point(|stretch| stretch.before <= amount);
        let stretch = &self.stretches[after.checked_sub(1)?];
        Some(stretch.start_s + stretch.time_of(amount - stretch.before))
    }

    /// The integral from the start to `time_s`.
    pub fn amount_at(&self, time_s: f64) -> f64 {
        let Some(stretch) = self.stretches.iter().rev().find(|stretch| stretch.start_s <= time_s) else { return 0.0 };
        let inside = (time_s - stretch.start_s).min(stretch.duration_s);
        let level = stretch.from + (stretch.to - stretch.from) * inside / stretch.duration_s;
        stretch.before + (stretch.from + level) * 0.5 * inside
    }

    /// The level at `time_s`; 0 after the end.
    pub fn level_at(&self, time_s: f64) -> f64 {
        self.stretches.iter().find(|stretch| time_s < stretch.start_s + stretch.duration_s).map_or(0.0, |stretch| {
            stretch.from + (stretch.to - stretch.from) * (time_s - stretch.start_s) / stretch.duration_s
        })
    }

    /// The stretches as `(start_s, end_s, from, to)`.
    pub fn stretches(&self) -> impl Iterator<Item = (f64, f64, f64, f64)> + '_ {
        self.stretches.iter().map(|s| (s.start_s, s.start_s + s.duration_s, s.from, s.to))
    }
}
