//! The seam to the plan's parser: bundles in and out, plans or every problem.

use bytes::Bytes;
pub use squall_common::plan::file::LoadedPlan;
use squall_common::plan::file::{self, PlanSource, ShowWarnings};
use squall_common::plan::limits;
use squall_common::wire::read_bundle;
use squall_proto::{Override, PlanBundle, PlanFile};
use std::io::ErrorKind;
use std::path::Path;

/// Reads and checks a bundle. The error is ready to be shown: every problem, with its place.
pub fn load(bundle: &PlanBundle) -> Result<LoadedPlan, String> {
    let source = read_bundle(bundle);
    limits::check(&source).map_err(|too_large| too_large.to_string())?;
    file::load(&source).map_err(|problems| problems.to_string())
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
    let too_large = |too_large: limits::TooLarge| format!("{shown}: {too_large}");
    limits::check(&source).map_err(too_large)?;
    for name in file::referenced_files(&source.text, &source.overrides) {
        let path = beside.join(&name);
        if let Some(bytes) = std::fs::metadata(&path).map(|meta| meta.len() as usize).ok()
            && bytes > limits::MAX_FILE_BYTES
        {
            return Err(too_large(limits::TooLarge::File { name, bytes }));
        }
        // A file that cannot be read is left out: the parser names it, with its place in the plan.
        let Ok(content) = std::fs::read(path) else { continue };
        source.files.insert(name, Bytes::from(content));
        limits::check(&source).map_err(too_large)?;
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
