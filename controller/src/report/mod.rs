//! A finished run as text and files: events in, bytes out.

mod caveats;
mod coverage;
#[cfg(test)]
mod fixture;
mod names;
pub(crate) mod numbers;
mod record;
mod requests;
mod summary;

pub use caveats::caveats;
pub use record::{AgentRecord, RunRecord};
pub use summary::{SCHEMA, summary};
