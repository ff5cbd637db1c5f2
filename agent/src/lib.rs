//! Squall's load generator.

pub mod clock;
