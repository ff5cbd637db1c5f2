//! Squall's cluster brain, CLI and reports.

pub mod registry;
pub mod report;
pub mod run;
pub mod store;
