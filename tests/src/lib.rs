//! The cluster as real processes, and words to speak about it.
//!
//! Tests stand in `tests/e2e/` and read as claims; everything here serves them.
//! Whatever goes wrong in here is a failed test, so helpers panic and say why.
//!
//! - [`binaries`]: the programs under test; [`process`]: one of them, running
//! - [`squall`]: the CLI, from its arguments to its exit code and result
//! - [`cluster`]: a controller with its agents; [`secured`]: one with certificates
//! - [`etcd`]: what several controllers share
//! - [`nginx`], [`simulator`]: targets that count for themselves
//! - [`llama`]: a server of models that is not ours; [`tap`]: what went over its wire
//! - [`summary`], [`hlog`], [`samples`], [`table`]: what a run left behind
//! - [`schedule`]: what the plan means, computed apart from every agent
//! - `netns` (Linux): regions as network namespaces, and links between them that fail
//! - [`machine`]: who may use its two cores; [`ports`], [`wait`]: the rest
//!
//! Nothing waits longer than it must: helpers poll for a state and panic at a
//! deadline, and no test is run again because it failed.

pub mod binaries;
pub mod cluster;
pub mod controllers;
pub mod etcd;
pub mod hlog;
pub mod llama;
pub mod machine;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod nginx;
pub mod ports;
pub mod process;
pub mod samples;
pub mod schedule;
pub mod secured;
pub mod simulator;
pub mod squall;
pub mod summary;
pub mod table;
pub mod tap;
pub mod wait;
