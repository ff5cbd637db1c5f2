//! The Azure LLM inference trace (Azure/AzurePublicDataset, 2023 and 2024): CSV
//! with `TIMESTAMP,ContextTokens,GeneratedTokens`, CRLF, seven digits of a second.

use super::{Line, tokens};
use crate::problems::Findings;

const TIMESTAMP: &str = "TIMESTAMP";
const CONTEXT: &str = "ContextTokens";
const GENERATED: &str = "GeneratedTokens";

/// Where the three columns stand.
struct Columns {
    count: usize,
    timestamp: usize,
    context: usize,
    generated: usize,
}

pub(super) fn read(text: &str, findings: &mut Findings<'_>) -> Vec<Line> {
    let mut rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((n, header)) = rows.next() else { return Vec::new() };
    let Some(columns) = columns(header, n as u32 + 1, findings) else { return Vec::new() };
    rows.filter_map(|(n, row)| line(row, n as u32 + 1, &columns, findings)).collect()
}

fn columns(header: &str, line: u32, findings: &mut Findings<'_>) -> Option<Columns> {
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let place = |name: &str| names.iter().position(|given| given.eq_ignore_ascii_case(name));
    let found = (place(TIMESTAMP), place(CONTEXT), place(GENERATED));
    if let (Some(timestamp), Some(context), Some(generated)) = found {
        return Some(Columns { count: names.len(), timestamp, context, generated });
    }
    let missing: Vec<&str> = [TIMESTAMP, CONTEXT, GENERATED].into_iter().filter(|name| place(name).is_none()).collect();
    findings.add_with_advice(line, format!("the header has no column {}", missing.join(", ")), super::SHAPES);
    None
}

/// `None` for a line with problems, all of which are told.
fn line(row: &str, number: u32, columns: &Columns, findings: &mut Findings<'_>) -> Option<Line> {
    let mut column = 1;
    let mut fields = Vec::with_capacity(columns.count);
    for field in row.split(',') {
        fields.push((column, field.trim()));
        column += field.chars().count() as u32 + 1;
    }
    if fields.len() != columns.count {
        let message = format!("{} fields where the header names {}", fields.len(), columns.count);
        findings.add(number, 1, message);
        return None;
    }
    let mut told = |(column, name, result): (u32, &str, Result<i128, String>)| {
        result.map_err(|problem| findings.add(number, column, format!("{name}: {problem}"))).ok()
    };
    let count = |place: usize, name| {
        let (column, field) = fields[place];
        let parsed = field.parse::<u64>().map_err(|_| format!("`{field}` is not a whole number"));
        (column, name, parsed.and_then(tokens).map(i128::from))
    };
    let (column, field) = fields[columns.timestamp];
    let at_ns = told((column, TIMESTAMP, timestamp(field)));
    let (input, output) = (told(count(columns.context, CONTEXT)), told(count(columns.generated, GENERATED)));
    Some(Line { at_ns: at_ns?, input_tokens: input? as u32, output_tokens: output? as u32, hash_ids: Box::default() })
}

/// Nanoseconds since 1970 of `2023-11-16 18:17:03.9799600`, with or without a
/// fraction of up to nine digits and an offset (`Z`, `+00:00`).
fn timestamp(text: &str) -> Result<i128, String> {
    parse_timestamp(text).ok_or_else(|| format!("`{text}` is not a time such as `2023-11-16 18:17:03.9799600`"))
}

fn parse_timestamp(text: &str) -> Option<i128> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, offset_s) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], offset_seconds(&time[at..])?),
        None => (time, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range || fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction.parse::<i128>().ok()? * 10i128.pow(9 - fraction.len() as u32);
    let seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second - offset_s;
    Some(i128::from(seconds) * 1_000_000_000 + nanos)
}

/// Three numbers of so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let [hours, minutes, _] = numbers(&format!("{hours}:{minutes}:00"), ':', [2, 2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar (H. Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(timestamp("1970-01-01 00:00:00"), Ok(0));
        assert_eq!(timestamp("2023-11-16 18:17:03.9799600"), Ok(1_700_158_623_979_960_000));
        assert_eq!(timestamp("2024-05-10 00:00:00.009930+00:00"), Ok(1_715_299_200_009_930_000));
        assert_eq!(timestamp("2024-02-29T02:00:00+02:00"), timestamp("2024-02-29T00:00:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "7",
            "2023-11-16",
            "2023-02-29 00:00:00",
            "2023-13-01 00:00:00",
            "2023-11-16 24:00:00",
            "2023-11-16 1:00:00",
            "2023-11-16 00:00:00.",
            "2023-11-16 00:00:00.1234567890",
            "2023-11-16 00:00:00+2",
            "2023-11-16 00:00:00+é",
        ] {
            assert!(timestamp(wrong).unwrap_err().contains("is not a time"), "{wrong}");
        }
    }
}
