//! Why etcd did not do what was asked, in words for whoever has to mend it.

use std::path::PathBuf;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum EtcdError {
    #[error("this controller leads no longer: another has taken over, and etcd refused the write")]
    FenceGone,
    #[error("`{key}` in etcd was changed by somebody else (revision {revision}); read it again before writing it")]
    Moved { key: String, revision: i64 },
    #[error("{what} takes {bytes} bytes; etcd keeps at most {limit} of it")]
    TooLarge { what: String, bytes: usize, limit: usize },
    #[error("the target {target} is under load by run {run} already; one run per target at a time: stop it, or wait")]
    TargetBusy { target: String, run: String },
    #[error("run {run} is there already")]
    RunExists { run: String },
    #[error("etcd does not answer ({detail}); tried {endpoints}. What was being written may or may not be there")]
    Unreachable { endpoints: String, detail: String },
    #[error("etcd refused: {0}")]
    Refused(String),
    #[error("`{key}` in etcd cannot be read ({detail}); etcd 3.5.0 to 3.5.2 can corrupt data, use a newer one")]
    Corrupt { key: String, detail: String },
    #[error(
        "the fleet `{fleet}` in etcd was written by a newer version (schema {found}, known: {known}); update this controller"
    )]
    Schema { fleet: String, found: u32, known: u32 },
    #[error("cannot read {path} for TLS to etcd: {why}")]
    File { path: PathBuf, why: String },
    #[error("the thread that talks to etcd cannot start: {0}")]
    Thread(std::io::Error),
}

impl EtcdError {
    /// Another member may do better, and what was asked may have been done.
    pub(super) fn is_unknown(error: &etcd_client::Error) -> bool {
        use tonic::Code;
        match error {
            etcd_client::Error::GRpcStatus(status) => !matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::NotFound
                    | Code::AlreadyExists
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::FailedPrecondition
                    | Code::OutOfRange
                    | Code::Unimplemented
            ),
            _ => true,
        }
    }

    /// An error with all its causes; the outermost alone often says just "transport error".
    pub(super) fn detail(error: &etcd_client::Error) -> String {
        let mut detail = match error {
            etcd_client::Error::GRpcStatus(status) => status.message().to_owned(),
            other => other.to_string(),
        };
        let mut cause = match error {
            etcd_client::Error::GRpcStatus(status) => std::error::Error::source(status),
            etcd_client::Error::TransportError(error) => std::error::Error::source(error),
            _ => None,
        };
        while let Some(error) = cause {
            let words = error.to_string();
            if !detail.contains(&words) {
                detail = format!("{detail}: {words}");
            }
            cause = error.source();
        }
        detail
    }
}
