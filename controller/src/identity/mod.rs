//! Who is at the other end, and what they may do.
//!
//! Deciding is pure: `peer` reads a role out of a certificate, `token` out of a
//! JWT, and `access` says who may call what. Performing is thin: `accept` is the
//! door (TLS, limits, garbage), `gate` stands before both services and asks
//! `access`, `audit` writes down what was asked. [`jwt`] holds the keys of tokens,
//! [`issue`] makes certificates.

pub mod accept;
pub mod access;
pub mod audit;
pub mod gate;
pub mod issue;
pub mod jwt;
pub mod peer;
mod role;
mod sparing;
pub mod transport;

pub use role::Role;
