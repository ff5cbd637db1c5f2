//! Squall's cluster brain, CLI and reports.

pub mod report;
