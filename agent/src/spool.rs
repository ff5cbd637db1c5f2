//! Snapshots that memory should not hold, in a file that has no name.
//!
//! Append-only records, each with its length and checksum known to the caller.
//! The file is unlinked as soon as it is made: it cannot outlive the process,
//! whose run it belongs to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where one record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    bytes: u32,
    crc32: u32,
}

/// A file of at most `limit_bytes`.
pub struct Spool {
    file: File,
    end: u64,
    limit_bytes: u64,
}

impl Spool {
    /// Makes the file in `dir`.
    pub fn create(dir: &Path, limit_bytes: u64) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(dir)?, end: 0, limit_bytes })
    }

    /// Appends a record. Errors when the disk or our part of it is full: then
    /// nothing was taken.
    pub fn append(&mut self, record: &[u8]) -> io::Result<Place> {
        let bytes = u32::try_from(record.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if self.end + u64::from(bytes) > self.limit_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(record, self.end)?;
        let place = Place { offset: self.end, bytes, crc32: crc32fast::hash(record) };
        self.end += u64::from(bytes);
        Ok(place)
    }

    /// Reads a record back; one that is not what was written is an error, never data.
    pub fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut record = vec![0; place.bytes as usize];
        self.file.read_exact_at(&mut record, place.offset)?;
        if crc32fast::hash(&record) != place.crc32 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum does not fit"));
        }
        Ok(record)
    }

    /// Nothing in it is needed any more.
    pub fn clear(&mut self) {
        // What cannot be cut off is overwritten all the same.
        let _ = self.file.set_len(0);
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_and_the_limit_holds() {
        let mut spool = Spool::create(&std::env::temp_dir(), 10).unwrap();
        let (first, second) = (spool.append(b"abcd").unwrap(), spool.append(b"efghij").unwrap());
        assert_eq!(spool.append(b"k").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((spool.read(first).unwrap(), spool.read(second).unwrap()), (b"abcd".to_vec(), b"efghij".to_vec()));
        spool.clear();
        assert!(spool.read(second).is_err(), "what was cleared is gone");
        assert!(spool.append(b"k").is_ok());
    }

    #[test]
    fn a_record_that_was_damaged_is_an_error() {
        let mut spool = Spool::create(&std::env::temp_dir(), 100).unwrap();
        let place = spool.append(b"abcd").unwrap();
        spool.file.write_all_at(b"X", 1).unwrap();
        assert_eq!(spool.read(place).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
