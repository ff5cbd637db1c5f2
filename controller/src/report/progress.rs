//! A running run: two lines that are redrawn on a terminal, or one line every
//! few seconds elsewhere.

use super::numbers::{clock, count, latency, percent, plural, rate};
use crate::terminal::{MIN_WIDTH, Paint, Tone, fit, width_of};
use squall_proto::LiveView;

/// The widest bar: longer ones say no more.
const MOST_BAR: usize = 40;
const LEAST_BAR: usize = 8;

/// The live display: two lines of at most `width` columns, without a line feed
/// at the end.
pub fn line(view: &LiveView, width: usize, colour: bool) -> String {
    let (width, paint) = (width.max(MIN_WIDTH), Paint::new(colour));
    format!("{}\n{}", place(view, width, paint), figures(view, width, paint))
}

/// One line for a log: what a terminal would show, in words.
pub fn plain(view: &LiveView) -> String {
    let mut parts = vec![elapsed(view), phase(view)];
    parts.extend(load(view));
    parts.push(format!("in flight {}", count(view.in_flight)));
    parts.extend(latencies(view));
    parts.push(errors(view));
    parts.push(agents(view));
    parts.join(", ")
}

/// How far the run is, 0–1; `None` when only iterations end it.
fn progress(view: &LiveView) -> Option<f64> {
    (view.total_ms > 0).then(|| (view.elapsed_ms as f64 / view.total_ms as f64).min(1.0))
}

fn elapsed(view: &LiveView) -> String {
    let elapsed = clock(view.elapsed_ms / 1_000);
    match view.total_ms {
        0 => elapsed,
        total_ms => format!("{elapsed} of {}", clock(total_ms.div_ceil(1_000))),
    }
}

/// The plan's phase while load is offered, the run's before and after.
fn phase(view: &LiveView) -> String {
    match (view.phase.as_str(), view.plan_phase.as_str()) {
        ("", plan_phase) | ("running", plan_phase) if !plan_phase.is_empty() => fit(plan_phase, 24),
        (phase, _) => fit(phase, 24),
    }
}

/// What is offered and what comes back; users where the model is closed.
fn load(view: &LiveView) -> Vec<String> {
    let mut parts = Vec::new();
    if view.target_per_s > 0.0 {
        parts.push(format!("sent {} of {}", rate(view.sent_per_s), rate(view.target_per_s)));
    } else {
        parts.push(format!("sent {}", rate(view.sent_per_s)));
    }
    if view.users > 0 {
        parts.push(plural(view.users, "user"));
    }
    parts
}

/// Nothing before the first answer: 0 µs would read as a measurement.
fn latencies(view: &LiveView) -> Option<String> {
    let words = |us: u64| latency(us as f64).trim_end().to_owned();
    (view.response_p99_us > 0)
        .then(|| format!("p50 {}, p99 {}", words(view.response_p50_us), words(view.response_p99_us)))
}

fn errors(view: &LiveView) -> String {
    match (view.errors, view.completed.max(view.errors)) {
        (0, _) => "no errors".to_owned(),
        (errors, of) => format!("{} ({})", plural(errors, "error"), percent(errors as f64 / of as f64)),
    }
}

fn agents(view: &LiveView) -> String {
    if view.agents_reporting == view.agents {
        plural(view.agents.into(), "agent")
    } else {
        format!("{} of {}", view.agents_reporting, plural(view.agents.into(), "agent"))
    }
}

fn place(view: &LiveView, width: usize, paint: Paint) -> String {
    let (start, end) = (elapsed(view), format!("{}  {}", phase(view), agents(view)));
    let agents_tone = if view.agents_reporting < view.agents { Tone::Doubtful } else { Tone::Plain };
    let Some(progress) = progress(view) else {
        return paint.tone(agents_tone, &fit(&format!("{start}  {end}"), width));
    };
    let part = format!("{:>3.0} %", (progress * 100.0).floor());
    let taken = width_of(&start) + width_of(&part) + width_of(&end) + 6;
    let bar = width.saturating_sub(taken).min(MOST_BAR);
    if bar < LEAST_BAR {
        return paint.tone(agents_tone, &fit(&format!("{start}  {part}  {end}"), width));
    }
    let done = (progress * bar as f64).floor() as usize;
    format!(
        "{start}  {}{}  {part}  {}",
        paint.tone(Tone::Good, &"━".repeat(done)),
        paint.tone(Tone::Quiet, &"─".repeat(bar - done)),
        paint.tone(agents_tone, &end)
    )
}

/// The second line: what does not fit is left out from the end, whole parts at a time.
fn figures(view: &LiveView, width: usize, paint: Paint) -> String {
    let error_tone = if view.errors > 0 { Tone::Bad } else { Tone::Plain };
    let plain = |text: String| (Tone::Plain, text);
    let mut parts: Vec<(Tone, String)> = load(view).into_iter().map(plain).collect();
    parts.push((error_tone, errors(view)));
    parts.extend(latencies(view).map(plain));
    parts.push(plain(format!("in flight {}", count(view.in_flight))));
    let mut line = String::new();
    let mut taken = 0;
    for (tone, text) in parts {
        let separator = if taken == 0 { "" } else { " · " };
        taken += width_of(separator) + width_of(&text);
        if taken > width {
            break;
        }
        line.push_str(separator);
        line.push_str(&paint.tone(tone, &text));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::without_colour;
    use proptest::prelude::*;

    fn running() -> LiveView {
        LiveView {
            phase: "running".to_owned(),
            plan_phase: "spike".to_owned(),
            elapsed_ms: 130_400,
            total_ms: 330_000,
            target_per_s: 200.0,
            sent_per_s: 199.4,
            completed_per_s: 198.0,
            in_flight: 12,
            users: 0,
            response_p50_us: 3_120,
            response_p99_us: 21_400,
            errors: 3,
            completed: 25_900,
            agents_reporting: 3,
            agents: 3,
            planned: 26_000,
            sent: 26_000,
        }
    }

    #[test]
    fn a_log_line_says_everything_once() {
        let closed =
            LiveView { target_per_s: 0.0, users: 100, total_ms: 0, errors: 0, agents_reporting: 2, ..running() };
        let early = LiveView {
            phase: "arming".to_owned(),
            plan_phase: String::new(),
            response_p99_us: 0,
            elapsed_ms: 0,
            errors: 0,
            ..running()
        };
        insta::assert_snapshot!([plain(&running()), plain(&closed), plain(&early)].join("\n"));
    }

    #[test]
    fn the_live_display_at_three_widths() {
        let views = [60, 80, 120].map(|width| line(&running(), width, false));
        insta::assert_snapshot!(views.join("\n\n"));
    }

    proptest! {
        #[test]
        fn both_lines_fit(width in 40usize..160, elapsed_ms: u32, total_ms: u32, errors: u32, users: u32, rate in 0.0..1e7, phase in "\\PC{0,40}", colour: bool) {
            let view = LiveView { elapsed_ms: elapsed_ms.into(), total_ms: total_ms.into(), errors: errors.into(), users: users.into(), sent_per_s: rate, plan_phase: phase, ..running() };
            let text = without_colour(&line(&view, width, colour));
            prop_assert_eq!(text.lines().count(), 2);
            for line in text.lines() {
                prop_assert!(width_of(line) <= width, "{}: {}", width_of(line), line);
            }
        }
    }
}
