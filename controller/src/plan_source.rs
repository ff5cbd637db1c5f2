//! The seam to the plan's parser: a bundle in, a plan or every problem out.

pub use crate::plan_source_placeholder::{LoadedPlan, load_source};
use squall_proto::{Override, PlanBundle, PlanFile};
use std::path::Path;

/// Reads and checks a bundle. The error is ready to be shown: every problem, with its place.
pub fn load(bundle: &PlanBundle) -> Result<LoadedPlan, String> {
    load_source(bundle)
}

/// Bundles a plan file with the files it refers to, which are sought beside it.
pub fn bundle_file(path: &Path, overrides: Vec<(String, String)>) -> Result<PlanBundle, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read the plan {shown}: {error}"))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut bundle = bundle_text(&shown.to_string(), text, overrides);
    for name in crate::plan_source_placeholder::referenced_files(&bundle) {
        // A file that cannot be read is left out: the parser names it, with its place in the plan.
        if let Ok(content) = std::fs::read(beside.join(&name)) {
            bundle.files.push(PlanFile { path: name, content: content.into() });
        }
    }
    let size: usize = bundle.files.iter().map(|file| file.content.len()).sum();
    if size >= crate::bundle::MAX_MESSAGE_BYTES - (1 << 20) {
        return Err(format!("the files that {shown} refers to are {} MiB together; 63 MiB can be sent", size >> 20));
    }
    Ok(bundle)
}

/// A plan that is in no file.
pub fn bundle_text(name: &str, text: String, overrides: Vec<(String, String)>) -> PlanBundle {
    PlanBundle {
        plan_name: name.to_owned(),
        plan_text: text,
        files: Vec::new(),
        overrides: overrides.into_iter().map(|(key, value)| Override { key, value }).collect(),
    }
}
