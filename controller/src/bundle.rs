//! A plan with the files it names, as it travels: encoded, and known by its digest.

use prost::Message;
use sha2::{Digest, Sha256};
use squall_proto::PlanBundle;

/// The largest bundle, and the largest message of the cluster protocol.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 over some bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 over the encoded bundle. The encoding is canonical: no maps, fields in order.
pub fn digest(bundle: &PlanBundle) -> String {
    sha256(&bundle.encode_to_vec())
}
