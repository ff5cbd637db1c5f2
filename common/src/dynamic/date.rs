//! Civil dates from milliseconds since the epoch (Hinnant, "chrono-compatible low-level date algorithms").

use std::io::Write;

pub(super) struct Date {
    pub(super) year: i64,
    pub(super) month: u32,
    pub(super) day: u32,
    /// 0 is Sunday.
    pub(super) weekday: usize,
    pub(super) ms_of_day: u64,
}

pub(super) fn civil(unix_ms: u64) -> Date {
    let days = (unix_ms / 86_400_000) as i64;
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32,
        weekday: ((days + 4) % 7) as usize,
        ms_of_day: unix_ms % 86_400_000,
    }
}

/// `2026-01-02T03:04:05.678Z`
pub(super) fn rfc3339(unix_ms: u64, out: &mut Vec<u8>) {
    let date = civil(unix_ms);
    let (seconds, ms) = (date.ms_of_day / 1000, date.ms_of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ =
        write!(out, "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", date.year, date.month, date.day);
}

/// As JavaScript prints dates, which is what Postman sends: `Tue Mar 03 2026 10:20:30 GMT+0000`
pub(super) fn javascript(unix_ms: u64, out: &mut Vec<u8>) {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let date = civil(unix_ms);
    let seconds = date.ms_of_day / 1000;
    let _ = write!(
        out,
        "{} {} {:02} {:04} {:02}:{:02}:{:02} GMT+0000",
        DAYS[date.weekday],
        MONTHS[date.month as usize - 1],
        date.day,
        date.year,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
}
