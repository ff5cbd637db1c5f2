//! A finished run for people: the verdict first, then the figures it rests on.

use super::caveats::caveats;
use super::numbers::{bytes, count, duration, latency, percent, plural, rate};
use super::{RunRecord, coverage, models, names, summary, tables};
use crate::terminal::{Cell, MIN_WIDTH, Paint, Table, Tone, fit, width_of, wrap};
use squall_common::interval::SkipReason;
use squall_common::merge::{Part, Scope};
use squall_common::plan::Metric;
use squall_common::verdict::Verdict;

/// Where the text of labelled lines begins.
const LABEL: usize = 14;
/// Reasons shown in full; a run that went wrong everywhere has hundreds.
const MOST_REASONS: usize = 5;

/// The whole report in lines of at most `width` columns (40 at least), each
/// ended by a line feed.
pub fn render(record: &RunRecord, width: usize, colour: bool) -> String {
    let (width, paint) = (width.max(MIN_WIDTH), Paint::new(colour));
    let all = record.merge.part(Scope::default());
    let ok = (all.error_rate() > 0.0).then(|| record.merge.part(Scope { ok_only: true, ..Scope::default() }));
    // Tables of dashes say nothing: a run without one answer has none.
    let when_any = |lines: Vec<String>| if all.series.count() > 0 { lines } else { Vec::new() };
    let blocks = [
        verdict(record, width, paint),
        identity(record, width, paint),
        slos(record, width, paint),
        when_any(tables::latencies(&all.series, ok.as_ref().map(|ok| &ok.series), width, paint)),
        models::table(&all.series, width, paint),
        amounts(record, &all, width, paint),
        when_any(tables::outcomes(&all.series, width, paint)),
        tables::scenarios(record, width, paint),
        tables::regions(record, width, paint),
        tables::targets(record, width, paint),
        proof(record, &all, width, paint),
        told(record, width, paint),
    ];
    let mut text = String::new();
    for block in blocks.iter().filter(|block| !block.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        for line in block {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// A label and its text, which hangs under itself.
pub(super) fn labelled(label: &str, text: &str, width: usize, paint: Paint, tone: Tone) -> Vec<String> {
    let label = format!("{label:<LABEL$}");
    let mut lines = wrap(&label, text, width);
    if let Some(first) = lines.first_mut() {
        // The label is coloured after wrapping: widths are counted without colours.
        let rest = first.split_off(label.len().min(first.len()));
        *first = format!("{}{rest}", paint.tone(tone, &label));
    }
    lines
}

fn verdict(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let (mark, tone) = match record.verdict {
        Verdict::Passed => ("✓ PASSED", Tone::Good),
        Verdict::Failed => ("✗ FAILED", Tone::Bad),
        Verdict::Invalid => ("! INVALID", Tone::Doubtful),
        Verdict::Aborted => ("■ ABORTED", Tone::Doubtful),
    };
    // Worst last in the record; what decided the verdict is read first here.
    let mut reasons = record.reasons.iter().rev().map(String::as_str);
    let first = reasons.next().unwrap_or(match record.verdict {
        Verdict::Passed if record.judgements.is_empty() => {
            "the result is whole; the plan has no SLO to hold it against"
        }
        Verdict::Passed => "every SLO holds and the result is whole",
        _ => "",
    });
    let mut lines = labelled(mark, first, width, paint, tone);
    for reason in reasons.by_ref().take(MOST_REASONS - 1) {
        lines.extend(wrap(&" ".repeat(LABEL), reason, width));
    }
    let more = reasons.count();
    if more > 0 {
        lines.extend(wrap(&" ".repeat(LABEL), &format!("and {more} more (summary.json: reasons)"), width));
    }
    lines
}

fn identity(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let plan = record.merge.plan();
    let id = format!("  {}", record.run_id);
    let name = fit(&plan.name, width.saturating_sub(width_of(&id)));
    let regions: Vec<&str> = names::region_indices(record).map(|index| names::region(record, index)).collect();
    let mut time = duration(record.duration);
    if let Some(planned) = record.planned_time.filter(|planned| *planned > record.load_time) {
        let (load, meant) = (duration(record.load_time), duration(planned));
        // Some ms less, because the last arrival comes before the end, are no news.
        if load != meant {
            time = format!("{time} (load {load} of {meant})");
        }
    }
    let agents = plural(record.merge.agents().len() as u64, "agent");
    let facts = format!("{time} · {agents} · {} · seed {}", regions.join(", "), plan.seed);
    let mut lines = vec![format!("{}{}", paint.tone(Tone::Strong, &name), paint.tone(Tone::Quiet, &fit(&id, width)))];
    lines.extend(wrap("", &facts, width));
    lines
}

fn amounts(record: &RunRecord, all: &Part, width: usize, paint: Paint) -> Vec<String> {
    let per_s = |amount: u64, time_s: f64| if time_s > 0.0 { amount as f64 / time_s } else { 0.0 };
    let (load_s, whole_s) = (record.load_time.as_secs_f64(), record.duration.as_secs_f64());
    let flow = |amount: u64| format!("{} ({}/s)", bytes(amount as f64), bytes(per_s(amount, whole_s)));
    let throughput = format!(
        "sent {} · completed {}",
        rate(per_s(all.ledger.sent, load_s)),
        rate(per_s(all.ledger.completed, whole_s))
    );
    let traffic = format!("sent {} · received {}", flow(all.series.bytes_sent), flow(all.series.bytes_received));
    let mut lines = labelled("throughput", &throughput, width, paint, Tone::Quiet);
    lines.extend(labelled("bytes", &traffic, width, paint, Tone::Quiet));
    lines.extend(models::lines(record, &all.series, width, paint));
    let has_steps = record.merge.plan().scenarios.iter().any(|scenario| scenario.steps.len() > 1);
    if has_steps {
        let iterations =
            format!("{} started · {} completed", count(all.iterations_started), count(all.iterations_completed));
        lines.extend(labelled("iterations", &iterations, width, paint, Tone::Quiet));
    }
    lines.extend(steady(record, width, paint));
    lines
}

/// The same without warm-up, ramps and whatever else is no steady state.
fn steady(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let time_s = record.merge.steady_seconds();
    if time_s == 0 {
        return Vec::new();
    }
    let part = record.merge.part(Scope { steady: true, ..Scope::default() });
    let at = |metric, percentile| {
        let latencies = part.series.latencies(metric).filter(|latencies| !latencies.is_empty());
        latencies.map_or("–".to_owned(), |l| latency(l.percentile_us(percentile) as f64).trim_end().to_owned())
    };
    let text = format!(
        "{} of it: completed {} · response p50 {}, p99 {} · service p99 {} · not ok {}",
        duration(std::time::Duration::from_secs(time_s)),
        rate(part.ledger.completed as f64 / time_s as f64),
        at(Metric::ResponseTime, 50.0),
        at(Metric::ResponseTime, 99.0),
        at(Metric::ServiceTime, 99.0),
        percent(part.error_rate()),
    );
    labelled("steady state", &text, width, paint, Tone::Quiet)
}

fn slos(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    let defined = &record.merge.plan().slos;
    let mut table = Table::default();
    for judged in &record.judgements {
        let unit = defined.iter().find(|slo| slo.text == judged.text).map(summary::unit);
        let marked = |passed| if passed { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
        let mut line = |text: &str, passed, value| {
            let (mark, tone) = marked(passed);
            let value_tone = if passed { Tone::Plain } else { Tone::Bad };
            table.push([Cell::new(tone, format!("{mark} {text}")), Cell::new(value_tone, measured(value, unit))]);
        };
        line(&judged.text, judged.passed, judged.value);
        if let Some(apart) = judged.apart {
            line("  without the affected seconds", apart.passed, apart.value);
        }
    }
    table.lines(width, paint)
}

/// What an SLO measured, in its unit.
fn measured(value: Option<f64>, unit: Option<&str>) -> String {
    match (value, unit) {
        (None, _) => "nothing measured".to_owned(),
        (Some(value), Some("us")) => latency(value).trim_end().to_owned(),
        (Some(value), Some("ratio")) => percent(value),
        (Some(value), Some("per_s")) => rate(value),
        (Some(value), _) => value.to_string(),
    }
}

/// Coverage: both laws of the ledger with their numbers, then what is missing.
fn proof(record: &RunRecord, all: &Part, width: usize, paint: Paint) -> Vec<String> {
    let ledger = all.ledger;
    let ratio = coverage::ratio(record);
    let whole = ratio >= 1.0 && record.holes.is_empty() && ledger.planned > 0;
    let tone = if whole { Tone::Good } else { Tone::Doubtful };
    if ledger.planned == 0 && record.holes.is_empty() {
        // All of nothing would read as a whole result.
        return labelled("coverage", "nothing was planned, nothing was sent", width, paint, tone);
    }
    let planned = format!(
        "{}: planned {} = sent {} + skipped {}",
        percent(ratio),
        count(ledger.planned),
        count(ledger.sent),
        count(ledger.skipped)
    );
    let sent = format!(
        "sent {} = completed {} + failed {} + cut off {}",
        count(ledger.sent),
        count(ledger.completed),
        count(ledger.failed),
        count(ledger.cut_off)
    );
    let mut lines = labelled("coverage", &planned, width, paint, tone);
    let indent = " ".repeat(LABEL);
    lines.extend(wrap(&indent, &sent, width));
    if let Some(meant) = record.planned_by_plan.filter(|meant| *meant != ledger.planned) {
        lines.extend(wrap(&indent, &format!("the plan means {} requests", count(meant)), width));
    }
    let skipped: Vec<String> = SkipReason::ALL
        .into_iter()
        .zip(all.skipped)
        .filter(|(_, number)| *number > 0)
        .map(|(reason, number)| format!("{} {}", reason.name(), count(number)))
        .collect();
    if !skipped.is_empty() {
        lines.extend(wrap(&indent, &format!("skipped: {}", skipped.join(", ")), width));
    }
    for hole in &record.holes {
        lines.extend(labelled("hole", &hole.to_string(), width, paint, Tone::Doubtful));
    }
    lines
}

fn told(record: &RunRecord, width: usize, paint: Paint) -> Vec<String> {
    caveats(record).iter().flat_map(|text| labelled("warning", text, width, paint, Tone::Doubtful)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Setup, run, scenario};
    use super::*;
    use crate::terminal::without_colour;
    use proptest::prelude::*;

    fn both(setup: fn() -> Setup) -> String {
        let record = run(setup()).record;
        format!("{}\n{}\n{}", render(&record, 80, false), "=".repeat(120), render(&record, 120, false))
    }

    #[test]
    fn a_whole_run_passes() {
        insta::assert_snapshot!(both(Setup::one_region));
    }

    #[test]
    fn a_failed_slo_is_said_first() {
        insta::assert_snapshot!(both(|| Setup { error_one_in: 30, stall_us: 400_000, ..Setup::one_region() }));
    }

    #[test]
    fn a_hole_makes_a_run_invalid_and_is_named() {
        insta::assert_snapshot!(both(|| Setup { lost: Some((2, 3)), ..Setup::three_regions() }));
    }

    #[test]
    fn an_aborted_run_still_reports() {
        insta::assert_snapshot!(both(|| Setup {
            seconds: 9,
            aborted: Some("stopped by an operator after 9 s: target team asked"),
            ..Setup::one_region()
        }));
    }

    #[test]
    fn three_regions_with_errors_and_warnings() {
        insta::assert_snapshot!(both(|| Setup {
            error_one_in: 200,
            warnings: vec!["target `shop-westeurope`: certificates are not verified (tls.insecure)"],
            ..Setup::three_regions()
        }));
    }

    #[test]
    fn a_run_of_nothing_has_no_figures_to_show() {
        insta::assert_snapshot!(both(|| Setup {
            seconds: 0,
            aborted: Some("no agent was armed within 30 s"),
            ..Setup::one_region()
        }));
    }

    #[test]
    fn long_names_give_way_to_figures() {
        let mut setup = Setup { seconds: 2, error_one_in: 9, ..Setup::three_regions() };
        setup.plan.name = "nightly soak of the checkout of all shops in all regions before the sale".to_owned();
        setup.plan.targets[0].name = "shop-eastus-production-blue-behind-the-new-gateway".to_owned();
        setup.plan.scenarios[0].name = "browse as a visitor who came by a newsletter".to_owned();
        let record = run(setup).record;
        insta::assert_snapshot!([50, 80].map(|width| render(&record, width, false)).join("=====\n"));
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let record = run(Setup { error_one_in: 30, lost: Some((2, 3)), ..Setup::three_regions() }).record;
        let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        for width in [60, 80, 120] {
            let coloured = without_colour(&render(&record, width, true));
            assert_eq!(trimmed(&coloured), trimmed(&render(&record, width, false)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn every_line_fits(name in "\\PC{0,60}", step in "[a-z ビ]{1,50}", width in 40usize..160, error_one_in in 0u64..4, colour: bool) {
            let mut setup = Setup { seconds: 2, per_second: 20, error_one_in, stall_us: 90_000, lost: Some((1, 1)), ..Setup::three_regions() };
            setup.plan.name = name.clone();
            setup.plan.scenarios.push(scenario(&name, &["a", &step], 2));
            setup.plan.targets[0].name = step;
            let text = render(&run(setup).record, width, colour);
            for line in without_colour(&text).lines() {
                prop_assert!(width_of(line) <= width, "{} columns of {width}: {line}", width_of(line));
            }
        }
    }
}
