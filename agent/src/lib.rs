//! Squall's load generator.
//!
//! - [`session`]: the control stream to the controller, on its own thread
//! - [`prepare`]: a plan bundle → a run that is ready to start
//! - [`run`]: one run's worker threads; [`uplink`]: their intervals → numbered snapshots
//! - [`worker`]: one core's share of the load; [`http`]: one exchange
//! - [`dial`], [`tls_files`], [`reread`]: the way to the controller, and certificates that change
//! - [`clock`], [`health`]: the machine it runs on

pub mod clock;
pub mod dial;
mod health;
pub mod http;
pub mod prepare;
pub mod reread;
mod run;
mod session;
pub mod tls_files;
mod uplink;
mod worker;

pub mod cli;

pub use session::{AgentEnd, AgentOptions, MAX_MESSAGE_BYTES, run};
