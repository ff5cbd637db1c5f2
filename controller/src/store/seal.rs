//! Records that notice when they were changed: a checksum (CRC-32) before the bytes.
//!
//! redb checks its own pages when it repairs after a crash, not when it reads.

use super::StoreError;
use bytes::Bytes;

const CHECKSUM_BYTES: usize = 4;

pub fn sealed(record: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + record.len());
    sealed.extend_from_slice(&crc32fast::hash(record).to_be_bytes());
    sealed.extend_from_slice(record);
    sealed
}

/// `what` names the record where it is not what was written.
pub fn opened(sealed: &[u8], what: impl FnOnce() -> String) -> Result<Bytes, StoreError> {
    let damaged = |what: String, detail: &str| StoreError::Damaged { what, detail: detail.to_owned() };
    let Some((checksum, record)) = sealed.split_first_chunk::<CHECKSUM_BYTES>() else {
        return Err(damaged(what(), "it is shorter than its checksum"));
    };
    if crc32fast::hash(record).to_be_bytes() != *checksum {
        return Err(damaged(what(), "its checksum does not fit"));
    }
    Ok(Bytes::copy_from_slice(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_bit_is_noticed_and_named() {
        let whole = sealed(b"a snapshot");
        assert_eq!(opened(&whole, String::new).unwrap(), "a snapshot");
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = opened(&changed, || "snapshot 7".to_owned()).unwrap_err().to_string();
            assert_eq!(error, "snapshot 7 in the store is damaged: its checksum does not fit");
        }
        assert!(opened(b"abc", String::new).is_err());
    }
}
