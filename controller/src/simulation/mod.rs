//! The protocol in virtual time, with faults drawn from a seed.
//!
//! What decides is the code of production: [`crate::run`], [`crate::registry`],
//! the merge, the verdict, and of the agent its lease, its clock, its uplink and
//! what it has to tell. What performs (streams, disks, timers, processes) is
//! modelled here, with the effects in the same order. [`checks`] says what must
//! hold. A failing seed says how to be played again.

mod agent;
mod agent_load;
mod checks;
mod controller;
mod driver;
mod faults;
mod network;
mod store;
mod tests;
mod world;
