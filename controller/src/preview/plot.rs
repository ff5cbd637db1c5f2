//! A load profile drawn in block characters.

use crate::report::numbers::{clock, count};
use crate::terminal::{pad_left, width_of};
use squall_common::plan::Phase;
use squall_common::schedule::Curve;

const ROWS: usize = 8;
/// Eighths of a row, from the bottom.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The level over time, highest value of each column's stretch: a short spike
/// stays visible however long the run is. `unit` follows the axis labels.
pub fn plot(phases: &[Phase], unit: &str, width: usize) -> Vec<String> {
    let curve = Curve::new(phases);
    let peak = curve.stretches().map(|(_, _, from, to)| from.max(to)).fold(0.0, f64::max);
    if peak <= 0.0 {
        return vec!["  (nothing is sent)".to_owned()];
    }
    let labels = [level(peak, unit), level(peak / 2.0, unit), "0".to_owned()];
    let gutter = labels.iter().map(|label| width_of(label)).max().unwrap_or(0) + 2;
    let columns = width.saturating_sub(gutter + 1).clamp(1, 100);
    let heights: Vec<usize> = (0..columns).map(|column| height(&curve, column, columns, peak)).collect();
    let mut lines: Vec<String> = (0..ROWS)
        .map(|row| {
            let label = match row {
                0 => &labels[0],
                _ if row == ROWS / 2 => &labels[1],
                _ => "",
            };
            let floor = (ROWS - 1 - row) * 8;
            let bars: String = heights.iter().map(|height| BLOCKS[height.saturating_sub(floor).min(8)]).collect();
            format!("{} ┤{bars}", pad_left(label, gutter - 1)).trim_end().to_owned()
        })
        .collect();
    lines.push(format!("{} └{}", pad_left("0", gutter - 1), "─".repeat(columns)));
    lines.push(time_axis(curve.end_s(), gutter + 1, columns));
    lines
}

/// In eighths of a row. Anything above zero is at least one: it is not nothing.
fn height(curve: &Curve, column: usize, columns: usize, peak: f64) -> usize {
    let edge = |column: usize| column as f64 / columns as f64 * curve.end_s();
    let highest = highest(curve, edge(column), edge(column + 1));
    let eighths = (highest / peak * (ROWS * 8) as f64).round() as usize;
    if highest > 0.0 { eighths.max(1) } else { 0 }
}

/// The highest level within a stretch of time: levels are straight, so it is at an end.
fn highest(curve: &Curve, start_s: f64, end_s: f64) -> f64 {
    curve
        .stretches()
        .filter(|(from_s, to_s, _, _)| *from_s < end_s && *to_s > start_s)
        .flat_map(|(from_s, to_s, from, to)| {
            let at = |time_s: f64| from + (to - from) * ((time_s - from_s) / (to_s - from_s));
            [at(start_s.max(from_s)), at(end_s.min(to_s))]
        })
        .fold(0.0, f64::max)
}

/// Start, middle and end.
fn time_axis(end_s: f64, indent: usize, columns: usize) -> String {
    let end = clock(end_s.round() as u64);
    let middle = clock((end_s / 2.0).round() as u64);
    let mut line = format!("{}0:00", " ".repeat(indent));
    let middle_at = indent + columns / 2 - middle.len() / 2;
    let end_at = (indent + columns).saturating_sub(end.len());
    if middle_at > line.len() + 1 && middle_at + middle.len() + 1 < end_at {
        line.push_str(&" ".repeat(middle_at - line.len()));
        line.push_str(&middle);
    }
    if end_at > line.len() {
        line.push_str(&" ".repeat(end_at - line.len()));
        line.push_str(&end);
    }
    line
}

/// A level as short as it is exact enough for an axis.
fn level(value: f64, unit: &str) -> String {
    if value >= 10.0 || value.fract() == 0.0 {
        format!("{}{unit}", count(value.round() as u64))
    } else {
        format!("{value:.2}{unit}")
    }
}
