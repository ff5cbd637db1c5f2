//! `squall report`: what a run came to, again.

use super::client::{At, Operator};
use super::failure::{self, Ended, Failure};
use super::output::{data, note, without_colours};
use super::results;
use crate::reporting::TERMINAL_SUMMARY;
use crate::terminal::Terminal;
use squall_common::verdict::Verdict;
use std::path::{Path, PathBuf};

/// Shows a run's summary again, or saves its files
///
/// The exit code is the run's own: 0 passed, 10, 11 or 12.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall report latest
  squall report 01JQ --out ./results
  squall report ./squall-results/01JQ... --json")]
pub struct Args {
    /// A run (its id, the beginning of it, or `latest`), or a results directory
    #[arg(value_name = "RUN|DIR")]
    run: String,
    #[command(flatten)]
    at: At,
    /// Save the files here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print summary.json to standard output
    #[arg(long)]
    json: bool,
}

/// Performs the command.
pub async fn perform(args: Args) -> Ended {
    let dir = Path::new(&args.run);
    let files = if dir.is_dir() {
        read_dir(dir)?
    } else if is_path(&args.run) {
        return Err(Failure::usage(format!(
            "there is no results directory {0}; a run is named by its id or `latest`",
            args.run
        )));
    } else {
        Operator::connect(&args.at.controller, &args.at.access).await?.result(&args.run).await?
    };
    let no_summary = || Failure::usage(format!("{} is no results directory: it has no summary.json", args.run));
    let summary = text_of(&files, "summary.json").ok_or_else(no_summary)?;
    let parsed: serde_json::Value = serde_json::from_str(&summary)
        .map_err(|error| Failure::usage(format!("the summary.json of {} is damaged: {error}", args.run)))?;
    let verdict = parsed.get("verdict").and_then(serde_json::Value::as_str).unwrap_or_default();
    if Verdict::from_name(verdict).is_none() {
        let version = env!("CARGO_PKG_VERSION");
        return Err(Failure::usage(format!(
            "the summary.json of {} has the verdict `{verdict}`, which squall {version} does not know",
            args.run
        )));
    }
    if args.json {
        data(&summary)?;
    } else {
        show(&files);
    }
    if let Some(out) = &args.out {
        results::prepare(out)?;
        results::write(out, &saved(&files))?;
        note(&format!("results in {}", out.display()));
    }
    Ok(failure::code_of_verdict(verdict))
}

/// Ids have neither of these.
fn is_path(run: &str) -> bool {
    run.contains(['/', '.'])
}

fn read_dir(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", dir.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().is_file()) {
            files.push((name, std::fs::read(entry.path()).map_err(unreadable)?));
        }
    }
    Ok(files)
}

fn text_of(files: &[(String, Vec<u8>)], name: &str) -> Option<String> {
    let (_, bytes) = files.iter().find(|(file, _)| file == name)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// The summary on stderr, with colours where they are wanted.
pub fn show(files: &[(String, Vec<u8>)]) {
    let coloured = text_of(files, TERMINAL_SUMMARY).or_else(|| text_of(files, "summary.txt"));
    let Some(text) = coloured else {
        return note("summary.txt is not there; --json prints summary.json");
    };
    let text = if Terminal::of_stderr().colour { text } else { without_colours(&text) };
    note(text.trim_end());
}

/// The files that a results directory gets.
pub fn saved(files: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    files.iter().filter(|(name, _)| name != TERMINAL_SUMMARY).cloned().collect()
}
