//! The seam to the plan's parser: bundles in and out, plans or every problem.

use bytes::Bytes;
pub use squall_common::plan::file::LoadedPlan;
use squall_common::plan::file::{self, PlanSource, ShowWarnings};
use squall_common::wire::read_bundle;
use squall_proto::{Override, PlanBundle, PlanFile};
use std::io::ErrorKind;
use std::path::Path;

/// Files of a bundle together, with room for the plan itself in the largest message.
const MAX_FILES_BYTES: usize = crate::bundle::MAX_MESSAGE_BYTES - (1 << 20);

/// Reads and checks a bundle. The error is ready to be shown: every problem, with its place.
pub fn load(bundle: &PlanBundle) -> Result<LoadedPlan, String> {
    file::load(&read_bundle(bundle)).map_err(|problems| problems.to_string())
}

/// The plan's warnings, each with its place, as they are to be shown.
pub fn show_warnings(bundle: &PlanBundle, loaded: &LoadedPlan) -> String {
    ShowWarnings { name: &bundle.plan_name, text: &bundle.plan_text, warnings: &loaded.warnings }.to_string()
}

/// The plan's warnings in one line each, for results.
pub fn warning_lines(loaded: &LoadedPlan) -> Vec<String> {
    loaded.warnings.iter().map(|warning| warning.message.clone()).collect()
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => format!("there is no plan {shown}; `squall init` writes one to begin with"),
        ErrorKind::IsADirectory => {
            format!("{shown} is a directory; name the plan in it, e.g. {}", path.join("plan.yaml").display())
        }
        ErrorKind::InvalidData => format!("the plan {shown} is not text in UTF-8; save it as such"),
        _ => format!("cannot read the plan {shown}: {error}"),
    }
}

/// Bundles a plan file with the files it refers to, which are sought beside it.
pub fn bundle_file(path: &Path, overrides: Vec<(String, String)>) -> Result<PlanBundle, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
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
