//! What became of tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Bearer;

/// What the tenant did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IdentityTruth {
    /// Requests for a token, answered in any way.
    pub asked: u64,
    /// Tokens issued.
    pub issued: u64,
    /// Refusals by code, e.g. `AADSTS7000215`.
    pub refused: BTreeMap<String, u64>,
    /// Answers 503, while it was told to be unavailable.
    pub unavailable: u64,
}

/// Requests to a deployment that wants a token, by the token they carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BearerTruth {
    /// Let through.
    pub valid: u64,
    /// 401: none.
    pub missing: u64,
    /// 401: not one of the tenant's, or changed.
    pub invalid: u64,
    /// 401: for something else.
    pub wrong_audience: u64,
    /// 401: too old.
    pub expired: u64,
    /// 401: revoked.
    pub revoked: u64,
}

impl BearerTruth {
    pub(crate) fn note(&mut self, bearer: Bearer) {
        *match bearer {
            Bearer::Valid => &mut self.valid,
            Bearer::Missing => &mut self.missing,
            Bearer::Invalid => &mut self.invalid,
            Bearer::WrongAudience => &mut self.wrong_audience,
            Bearer::Expired => &mut self.expired,
            Bearer::Revoked => &mut self.revoked,
        } += 1;
    }
}
