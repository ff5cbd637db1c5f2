//! The seam to the plan's parser: bundles in and out, plans or every problem.

use bytes::Bytes;
pub use squall_common::plan::file::LoadedPlan;
use squall_common::plan::file::{self, PlanSource, ShowWarnings};
use squall_proto::{Override, PlanBundle, PlanFile};
use std::path::Path;

/// Files of a bundle together, with room for the plan itself in the largest message.
const MAX_FILES_BYTES: usize = crate::bundle::MAX_MESSAGE_BYTES - (1 << 20);

/// A bundle as the parser takes it.
fn source_of(bundle: &PlanBundle) -> PlanSource {
    PlanSource {
        name: bundle.plan_name.clone(),
        text: bundle.plan_text.clone(),
        files: bundle.files.iter().map(|file| (file.path.clone(), file.content.clone())).collect(),
        overrides: bundle.overrides.iter().map(|over| (over.key.clone(), over.value.clone())).collect(),
    }
}

/// Reads and checks a bundle. The error is ready to be shown: every problem, with its place.
pub fn load(bundle: &PlanBundle) -> Result<LoadedPlan, String> {
    file::load(&source_of(bundle)).map_err(|problems| problems.to_string())
}

/// The plan's warnings, each with its place, as they are to be shown.
pub fn show_warnings(bundle: &PlanBundle, loaded: &LoadedPlan) -> String {
    ShowWarnings { name: &bundle.plan_name, text: &bundle.plan_text, warnings: &loaded.warnings }.to_string()
}

/// The plan's warnings in one line each, for results.
pub fn warning_lines(loaded: &LoadedPlan) -> Vec<String> {
    loaded.warnings.iter().map(|warning| warning.message.clone()).collect()
}

/// Bundles a plan file with the files it refers to, which are sought beside it.
pub fn bundle_file(path: &Path, overrides: Vec<(String, String)>) -> Result<PlanBundle, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read the plan {shown}: {error}"))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut source = PlanSource { name: shown.to_string(), text, overrides, ..PlanSource::default() };
    let mut size = 0;
    for name in file::referenced_files(&source.text, &source.overrides) {
        // A file that cannot be read is left out: the parser names it, with its place in the plan.
        let Ok(content) = std::fs::read(beside.join(&name)) else { continue };
        size += content.len();
        if size > MAX_FILES_BYTES {
            let limit = MAX_FILES_BYTES >> 20;
            return Err(format!("the files that {shown} refers to are more than {limit} MiB together"));
        }
        source.files.insert(name, Bytes::from(content));
    }
    Ok(bundle_source(source))
}

/// A plan and its files as one unit that travels.
pub fn bundle_source(source: PlanSource) -> PlanBundle {
    PlanBundle {
        plan_name: source.name,
        plan_text: source.text,
        files: source.files.into_iter().map(|(path, content)| PlanFile { path, content }).collect(),
        overrides: source.overrides.into_iter().map(|(key, value)| Override { key, value }).collect(),
    }
}
