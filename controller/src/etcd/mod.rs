//! Several controllers, one of which leads: election, state and result index in etcd.
//!
//! Deciding is pure: `leadership` (who leads), `transaction` (what an answer to a
//! fenced write means), `cache` (what a list or a watch changes), `keys`. Performing
//! is thin: `session` keeps the lease on a thread of its own, `connection` finds a
//! member that answers, `watch` follows a prefix, `coordinator` and `term` are what
//! a controller does with it: `stand` makes it leader or standby, `fenced` is the store of a
//! leader, `handover` brings what an earlier leader left into its own,
//! `presence` shows the leader's agents to who looks into etcd.
//!
//! Locks and leases alone exclude nobody: a leader may be stopped for a minute and
//! go on as if nothing had been. So every write names the leader's key and its
//! create revision, and etcd refuses it once that key is gone.

mod cache;
mod connection;
mod coordinator;
mod error;
mod fenced;
mod handover;
mod keys;
mod leadership;
mod options;
mod presence;
mod records;
mod retention;
mod session;
mod stand;
mod term;
mod transaction;
mod watch;

pub use cache::{Change, Entry};
pub use coordinator::{Coordinator, KnownRun};
pub use error::EtcdError;
pub use keys::Keys;
pub use leadership::{Fence, Leadership};
pub use options::{EtcdArgs, Options, TlsFiles};
pub use records::{AgentRecord, CHECKPOINT_EVERY, Checkpoint, Desired, ResultRecord, RunSpec, RunStatus, ShareRecord};
pub use retention::Removed;
pub(crate) use stand::Stand;
pub use term::Term;
pub use watch::Watch;

#[cfg(test)]
mod leadership_simulation;
#[cfg(test)]
mod leadership_tests;
