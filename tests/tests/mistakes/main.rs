//! What people get wrong, what the world gets wrong, and what they are told.
//!
//! Every claim runs the real programs and keeps what they wrote, with the exit
//! code, as a snapshot: it says what is wrong, where, and what to do instead.
//! Read a changed snapshot as someone would who has never seen the code.
//!
//! - [`plans`], [`command_line`]: before anything is sent
//! - [`targets`], [`results`]: what a run meets
//! - [`controllers`], [`versions`]: what a cluster meets

mod command_line;
mod controllers;
mod plans;
mod results;
mod servers;
mod targets;
mod told;
mod versions;
