//! `squall init`: a plan to begin with.

use super::failure::{self, Ended, Failure};
use super::output::note;
use squall_common::plan::file::INIT_PLAN;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Writes a plan to begin with
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall init
  squall init checkout.yaml")]
pub struct Args {
    /// Where to; a file that exists is left alone
    #[arg(value_name = "FILE", default_value = "plan.yaml")]
    file: PathBuf,
}

/// Performs the command.
pub fn perform(args: Args) -> Ended {
    let shown = args.file.display();
    let created = OpenOptions::new().write(true).create_new(true).open(&args.file);
    created.and_then(|mut file| file.write_all(INIT_PLAN.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format!("{shown} exists already; name another file")),
        _ => Failure::usage(format!("cannot write {shown}: {error}")),
    })?;
    note(&format!("wrote {shown}; next: squall check {shown}"));
    Ok(failure::OK)
}
