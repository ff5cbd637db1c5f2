//! libFuzzer on one target: `SQUALL_FUZZ_TARGET=plan squall-fuzz CORPUS`.
#![no_main]
// libFuzzer calls in by symbol, and the macro declares them.
#![allow(unsafe_code)]

use squall_fuzz::{TARGETS, Target, target};
use std::sync::LazyLock;

static CHOSEN: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("SQUALL_FUZZ_TARGET").unwrap_or_default();
    let known = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    target(&name).unwrap_or_else(|| panic!("SQUALL_FUZZ_TARGET names none of {}", known()))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (CHOSEN.feed)(bytes));
