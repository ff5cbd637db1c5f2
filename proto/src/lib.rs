//! Messages and services generated from `proto/cluster.proto`; the contract's
//! comments are there.

/// The version both sides must share. Raised when a peer of the older version
/// would misread what is said.
pub const PROTOCOL: u32 = 1;

#[allow(clippy::all, clippy::unwrap_used)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/squall.v1.rs"));
}

pub use generated::*;
