//! How a controller was reached, as its results tell it.

use serde_json::{Value, json};

/// What stands between a controller and its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The whole cluster is one process.
    InProcess,
    /// Plain text that never leaves this machine.
    #[default]
    Loopback,
    /// Both sides show certificates, or operators a token.
    MutualTls,
    /// Plain text on a network: `--insecure`.
    Insecure,
}

impl Transport {
    /// The `security` field of summary.json.
    pub fn summary(self) -> Value {
        let transport = match self {
            Self::InProcess => "in_process",
            Self::Loopback => "loopback",
            Self::MutualTls => "mtls",
            Self::Insecure => "plain",
        };
        json!({"transport": transport, "insecure": self == Self::Insecure})
    }

    /// What a reader of the result must know.
    pub fn caveat(self) -> Option<String> {
        (self == Self::Insecure).then(|| {
            "the controller ran with --insecure: nobody had to prove who they were, and whoever reached it could start, \
             stop and read runs or pose as an agent"
                .to_owned()
        })
    }
}
