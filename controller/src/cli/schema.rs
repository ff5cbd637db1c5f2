//! `squall schema`: the plan's shape, for editors.

use super::failure::{self, Ended};
use super::output::data;
use squall_common::plan::file::json_schema;

/// Prints the JSON Schema of plans, for editors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  squall schema > squall-plan.schema.json")]
pub struct Args {}

/// Performs the command.
pub fn perform(_: Args) -> Ended {
    data(&format!("{:#}\n", json_schema()))?;
    Ok(failure::OK)
}
