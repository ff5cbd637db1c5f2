//! A finished run as text and files: events in, bytes out.

pub mod caveats;
mod coverage;
mod errors;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
pub mod hlog;
mod models;
mod names;
pub(crate) mod numbers;
mod origin;
pub mod progress;
mod record;
mod requests;
mod summary;
mod tables;
mod terminal;
pub mod timeseries;

pub use caveats::caveats;
pub use errors::{Kept, errors_jsonl};
pub use files::{files, summary_json};
pub use record::{AgentRecord, RunRecord};
pub use summary::{SCHEMA, summary};
pub use terminal::render;
