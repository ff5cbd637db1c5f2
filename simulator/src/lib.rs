//! A cloud to rehearse against: regions that answer like Azure OpenAI, plain
//! endpoints with known delays, faults to switch, and the truth about what was
//! served.
//!
//! [`Simulator::start`] takes a [`Config`] and serves it. A request passes
//! connection → faults → endpoint → body, and the [`Truth`] counts it when its
//! last byte was handed to the socket. Deciding is pure and tested in simulated
//! time: the model server with its queue ([`model`]), quotas, faults ([`faults`]).
//! The endpoints of language models, with books of their own for streams and
//! tokens, are in `llm`; the tenant that issues tokens is `identity`.
//!
//! Everything listens on the loopback address unless configured otherwise;
//! there is no TLS and no authentication of the admin server.

mod config;
mod deployment_config;
pub mod faults;
pub mod model;
mod quota;
mod routes;
mod truth;

mod identity;
mod llm;

mod connection;
mod engine;
mod wait;

mod azure;
mod body;
mod plain;
mod query;
mod service;

mod admin;
mod region;
mod simulator;

pub use config::{Config, ConfigError, Problem, RegionConfig};
pub use deployment_config::{DeploymentConfig, ReasoningField};
pub use identity::{BearerTruth, ClientConfig, IdentityConfig, IdentityTruth};
pub use llm::{AdmissionTruth, DeploymentTruth, Dialect, LineEnd, PeakTruth, StreamTruth, TokenTruth};
pub use quota::QuotaAlgorithm;
pub use simulator::{RegionAddress, Simulator, StartError};
pub use truth::{LatencyTruth, PathTruth, RegionTruth, Truth};
