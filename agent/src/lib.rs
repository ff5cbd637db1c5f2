//! Squall's load generator.
//!
//! - [`session`]: the control stream to the controller, on its own thread
//! - [`prepare`]: a plan bundle → a run that is ready to start
//! - [`guard`], [`ceiling`]: what plans may do here; [`secrets`]: values that never leave
//! - [`run`]: one run's worker threads; [`uplink`]: their intervals → numbered snapshots
//! - [`worker`]: one core's share of the load; [`http`]: one exchange
//! - [`clock`], [`health`]: the machine it runs on

pub mod ceiling;
pub mod clock;
pub mod guard;
mod health;
pub mod http;
pub mod prepare;
mod run;
pub mod secrets;
mod session;
mod uplink;
mod worker;

pub mod cli;

pub use session::{AgentEnd, AgentOptions, MAX_MESSAGE_BYTES, run};
