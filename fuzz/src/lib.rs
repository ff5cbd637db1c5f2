//! Decoders of foreign bytes, each as a function of bytes that must return.
//!
//! A target panics where a decoder breaks a law: it panics itself, takes too much
//! memory, or says two things of the same bytes. `tests/corpus.rs` feeds all of
//! them with their corpus and with seeded variations of it, on any toolchain;
//! `make fuzz` lets libFuzzer look for more. What it finds is fixed, and joins
//! the corpus.
//!
//! - [`cluster`]: what agents and controllers tell each other
//! - [`files`]: what users write: plans, simulated clouds
//! - [`http`]: what targets answer
//! - [`models`]: what model servers answer
//! - [`variation`]: seeded damage to good inputs

pub mod cluster;
pub mod files;
pub mod http;
pub mod models;
pub mod seeds;
pub mod variation;

/// One decoder.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also of its folder below `corpus/`.
    pub name: &'static str,
    pub feed: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "snapshot", feed: cluster::snapshot },
    Target { name: "agent-message", feed: cluster::agent_message },
    Target { name: "controller-message", feed: cluster::controller_message },
    Target { name: "plan", feed: files::plan },
    Target { name: "simulator", feed: files::simulator },
    Target { name: "http1-response", feed: http::http1_response },
    Target { name: "coded-body", feed: http::coded_body },
    Target { name: "set-cookie", feed: http::set_cookie },
    Target { name: "location", feed: http::location },
    Target { name: "token-stream", feed: models::token_stream },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
