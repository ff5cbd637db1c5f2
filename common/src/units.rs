//! Durations, rates, sizes and shares as people write and read them.
//!
//! Every number that goes in carries its unit: `30` is refused where `30s` or
//! `30m` could be meant. Parsing is exact to the microsecond, the resolution
//! of every histogram in the cluster.

use std::time::Duration;

/// Why a text is not a quantity, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {advice}")]
pub struct InvalidUnit {
    /// What is wrong, e.g. "`30` has no unit".
    pub message: String,
    /// What to write, e.g. "write `30s`".
    pub advice: String,
}

fn invalid(message: impl Into<String>, advice: impl Into<String>) -> InvalidUnit {
    InvalidUnit { message: message.into(), advice: advice.into() }
}

/// The longest duration accepted: a year, so that sums cannot overflow.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The highest rate accepted, in requests per second.
pub const HIGHEST_RATE: f64 = 10_000_000.0;

/// Parses `30s`, `1m30s`, `500ms`, `1.5h`, `100us`, `0s`.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidUnit> {
    let text = text.trim();
    let example = || format!("`{text}` is not a duration");
    if text.is_empty() {
        return Err(invalid("a duration is missing", "write e.g. `30s`"));
    }
    if is_number(text) {
        return Err(invalid(format!("`{text}` has no unit"), format!("write `{text}s`")));
    }
    let mut rest = text;
    let mut total_us = 0u128;
    let mut last_unit_us = u128::MAX;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        if number.is_empty() {
            return Err(invalid(example(), "write e.g. `30s`, `1m30s` or `500ms`"));
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_us = duration_unit_us(unit.trim())
            .ok_or_else(|| invalid(example(), "the units are `h`, `m`, `s`, `ms` and `us`, as in `1m30s`"))?;
        if unit_us >= last_unit_us {
            return Err(invalid(example(), "write each unit once, the larger first, as in `1m30s`"));
        }
        last_unit_us = unit_us;
        let part = scale(number, unit_us).ok_or_else(|| invalid(example(), "write e.g. `30s`"))?;
        total_us = total_us.saturating_add(part);
        rest = after.trim_start();
    }
    if total_us > LONGEST.as_micros() {
        return Err(invalid(format!("`{text}` is longer than a year"), "write at most `8784h`"));
    }
    Ok(Duration::from_micros(total_us as u64))
}

fn duration_unit_us(unit: &str) -> Option<u128> {
    match unit {
        "us" | "µs" | "μs" => Some(1),
        "ms" => Some(1_000),
        "s" | "sec" => Some(1_000_000),
        "m" | "min" => Some(60_000_000),
        "h" => Some(3_600_000_000),
        "d" => Some(86_400_000_000),
        _ => None,
    }
}

/// `number × unit`, to the nearest whole unit part, without floating-point surprises for short decimals.
fn scale(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 18 {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction_part = if fraction.is_empty() {
        0
    } else {
        let digits: u128 = fraction.parse().ok()?;
        let base = 10u128.pow(fraction.len() as u32);
        (digits * unit + base / 2) / base
    };
    Some(whole * unit + fraction_part)
}

/// Splits digits and at most one point off the front.
fn split_number(text: &str) -> (&str, &str) {
    let mut point_seen = false;
    let end = text
        .char_indices()
        .find(|(_, c)| match c {
            '0'..='9' => false,
            '.' if !point_seen => {
                point_seen = true;
                false
            }
            _ => true,
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, rest) = text.split_at(end);
    if number.bytes().any(|b| b.is_ascii_digit()) { (number, rest) } else { ("", text) }
}

fn is_number(text: &str) -> bool {
    let (number, rest) = split_number(text);
    !number.is_empty() && rest.is_empty()
}

/// Parses `500/s`, `600/min`, `10/h`, `1.5k/s` into requests per second.
pub fn parse_rate(text: &str) -> Result<f64, InvalidUnit> {
    let text = text.trim();
    let not_a_rate = || invalid(format!("`{text}` is not a rate"), "write e.g. `500/s`, `600/min` or `10/h`");
    let Some((count, per)) = text.split_once('/') else {
        return Err(if parse_count(text).is_ok() {
            invalid(format!("`{text}` has no unit"), format!("write `{text}/s`"))
        } else {
            not_a_rate()
        });
    };
    let seconds = match per.trim() {
        "s" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 60.0,
        "h" | "hour" => 3600.0,
        _ => return Err(not_a_rate()),
    };
    let rate = parse_amount(count.trim()).ok_or_else(not_a_rate)? / seconds;
    if rate > HIGHEST_RATE {
        return Err(invalid(format!("`{text}` is more than 10,000,000/s"), "write a lower rate"));
    }
    Ok(rate)
}

/// Parses a whole number, `k` and `M` allowed: `50`, `1_000`, `10k`, `1.5M`.
pub fn parse_count(text: &str) -> Result<u64, InvalidUnit> {
    let text = text.trim();
    let advice = "write a whole number, e.g. `50`, `10k` or `1M`";
    match parse_amount(text) {
        Some(amount) if amount.fract() == 0.0 && amount <= 9e15 => Ok(amount as u64),
        Some(_) => Err(invalid(format!("`{text}` is not a whole number"), advice)),
        None => Err(invalid(format!("`{text}` is not a number"), advice)),
    }
}

/// A number that is finite and not negative, with an optional `k`, `M` or `G`.
fn parse_amount(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let (number, suffix) = split_number(&plain);
    let factor = match suffix {
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return None,
    };
    let amount = number.parse::<f64>().ok()? * factor;
    // 0.1k is 100.00000000000001 in binary: bring it back to what was written.
    let rounded = amount.round();
    Some(if (amount - rounded).abs() < 1e-9 * rounded.max(1.0) { rounded } else { amount })
}

/// Parses `512`, `16KiB`, `1MB`, `2GiB` into bytes.
pub fn parse_bytes(text: &str) -> Result<u64, InvalidUnit> {
    let text = text.trim();
    let not_a_size = || invalid(format!("`{text}` is not a size"), "write e.g. `512B`, `16KiB` or `1MB`");
    let (number, unit) = split_number(text);
    let factor: u128 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(not_a_size()),
    };
    scale(number, factor).filter(|_| !number.is_empty()).and_then(|n| u64::try_from(n).ok()).ok_or_else(not_a_size)
}

/// Parses `50%` or `0.1%` into a ratio, 0.5 or 0.001.
pub fn parse_percent(text: &str) -> Result<f64, InvalidUnit> {
    let text = text.trim();
    let advice = || if is_number(text) { format!("write `{text}%`") } else { "write e.g. `50%` or `0.1%`".to_owned() };
    let Some(number) = text.strip_suffix('%').map(str::trim_end).filter(|number| is_number(number)) else {
        return Err(invalid(format!("`{text}` is not a percentage"), advice()));
    };
    let percent: f64 = number.parse().map_err(|_| invalid(format!("`{text}` is not a percentage"), advice()))?;
    if percent > 100.0 {
        return Err(invalid(format!("`{text}` is more than everything"), "write at most `100%`"));
    }
    Ok(percent / 100.0)
}

/// A latency for people, three significant digits: `0.83 ms`, `1.23 ms`, `45.6 s`.
pub fn show_us(us: f64) -> String {
    if !us.is_finite() {
        return "-".to_owned();
    }
    match us {
        us if us < 1_000.0 => format!("{} µs", three_digits(us)),
        us if us < 1_000_000.0 => format!("{} ms", three_digits(us / 1e3)),
        us if us < 120_000_000.0 => format!("{} s", three_digits(us / 1e6)),
        us => show_duration(Duration::from_secs((us / 1e6).round() as u64)),
    }
}

/// A duration as a plan would have it: `1m30s`, `500ms`, `0s`. [`parse_duration`] reads it back.
pub fn show_duration(duration: Duration) -> String {
    let mut rest_us = duration.as_micros();
    if rest_us == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_us) in [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)] {
        let n = rest_us / unit_us;
        if n > 0 {
            text += &format!("{n}{unit}");
            rest_us -= n * unit_us;
        }
    }
    text
}

/// A rate for people: `512/s`, `9.87k/s`, `30/min`.
pub fn show_rate(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() => "-".to_owned(),
        0.0 => "0/s".to_owned(),
        rate if rate < 1.0 / 60.0 => format!("{}/h", three_digits(rate * 3600.0)),
        rate if rate < 1.0 => format!("{}/min", three_digits(rate * 60.0)),
        rate if rate < 10_000.0 => format!("{}/s", three_digits(rate)),
        rate if rate < 1e6 => format!("{}k/s", three_digits(rate / 1e3)),
        rate => format!("{}M/s", three_digits(rate / 1e6)),
    }
}

/// A size for people, binary units: `512 B`, `16.0 KiB`.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A ratio for people: `0.1%`, `100%`.
pub fn show_percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if !percent.is_finite() {
        return "-".to_owned();
    }
    let text = if (99.95..100.0).contains(&percent) { format!("{percent:.3}") } else { format!("{percent:.2}") };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "0" && percent > 0.0 { "<0.01%".to_owned() } else { format!("{text}%") }
}

/// A count for people, thousands apart: `1,234,567`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v == v.round() && v < 1000.0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> u64 {
        parse_duration(text).unwrap().as_micros() as u64
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(us("30s"), 30_000_000);
        assert_eq!(us("1m30s"), 90_000_000);
        assert_eq!(us("500ms"), 500_000);
        assert_eq!(us("1.5h"), 5_400_000_000);
        assert_eq!(us("100us"), 100);
        assert_eq!(us("0.1s"), 100_000);
        assert_eq!(us("0s"), 0);
        assert_eq!(us("1h 2m"), 3_720_000_000);
    }

    #[test]
    fn a_bare_number_is_refused_with_what_to_write() {
        assert_eq!(parse_duration("30").unwrap_err().advice, "write `30s`");
        assert_eq!(parse_rate("500").unwrap_err().advice, "write `500/s`");
        assert_eq!(parse_percent("50").unwrap_err().advice, "write `50%`");
    }

    #[test]
    fn nonsense_durations_are_refused() {
        for text in ["", "s", "30x", "1s1m", "1s1s", "-1s", "1..5s", "99999999h", "1e3s", "١s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_per_second_whatever_their_unit() {
        assert_eq!(parse_rate("500/s"), Ok(500.0));
        assert_eq!(parse_rate("600/min"), Ok(10.0));
        assert_eq!(parse_rate("36/h"), Ok(0.01));
        assert_eq!(parse_rate("1.5k/s"), Ok(1500.0));
        for text in ["/s", "x/s", "5/fortnight", "-1/s", "11M/s", "inf/s", "NaN/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_counts_and_shares() {
        assert_eq!(parse_bytes("16KiB"), Ok(16_384));
        assert_eq!(parse_bytes("1MB"), Ok(1_000_000));
        assert!(parse_bytes("1 elephant").is_err());
        assert_eq!(parse_count("10k"), Ok(10_000));
        assert_eq!(parse_count("0.1k"), Ok(100));
        assert!(parse_count("1.5").is_err());
        assert_eq!(parse_percent("0.1%"), Ok(0.001));
        assert!(parse_percent("101%").is_err());
    }

    #[test]
    fn figures_are_shown_with_three_digits() {
        assert_eq!(show_us(830.0), "830 µs");
        assert_eq!(show_us(1_234.0), "1.23 ms");
        assert_eq!(show_us(45_600_000.0), "45.6 s");
        assert_eq!(show_rate(0.5), "30/min");
        assert_eq!(show_rate(512.0), "512/s");
        assert_eq!(show_rate(98_700.0), "98.7k/s");
        assert_eq!(show_bytes(16_384), "16 KiB");
        assert_eq!(show_percent(0.001), "0.1%");
        assert_eq!(show_percent(1.0), "100%");
        assert_eq!(show_percent(0.00001), "<0.01%");
        assert_eq!(show_count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_shown_duration_is_read_back() {
        for us in [0u64, 1, 999, 1_000, 90_000_000, 3_661_001_001] {
            let duration = Duration::from_micros(us);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
    }
}
