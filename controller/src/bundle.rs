//! Digests of files, and the bound on what one message may carry.

use sha2::{Digest, Sha256};

/// The largest bundle, and the largest message of the cluster protocol.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// SHA-256 over some bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
