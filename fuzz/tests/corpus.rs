//! Every decoder survives its corpus, and thousands of variations of it.

use squall_fuzz::variation::{self, Dice};
use squall_fuzz::{TARGETS, Target, seeds};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

/// For each target; a few seconds in all.
const VARIATIONS: usize = 20_000;

/// What is kept for a target: made from real inputs, and whatever once broke it.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(&path).expect("an input"));
    let mut inputs: Vec<_> = entries.map(|entry| read(entry.expect("an entry").path())).collect();
    inputs.sort();
    inputs
}

/// The corpus, and what is written today.
fn good_inputs(target: &Target) -> Vec<Vec<u8>> {
    let is_of_target = |name: &str| name.split_once('/').is_some_and(|(of, _)| of == target.name);
    let today = seeds::all().into_iter().filter(|(name, _)| is_of_target(name));
    corpus(target).into_iter().chain(today).map(|(_, bytes)| bytes).collect()
}

/// Feeds a target; a panic is told with the input that caused it.
fn feed(target: &Target, what: &str, bytes: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.feed)(bytes))) {
        let file = std::env::temp_dir().join(format!("squall-fuzz-{}", target.name));
        std::fs::write(&file, bytes).expect("the input is kept");
        eprintln!("{}: {what} broke it; the input is in {}", target.name, file.display());
        resume_unwind(panic);
    }
}

#[test]
fn every_decoder_survives_its_corpus() {
    for target in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{} has no corpus", target.name);
        corpus.iter().for_each(|(name, bytes)| feed(target, name, bytes));
    }
}

#[test]
fn every_decoder_survives_damage() {
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(|| {
                let inputs = good_inputs(target);
                for seed in 0..VARIATIONS {
                    let bytes = variation::of(&inputs, &mut Dice::new(seed as u64));
                    feed(target, &format!("variation {seed}"), &bytes);
                }
            });
        }
    });
}

/// Damage to what is refused at its first byte would test nothing behind it.
#[test]
fn what_is_written_today_is_read() {
    use prost::Message;
    for (name, bytes) in seeds::all().iter().filter(|(name, _)| name.starts_with("snapshot/")) {
        let wire = squall_proto::Snapshot::decode(bytes.as_slice()).expect("a message");
        squall_common::wire::read_snapshot(&wire).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    }
}
