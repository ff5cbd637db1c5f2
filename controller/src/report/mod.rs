//! A finished run as text and files: events in, bytes out.

mod record;

pub use record::{AgentRecord, RunRecord};
