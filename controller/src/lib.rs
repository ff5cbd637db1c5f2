//! Squall's cluster brain, CLI and reports.
//!
//! Deciding is pure: [`registry`] (who is in the fleet) and [`run`] (what a run
//! does next). Performing is thin: [`service`] speaks gRPC, [`fleet`] holds
//! agents and live runs, one `driver` task owns each run, [`store`] keeps what
//! must survive, `recovery` goes on with it,
//! [`identity`] decides who may come in. [`embedded`] is all of it in one process, by the same code.
//! A run that has ended becomes a record (`conclusion`), the record a
//! [`report`]. [`cli`] is what people touch. `etcd` lets several controllers share a
//! fleet: `mandate` is their right to act, [`seat`] their place.

mod bundle;
pub mod cli;
mod conclusion;
mod driver;
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;
mod events;
pub mod fleet;
mod frames;
pub mod identity;
pub mod in_process;
mod live;
mod mandate;
mod plan_source;
pub mod preview;
mod recovery;
pub mod registry;
pub mod report;
mod reporting;
pub mod run;
pub mod seat;
pub mod service;
pub mod store;
mod submit;
mod takeover;
pub mod terminal;

#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod simulation;
