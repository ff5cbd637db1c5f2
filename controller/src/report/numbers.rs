//! Numbers as people read them: three digits that matter, and a unit.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with three digits that matter; whole above 100.
fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A latency with its unit padded to two columns, so that numbers under one
/// another line up: `12.3 ms`, `1.20 s `.
pub fn latency(value_us: f64) -> String {
    match value_us {
        us if us < 0.5 => "0 µs".to_owned(),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 999_500.0 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} s ", three_digits(us / 1e6)),
    }
}

/// Something a second: `1,234/s`, `12.3/s`.
pub fn rate(per_s: f64) -> String {
    if per_s >= 999.5 { format!("{}/s", count(per_s.round() as u64)) } else { format!("{}/s", three_digits(per_s)) }
}

/// A ratio as a percentage. What is not all or nothing never reads as if it were.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent {
        p if p >= 100.0 => "100 %".to_owned(),
        p if p > 99.99 => "> 99.99 %".to_owned(),
        p if p >= 10.0 => format!("{p:.2} %"),
        p if p >= 0.01 => format!("{p:.2} %"),
        p if p > 0.0 => "< 0.01 %".to_owned(),
        _ => "0 %".to_owned(),
    }
}

/// Bytes in powers of 1000: `12.3 MB`.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if value < 999.5 {
        return format!("{value:.0} B");
    }
    let mut scaled = value / 1e3;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1e3;
        unit += 1;
    }
    format!("{} {}", three_digits(scaled), UNITS[unit])
}

/// A stretch of time: `4.2 s`, `5 min 30 s`, `2 h 5 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 59.95 {
        let text = format!("{seconds:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let (whole, join) = (
        seconds.round() as u64,
        |big: String, small: u64, unit: &str| {
            if small == 0 { big } else { format!("{big} {small} {unit}") }
        },
    );
    if whole < 3_600 {
        join(format!("{} min", whole / 60), whole % 60, "s")
    } else {
        let minutes = whole / 60;
        join(format!("{} h", minutes / 60), minutes % 60, "min")
    }
}

/// A place in a run: `0:05`, `12:30`, `1:02:03`.
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `1 agent`, `3 agents`.
pub fn plural(value: u64, one: &str) -> String {
    if value == 1 { format!("1 {one}") } else { format!("{} {one}s", count(value)) }
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(instant: SystemTime) -> String {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date_of(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a count of days since 1970 (Howard Hinnant,
/// "chrono-compatible low-level date algorithms": eras of 400 years that begin
/// on the first of March).
fn date_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_a_unit() {
        let latencies = [0.0, 1.0, 999.4, 999.6, 12_345.0, 123_456.0, 999_600.0, 3_600_000_000.0].map(latency);
        assert_eq!(latencies, ["0 µs", "1 µs", "999 µs", "1.00 ms", "12.3 ms", "123 ms", "1.00 s ", "3600 s "]);
        assert_eq!([0.5, 12.34, 999.6, 12_345.6].map(rate), ["0.50/s", "12.3/s", "1,000/s", "12,346/s"]);
        assert_eq!([12.0, 1_234.0, 999_600.0, 5e12].map(bytes), ["12 B", "1.23 kB", "1.00 MB", "5.00 TB"]);
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn nearly_all_is_not_all_and_nearly_none_is_not_none() {
        let ratios = [1.0, 0.999_999, 0.9967, 0.0033, 0.000_001, 0.0].map(percent);
        assert_eq!(ratios, ["100 %", "> 99.99 %", "99.67 %", "0.33 %", "< 0.01 %", "0 %"]);
    }

    #[test]
    fn times_read_as_people_say_them() {
        let times = [0.25, 4.0, 59.96, 330.0, 7_500.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(times, ["0.2 s", "4 s", "1 min", "5 min 30 s", "2 h 5 min"]);
        assert_eq!([5, 750, 3_723].map(clock), ["0:05", "12:30", "1:02:03"]);
    }

    #[test]
    fn instants_are_rfc_3339() {
        let at = |seconds, millis: u32| rfc3339(UNIX_EPOCH + Duration::new(seconds, millis * 1_000_000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 5), "2000-02-29T00:00:00.005Z");
        assert_eq!(at(1_767_225_599, 999), "2025-12-31T23:59:59.999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }
}
