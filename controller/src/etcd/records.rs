//! What stands at each key: small JSON, so that `etcdctl get` shows it.

use super::error::EtcdError;
use super::transaction::{MAX_BYTES, Value};
use crate::bundle::sha256;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A plan beyond this is refused by a fleet in etcd.
pub const MAX_PLAN_BYTES: usize = 256 << 10;
/// A run's state, packed; it grows while the run goes on.
pub const MAX_DRIVE_BYTES: usize = MAX_BYTES;
/// A run whose state is larger than this before it has begun is not begun.
pub const MAX_FIRST_DRIVE_BYTES: usize = 256 << 10;
pub const MAX_SUMMARY_BYTES: usize = 8 << 10;
pub const MAX_CHECKPOINT_BYTES: usize = 2 << 10;
/// Whoever is told more often than this about a share should keep it to itself meanwhile.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Statuses, shares and agents: far more than they need.
const MAX_OTHER_BYTES: usize = 16 << 10;

/// A value that knows its bound.
pub trait Record: Serialize + DeserializeOwned {
    const WHAT: &'static str;
    const LIMIT: usize;

    fn encoded(&self) -> Result<Vec<u8>, EtcdError> {
        // Maps have text for keys and no float is read, so this fails for no value of ours.
        let bytes = serde_json::to_vec(self).map_err(|error| EtcdError::Refused(error.to_string()))?;
        within(Self::WHAT, bytes.len(), Self::LIMIT)?;
        Ok(bytes)
    }

    fn durable(&self) -> Result<Value, EtcdError> {
        Ok(Value::Durable(self.encoded()?))
    }

    fn decoded(key: &str, bytes: &[u8]) -> Result<Self, EtcdError> {
        let corrupt = |error: serde_json::Error| EtcdError::Corrupt { key: key.to_owned(), detail: error.to_string() };
        serde_json::from_slice(bytes).map_err(corrupt)
    }
}

pub fn within(what: &str, bytes: usize, limit: usize) -> Result<(), EtcdError> {
    if bytes > limit {
        return Err(EtcdError::TooLarge { what: what.to_owned(), bytes, limit });
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub version: u32,
}

/// Of one candidate, under its election key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    pub id: String,
    pub address: String,
    pub build: String,
}

/// Who fills a slot. Written once by every incarnation, and by every leader it dials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRecord {
    pub incarnation: String,
    pub address: String,
    pub capabilities: Vec<String>,
    pub version: String,
    /// When it joined.
    pub state: String,
}

/// A run as it was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    pub name: String,
    /// SHA-256 over `plan`, hexadecimal.
    pub plan_digest: String,
    /// The encoded plan bundle.
    #[serde(with = "as_base64")]
    pub plan: Vec<u8>,
    pub owner: String,
    pub created_unix_ms: u64,
}

impl RunSpec {
    pub fn new(name: impl Into<String>, plan: Vec<u8>, owner: impl Into<String>, created_unix_ms: u64) -> Self {
        Self { name: name.into(), plan_digest: sha256(&plan), plan, owner: owner.into(), created_unix_ms }
    }

    /// That the plan fits, before it is written.
    pub fn check(&self) -> Result<(), EtcdError> {
        within("the plan with its files", self.plan.len(), MAX_PLAN_BYTES)
    }

    /// That the plan is what was written, after it is read.
    pub fn verify(self, key: &str) -> Result<Self, EtcdError> {
        if sha256(&self.plan) == self.plan_digest {
            return Ok(self);
        }
        Err(EtcdError::Corrupt { key: key.to_owned(), detail: "the plan does not match its digest".to_owned() })
    }
}

/// What operators asked of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// E.g. `stop`, `stop_now`.
    pub action: String,
    pub by: String,
    pub at_unix_ms: u64,
}

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    pub phase: String,
    /// No phase comes after it.
    pub ended: bool,
    /// The create revision of the leader that wrote it: grows with every takeover.
    pub term: i64,
    /// Of the common start, on the wall clock; 0 before it is known.
    pub start_at_unix_ms: u64,
    pub sequence: u64,
    pub reason: String,
}

/// Who carries a share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareRecord {
    pub slot: String,
    pub epoch: u64,
    /// The share in the plan's own words, e.g. weights and index.
    pub share: serde_json::Value,
    pub state: String,
}

/// How far a share's snapshots are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub epoch: u64,
    /// All snapshots up to and with it.
    pub sequence: u64,
    pub counts: serde_json::Value,
    /// Over the snapshots so far.
    pub digest: String,
}

/// That a target is under load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    pub run: String,
}

/// Where a result lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    pub location: String,
    /// Of summary.json, hexadecimal.
    pub sha256: String,
    pub verdict: String,
    /// At most 8 KiB; everything else lies at the location.
    pub summary: serde_json::Value,
}

impl Record for Schema {
    const WHAT: &'static str = "the schema";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for CandidateRecord {
    const WHAT: &'static str = "what a candidate says of itself";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for AgentRecord {
    const WHAT: &'static str = "what is kept of an agent";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for RunSpec {
    const WHAT: &'static str = "the plan with its files";
    const LIMIT: usize = MAX_BYTES / 2;
}

impl Record for Desired {
    const WHAT: &'static str = "what was asked of a run";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for RunStatus {
    const WHAT: &'static str = "a run's status";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for ShareRecord {
    const WHAT: &'static str = "a share";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for Checkpoint {
    const WHAT: &'static str = "a checkpoint";
    const LIMIT: usize = MAX_CHECKPOINT_BYTES;
}

impl Record for Active {
    const WHAT: &'static str = "a target's run";
    const LIMIT: usize = MAX_OTHER_BYTES;
}

impl Record for ResultRecord {
    const WHAT: &'static str = "a result's summary";
    const LIMIT: usize = MAX_SUMMARY_BYTES + 1024;
}

/// Bytes as text.
mod as_base64 {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_at_its_bound_fits_and_one_byte_more_does_not() {
        let spec = RunSpec::new("a", vec![0xff; MAX_PLAN_BYTES], "b", 1);
        spec.check().unwrap();
        let again = RunSpec::decoded("k", &spec.encoded().unwrap()).unwrap().verify("k").unwrap();
        assert_eq!(again, spec);
        let refused = RunSpec::new("a", vec![0; MAX_PLAN_BYTES + 1], "b", 1).check().unwrap_err();
        assert!(refused.to_string().contains("262144"), "{refused}");
    }

    #[test]
    fn a_plan_that_is_not_what_was_written_is_named() {
        let mut spec = RunSpec::new("a", vec![1, 2, 3], "b", 1);
        spec.plan[1] = 9;
        let refused = spec.verify("/squall/v1/x/runs/r/spec").unwrap_err().to_string();
        assert!(refused.contains("runs/r/spec") && refused.contains("digest"), "{refused}");
    }

    #[test]
    fn a_checkpoint_is_small() {
        let counts = serde_json::json!({"x": "y".repeat(MAX_CHECKPOINT_BYTES)});
        let checkpoint = Checkpoint { epoch: 1, sequence: 2, counts, digest: String::new() };
        assert!(matches!(checkpoint.encoded(), Err(EtcdError::TooLarge { .. })));
    }
}
