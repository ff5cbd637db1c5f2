//! One HTTP exchange as cheaply, and as honestly, as it can be made.
//!
//! ```text
//! TargetShared   prepared once per agent: TLS configuration, addresses, proxy
//!   └ TargetClient   one worker's connections: pool, slots, dialling
//!       ├ h1   own codec on the raw socket: one write and one read per small exchange
//!       └ h2   hyper's connection, many streams on each
//! ```
//!
//! A worker is one thread with a current-thread runtime and a `LocalSet`, so all
//! below [`TargetShared`] is `!Send` and takes no lock. An idle connection owns no
//! buffer: reading goes through one scratch buffer per thread, used only between
//! awaits. [`TargetClient::exchange`] never retries and never hides an error: it
//! returns one [`Attempt`], whatever happened. Only a connection found dead before
//! anything was sent on it is replaced silently.

mod attempt;
mod client;
mod coding;
mod connect;
mod cookies;
mod deadline;
mod dns;
mod facts;
mod failure;
#[doc(hidden)]
pub mod foreign;
mod h1;
mod h2;
mod obtain;
mod pool;
mod proxy;
mod redirect;
mod request;
mod response;
mod shared;
mod sockopt;
mod stream;
mod tls;

#[cfg(test)]
mod tests;

pub use attempt::Attempt;
pub use client::{Observer, TargetClient};
pub use cookies::CookieJar;
pub use failure::Failure;
pub use request::{Request, Span};
pub use response::{BODY_KEPT_MAX, Response, Want, Watch};
pub use shared::{PrepareError, PrepareProblem, TargetShared};
pub use tls::TlsProblem;
