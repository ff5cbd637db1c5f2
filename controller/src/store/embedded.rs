//! The store in one file, on redb; or in memory, by the same code.

use super::seal::{opened, sealed};
use super::{SnapshotKey, SnapshotStream, Store, StoreError, StoredRun};
use bytes::Bytes;
use redb::backends::InMemoryBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Pages redb may keep in memory; its own default is a gibibyte.
const CACHE_BYTES: usize = 32 << 20;

/// (first interval, slot, epoch, sequence) under the run.
type SnapshotRow<'a> = (&'a str, u32, &'a str, u64, u64);

const RUNS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("runs");
const BUNDLES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("bundles");
const SNAPSHOTS: TableDefinition<'_, SnapshotRow<'static>, &[u8]> = TableDefinition::new("snapshots");
const DRIVES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("drives");
const EVENTS: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("events");
const RESULTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("results");

/// One redb database.
pub struct EmbeddedStore {
    database: Database,
}

/// The disk is full, or what we may use of it.
fn has_no_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn storage(error: StorageError) -> StoreError {
    match error {
        StorageError::Io(io) if has_no_space(&io) => StoreError::Full(io),
        other => StoreError::Failed(other.to_string()),
    }
}

/// Every kind of redb's errors, through its one sum of them.
fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(io) if has_no_space(&io) => StoreError::Full(io),
        other => StoreError::Failed(other.to_string()),
    }
}

fn cannot_open(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path },
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Corrupt { path, detail: source.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            StoreError::Corrupt { path, detail: "it ends too early".to_owned() }
        }
        DatabaseError::Storage(StorageError::Io(source)) if has_no_space(&source) => StoreError::Full(source),
        DatabaseError::Storage(StorageError::Io(source)) => StoreError::Open { path, source },
        other => StoreError::Corrupt { path, detail: other.to_string() },
    }
}

impl EmbeddedStore {
    /// Opens the file, or creates it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        Self::with(builder.create(path).map_err(|error| cannot_open(path, error))?)
    }

    /// Gone with the process, but not held in its memory: a run of hours keeps
    /// every interval until its result is made.
    pub fn temporary() -> Result<Self, StoreError> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = std::env::temp_dir().join(format!("squall-{}-{nanos}.redb", std::process::id()));
        let store = Self::open(&path)?;
        // The open file stays; its name goes, so that nothing is left however the process ends.
        std::fs::remove_file(&path).map_err(failed)?;
        Ok(store)
    }

    /// Gone with the process, and in its memory: for tests, and where no file can be had.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Database::builder().create_with_backend(InMemoryBackend::new()).map_err(failed)?)
    }

    /// Makes the tables, so that reading an empty store finds them.
    fn with(database: Database) -> Result<Self, StoreError> {
        let write = database.begin_write().map_err(failed)?;
        write.open_table(RUNS).map_err(failed)?;
        write.open_table(BUNDLES).map_err(failed)?;
        write.open_table(SNAPSHOTS).map_err(failed)?;
        write.open_table(DRIVES).map_err(failed)?;
        write.open_table(EVENTS).map_err(failed)?;
        write.open_table(RESULTS).map_err(failed)?;
        write.commit().map_err(failed)?;
        Ok(Self { database })
    }

    fn write(&self, change: impl FnOnce(&redb::WriteTransaction) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        change(&write)?;
        write.commit().map_err(failed)
    }
}

fn encode(run: &StoredRun) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(run).map_err(|error| StoreError::Failed(error.to_string()))
}

fn decode(id: &str, bytes: &[u8]) -> Result<StoredRun, StoreError> {
    let what = || format!("run {id}");
    let damaged = |error: serde_json::Error| StoreError::Damaged { what: what(), detail: error.to_string() };
    serde_json::from_slice(&opened(bytes, what)?).map_err(damaged)
}

fn put_run(write: &redb::WriteTransaction, run: &StoredRun) -> Result<(), StoreError> {
    let bytes = sealed(&encode(run)?);
    write.open_table(RUNS).map_err(failed)?.insert(run.run_id.as_str(), bytes.as_slice()).map_err(storage)?;
    Ok(())
}

impl Store for EmbeddedStore {
    fn create_run(&self, run: &StoredRun, bundle: &[u8]) -> Result<(), StoreError> {
        self.write(|write| {
            put_run(write, run)?;
            let bundle = sealed(bundle);
            write
                .open_table(BUNDLES)
                .map_err(failed)?
                .insert(run.run_id.as_str(), bundle.as_slice())
                .map_err(storage)?;
            Ok(())
        })
    }

    fn put_drive(&self, run_id: &str, drive: &[u8]) -> Result<(), StoreError> {
        let drive = sealed(drive);
        self.write(|write| {
            write.open_table(DRIVES).map_err(failed)?.insert(run_id, drive.as_slice()).map_err(storage)?;
            Ok(())
        })
    }

    fn drive(&self, run_id: &str) -> Result<Option<Bytes>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(DRIVES).map_err(failed)?;
        let found = table.get(run_id).map_err(storage)?;
        found.map(|bytes| opened(bytes.value(), || format!("the state of run {run_id}"))).transpose()
    }

    fn update_run(&self, run: &StoredRun) -> Result<(), StoreError> {
        self.write(|write| put_run(write, run))
    }

    fn run(&self, run_id: &str) -> Result<Option<StoredRun>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(RUNS).map_err(failed)?;
        table.get(run_id).map_err(storage)?.map(|bytes| decode(run_id, bytes.value())).transpose()
    }

    fn runs(&self, limit: usize) -> Result<Vec<StoredRun>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(RUNS).map_err(failed)?;
        // Run ids sort by the time they were made.
        let rows = table.iter().map_err(storage)?.rev().take(limit);
        rows.map(|row| {
            let (id, bytes) = row.map_err(storage)?;
            decode(id.value(), bytes.value())
        })
        .collect()
    }

    fn bundle(&self, run_id: &str) -> Result<Option<Bytes>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(BUNDLES).map_err(failed)?;
        let found = table.get(run_id).map_err(storage)?;
        found.map(|bytes| opened(bytes.value(), || format!("the plan of run {run_id}"))).transpose()
    }

    fn add_snapshots(&self, run_id: &str, snapshots: &[(SnapshotKey, Bytes)]) -> Result<(), StoreError> {
        self.write(|write| {
            let mut table = write.open_table(SNAPSHOTS).map_err(failed)?;
            for (key, bytes) in snapshots {
                let row = (run_id, key.first_interval, key.slot.as_str(), key.epoch, key.sequence);
                table.insert(row, sealed(bytes).as_slice()).map_err(storage)?;
            }
            Ok(())
        })
    }

    fn snapshots(&self, run_id: &str) -> Result<SnapshotStream, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(SNAPSHOTS).map_err(failed)?;
        let last = (run_id, u32::MAX, "\u{10ffff}", u64::MAX, u64::MAX);
        let range = table.range((run_id, 0, "", 0, 0)..=last).map_err(storage)?;
        Ok(Box::new(range.map(|row| {
            let (key, bytes) = row.map_err(storage)?;
            let (_, first_interval, slot, epoch, sequence) = key.value();
            let key = SnapshotKey { first_interval, slot: slot.to_owned(), epoch, sequence };
            let what = || format!("snapshot {sequence} of agent `{slot}`");
            let bytes = opened(bytes.value(), what)?;
            Ok((key, bytes))
        })))
    }

    fn add_events(&self, run_id: &str, lines: &[String]) -> Result<(), StoreError> {
        self.write(|write| {
            let mut table = write.open_table(EVENTS).map_err(failed)?;
            let newest = table.range((run_id, 0)..=(run_id, u64::MAX)).map_err(storage)?.next_back().transpose();
            let next = newest.map_err(storage)?.map_or(0, |(key, _)| key.value().1 + 1);
            for (number, line) in (next..).zip(lines) {
                table.insert((run_id, number), line.as_str()).map_err(storage)?;
            }
            Ok(())
        })
    }

    fn events(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(EVENTS).map_err(failed)?;
        let range = table.range((run_id, 0)..=(run_id, u64::MAX)).map_err(storage)?;
        range.map(|row| Ok(row.map_err(storage)?.1.value().to_owned())).collect()
    }

    fn conclude(&self, run: &StoredRun, files: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        self.write(|write| {
            let mut table = write.open_table(RESULTS).map_err(failed)?;
            for (name, bytes) in files {
                table.insert((run.run_id.as_str(), name.as_str()), sealed(bytes).as_slice()).map_err(storage)?;
            }
            drop(table);
            write.open_table(DRIVES).map_err(failed)?.remove(run.run_id.as_str()).map_err(storage)?;
            put_run(write, run)
        })
    }

    fn result_names(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(RESULTS).map_err(failed)?;
        let range = table.range((run_id, "")..=(run_id, "\u{10ffff}")).map_err(storage)?;
        range.map(|row| Ok(row.map_err(storage)?.0.value().1.to_owned())).collect()
    }

    fn result(&self, run_id: &str, name: &str) -> Result<Option<Bytes>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(RESULTS).map_err(failed)?;
        let found = table.get((run_id, name)).map_err(storage)?;
        found.map(|bytes| opened(bytes.value(), || format!("{name} of run {run_id}"))).transpose()
    }
}
