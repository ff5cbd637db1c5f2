//! Squall's load generator.
//!
//! - [`agent`]: what outlives sessions; [`session`]: the control stream to a controller
//! - [`prepare`]: a plan bundle → a run that is ready to start
//! - [`run`]: one run's worker threads; [`joiner`]: their intervals → the agent's
//! - [`uplink`]: intervals → numbered snapshots, kept in memory and [`spool`] until they are stored
//! - [`lease`], [`outgoing`]: how long load may go on unheard; what is to be told, and how far that has come
//! - [`guard`], [`ceiling`]: what plans may do here; [`secrets`]: values that never leave
//! - [`worker`]: one core's share of the load; [`http`]: one exchange
//! - [`dial`], [`tls_files`], [`reread`]: the way to the controller, and certificates that change
//! - [`busy_poll`]: when a worker polls instead of sleeping
//! - [`tokens`]: access tokens, fresh before they are needed; [`web`]: requests that are no load
//! - [`clock`], [`health`]: the machine it runs on

mod agent;
pub mod busy_poll;
pub mod ceiling;
pub mod clock;
pub mod dial;
pub mod dialling;
pub mod guard;
mod health;
pub mod http;
mod joiner;
// Pure rules of the protocol, public for the simulation that proves them.
#[doc(hidden)]
pub mod lease;
#[doc(hidden)]
pub mod outgoing;
pub mod prepare;
pub mod reread;
mod run;
pub mod secrets;
mod session;
mod spool;
pub mod tls_files;
mod tokens;
mod uplink;
pub mod web;
mod worker;

pub mod cli;

pub use agent::{Agent, AgentEnd, AgentOptions};
pub use session::MAX_MESSAGE_BYTES;
