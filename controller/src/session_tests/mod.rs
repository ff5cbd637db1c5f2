//! The protocol as agents and operators see it, over the in-process transport.

mod fake;
mod refusals;
mod runs;
