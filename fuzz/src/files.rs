//! What users write, and controllers and simulators read.

use squall_common::plan::file::{PlanSource, load, referenced_files};
use std::collections::BTreeMap;

/// A plan. What follows a zero byte is the content of every file it refers to.
pub fn plan(bytes: &[u8]) {
    let (text, file) = match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let files: BTreeMap<_, _> =
        referenced_files(text, &[]).into_iter().map(|name| (name, bytes::Bytes::copy_from_slice(file))).collect();
    let mut source = PlanSource { name: "plan.yaml".into(), text: text.into(), files, overrides: Vec::new() };
    match load(&source) {
        Ok(loaded) => {
            // The resolved text means the same plan: results are kept with it.
            source.text = loaded.resolved_yaml;
            let again = load(&source).unwrap_or_else(|problems| panic!("resolved, it has problems:\n{problems}"));
            assert_eq!(again.plan, loaded.plan, "resolved, it is another plan");
        }
        Err(problems) => assert!(!problems.to_string().is_empty(), "refused without a word"),
    }
}

/// A simulated cloud.
pub fn simulator(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = squall_simulator::Config::from_yaml_or_json(text) {
        assert!(!error.to_string().is_empty(), "refused without a word");
    }
}
