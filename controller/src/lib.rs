//! Squall's cluster brain, CLI and reports.

pub mod preview;
pub mod report;
pub mod terminal;
