//! How large a plan may be, with all it brings along.
//!
//! A plan comes from outside: nothing is parsed, stored or sent on before it is
//! known to be of a size that every part of the cluster can hold.

use super::file::PlanSource;
use crate::units::show_bytes;

/// The plan's own text.
pub const MAX_PLAN_BYTES: usize = 1 << 20;
/// Feeders, bodies and certificates.
pub const MAX_FILES: usize = 256;
/// One of them.
pub const MAX_FILE_BYTES: usize = 32 << 20;
/// All of them; the largest message holds the plan and its overrides beside it.
pub const MAX_FILES_BYTES: usize = 60 << 20;
/// A file's name, as the plan writes it.
pub const MAX_NAME_BYTES: usize = 1024;
/// `--set` and `--target` together.
pub const MAX_OVERRIDES: usize = 256;
/// Key and value of one.
pub const MAX_OVERRIDE_BYTES: usize = 64 << 10;

/// What of a plan is too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    #[error("the plan is {}, and {} is the most: put data into feeders and bodies into files beside it",
        show_bytes(*.0 as u64), show_bytes(MAX_PLAN_BYTES as u64))]
    Plan(usize),
    #[error("the plan refers to {0} files, and {MAX_FILES} is the most: join some of them")]
    Files(usize),
    #[error("the file `{name}` is {}, and {} is the most: keep fewer rows in it",
        show_bytes(*bytes as u64), show_bytes(MAX_FILE_BYTES as u64))]
    File { name: String, bytes: usize },
    #[error("the files that the plan refers to are {} together, and {} is the most",
        show_bytes(*.0 as u64), show_bytes(MAX_FILES_BYTES as u64))]
    AllFiles(usize),
    #[error("a file name of the plan has {0} bytes, and {MAX_NAME_BYTES} is the most")]
    Name(usize),
    #[error("{0} values are set over the plan, and {MAX_OVERRIDES} is the most: write them into the plan")]
    Overrides(usize),
    #[error("the value set for `{key}` is {}, and {} is the most: write it into the plan",
        show_bytes(*bytes as u64), show_bytes(MAX_OVERRIDE_BYTES as u64))]
    Override { key: String, bytes: usize },
}

/// Refuses what is too much, before anything else looks at it.
pub fn check(source: &PlanSource) -> Result<(), TooLarge> {
    let over = |value: usize, limit: usize, error: fn(usize) -> TooLarge| {
        if value > limit { Err(error(value)) } else { Ok(()) }
    };
    over(source.text.len(), MAX_PLAN_BYTES, TooLarge::Plan)?;
    over(source.name.len(), MAX_NAME_BYTES, TooLarge::Name)?;
    over(source.files.len(), MAX_FILES, TooLarge::Files)?;
    for (name, content) in &source.files {
        over(name.len(), MAX_NAME_BYTES, TooLarge::Name)?;
        if content.len() > MAX_FILE_BYTES {
            return Err(TooLarge::File { name: name.clone(), bytes: content.len() });
        }
    }
    over(source.files.values().map(bytes::Bytes::len).sum(), MAX_FILES_BYTES, TooLarge::AllFiles)?;
    over(source.overrides.len(), MAX_OVERRIDES, TooLarge::Overrides)?;
    for (key, value) in &source.overrides {
        let bytes = key.len() + value.len();
        if bytes > MAX_OVERRIDE_BYTES {
            return Err(TooLarge::Override { key: key.chars().take(64).collect(), bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn files(count: usize, bytes: usize) -> PlanSource {
        let content = Bytes::from(vec![b'x'; bytes]);
        let files = (0..count).map(|n| (format!("{n}.csv"), content.clone())).collect();
        PlanSource { files, ..PlanSource::default() }
    }

    #[test]
    fn what_is_just_within_every_limit_passes() {
        let mut source = files(MAX_FILES, MAX_FILES_BYTES / MAX_FILES);
        source.text = "x".repeat(MAX_PLAN_BYTES);
        source.overrides = vec![("a".into(), "x".repeat(100)); MAX_OVERRIDES];
        assert_eq!(check(&source), Ok(()));
    }

    #[test]
    fn each_limit_is_told_with_its_numbers() {
        let text = PlanSource { text: "x".repeat(MAX_PLAN_BYTES + 1), ..PlanSource::default() };
        let name = PlanSource { files: [("x".repeat(1025), Bytes::new())].into(), ..PlanSource::default() };
        let of_overrides = |overrides| PlanSource { overrides, ..PlanSource::default() };
        let sets = of_overrides(vec![("a".into(), "b".into()); 257]);
        let set = of_overrides(vec![("key".into(), "x".repeat(MAX_OVERRIDE_BYTES))]);
        for (source, told) in [
            (text, "the plan is 1.00 MiB, and 1 MiB is the most"),
            (files(257, 1), "257 files, and 256 is the most"),
            (files(1, MAX_FILE_BYTES + 1), "the file `0.csv` is 32.0 MiB"),
            (files(3, 21 << 20), "63 MiB together, and 60 MiB is the most"),
            (name, "a file name of the plan has 1025 bytes"),
            (sets, "257 values are set"),
            (set, "the value set for `key` is 64.0 KiB"),
        ] {
            let error = check(&source).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
