//! Regions on one machine: each in a network namespace of its own, joined to a
//! hub by links that this process carries packet by packet.
//!
//! The kernels that tests run on often lack `netem`, and a cut that a firewall
//! rule makes is not one that a link makes. So every link ends in two packet
//! sockets, and a thread for each way carries frames between them as the link's
//! [`Conditions`] say: late, slowly, now and then, or not at all. They may change
//! while traffic flows, each way apart.
//!
//! - [`World`]: a hub and regions, ready to start processes in
//! - [`Namespace`]: where a closure, or a process that it starts, runs
//! - [`Link`]: one region's connection to the hub, [`Way`] by way
//! - [`become_root`]: for the main function of a test binary, before all threads
//! - `line`, `frame`: what a link decides, without a socket or a clock
//!
//! Everything is gone with the process, however that ends: no name is put
//! anywhere in the file system, and nothing outside the namespaces changes.

mod frame;
mod line;
mod link;
mod namespace;
mod privilege;
mod socket;
mod world;

pub use line::{Conditions, Counts};
pub use link::{Link, Way};
pub use namespace::Namespace;
pub use privilege::become_root;
pub use world::{HUB, World};
