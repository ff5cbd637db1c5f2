//! Dynamic values: `{{$randomInt}}`, `{{$guid}}` and Postman's other names.
//!
//! Values come from the request's own [`Random`], so a seed names them for
//! ever, and none of them holds a quote, a backslash or a control character:
//! they can stand inside a JSON text as they are.

mod date;
mod fakes;
mod words;

use crate::plan::Dynamic;
use crate::plan::nearest;
use crate::random::Random;
use std::io::Write;

/// Why a text in `{{$…}}` is not a dynamic value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {advice}")]
pub struct InvalidDynamic {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub advice: String,
}

const OWN: [&str; 5] = ["randomInt", "guid", "randomUUID", "timestamp", "isoTimestamp"];

/// Every name, as it is written after `$`. Case does not matter when reading.
pub fn names() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(fakes::FAKES.iter().map(|fake| fake.name))
}

/// The known name closest to `name`.
pub fn nearest_name(name: &str) -> Option<&'static str> {
    nearest(name, names())
}

/// Reads what stands between `{{$` and `}}`: a name, and for `randomInt` optional
/// bounds, as `randomInt 1 100` or `randomInt(1,100)`.
pub fn parse(call: &str) -> Result<Dynamic, InvalidDynamic> {
    let name_end = call.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(call.len());
    let (name, arguments) = call.split_at(name_end);
    let arguments = arguments.trim();
    let is_int = name.eq_ignore_ascii_case("randomInt");
    let parsed = match name.to_ascii_lowercase().as_str() {
        "randomint" => int(call, arguments)?,
        "guid" | "randomuuid" => Dynamic::Guid,
        "timestamp" => Dynamic::Timestamp,
        "isotimestamp" => Dynamic::IsoTimestamp,
        _ => fake(name)?,
    };
    if !is_int && !arguments.is_empty() {
        let message = format!("`${name}` takes nothing after its name");
        return Err(InvalidDynamic { message, advice: format!("write `{{{{${name}}}}}`") });
    }
    Ok(parsed)
}

fn fake(name: &str) -> Result<Dynamic, InvalidDynamic> {
    match fakes::FAKES.iter().position(|fake| fake.name.eq_ignore_ascii_case(name)) {
        Some(index) => Ok(Dynamic::Fake(index as u16)),
        None => Err(InvalidDynamic {
            message: format!("there is no dynamic value `${name}`"),
            advice: match nearest_name(name) {
                Some(near) => format!("write `{{{{${near}}}}}`"),
                None => "common ones are `$randomInt`, `$guid`, `$timestamp` and `$randomFirstName`".to_owned(),
            },
        }),
    }
}

fn int(call: &str, arguments: &str) -> Result<Dynamic, InvalidDynamic> {
    let wrong = |message: String| InvalidDynamic { message, advice: "write e.g. `{{$randomInt 1 100}}`".to_owned() };
    let inside = arguments.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(arguments);
    let bounds: Vec<&str> = inside.split([',', ' ']).filter(|bound| !bound.is_empty()).collect();
    let bounds: Option<Vec<i64>> = bounds.iter().map(|bound| bound.parse().ok()).collect();
    match bounds.as_deref() {
        Some([]) => Ok(Dynamic::Int { min: 0, max: 1000 }),
        Some([min, max]) if min <= max => Ok(Dynamic::Int { min: *min, max: *max }),
        Some([min, max]) => Err(wrong(format!("`${call}`: {min} is above {max}"))),
        _ => Err(wrong(format!("`${call}` needs two whole numbers as bounds, or none"))),
    }
}

/// Appends one value. Allocates nothing but the growth of `out`.
pub fn render(dynamic: &Dynamic, random: &mut Random, now_unix_ms: u64, out: &mut Vec<u8>) {
    match dynamic {
        Dynamic::Int { min, max } => number(out, random.between(*min, *max)),
        Dynamic::Guid => guid(random, out),
        Dynamic::Timestamp => number(out, (now_unix_ms / 1000) as i64),
        Dynamic::IsoTimestamp => date::rfc3339(now_unix_ms, out),
        Dynamic::Fake(index) => {
            if let Some(fake) = fakes::FAKES.get(usize::from(*index)) {
                fakes::render(fake.made_of, random, now_unix_ms, out);
            }
        }
    }
}

fn number(out: &mut Vec<u8>, value: i64) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

fn guid(random: &mut Random, out: &mut Vec<u8>) {
    let high = random.next_u64() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000;
    let low = random.next_u64() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000;
    let _ = write!(
        out,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    );
}

#[cfg(test)]
mod tests;
