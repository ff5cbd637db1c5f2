//! Squall's load generator.

pub mod clock;
pub mod http;
