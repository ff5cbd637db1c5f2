//! What is below a prefix, and what a list or a watch changes of it.
//!
//! A list after a compaction says what is there, not what went away meanwhile:
//! the cache does.

use std::collections::{BTreeMap, BTreeSet};

/// One key and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
}

impl From<&etcd_client::KeyValue> for Entry {
    fn from(kv: &etcd_client::KeyValue) -> Self {
        Self {
            // Keys of ours are ASCII; others' are only ever looked at.
            key: String::from_utf8_lossy(kv.key()).into_owned(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
        }
    }
}

/// What a watcher is told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Deleted {
        key: String,
    },
    /// All there was when the watch began, or began again, has been told.
    Current,
}

#[derive(Debug, Default)]
pub struct Cache {
    entries: BTreeMap<String, Entry>,
    revision: i64,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    Put(Entry),
    Deleted { key: String, mod_revision: i64 },
}

impl Event {
    fn mod_revision(&self) -> i64 {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Deleted { mod_revision, .. } => *mod_revision,
        }
    }
}

impl Cache {
    /// Everything up to and with this revision is known.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Takes the whole state as of `revision`, and tells what differs.
    pub fn listed(&mut self, revision: i64, entries: Vec<Entry>) -> Vec<Change> {
        let there: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        let gone: Vec<String> = self.entries.keys().filter(|key| !there.contains(key.as_str())).cloned().collect();
        let mut changes = Vec::new();
        for key in gone {
            self.entries.remove(&key);
            changes.push(Change::Deleted { key });
        }
        for entry in entries {
            if self.entries.get(&entry.key) != Some(&entry) {
                self.entries.insert(entry.key.clone(), entry.clone());
                changes.push(Change::Put(entry));
            }
        }
        self.revision = self.revision.max(revision);
        changes.push(Change::Current);
        changes
    }

    /// Takes events of a watch; those that are known already, because it began again, change nothing.
    ///
    /// Only events tell how far we are: the header of an answer may be ahead of what is still to come.
    pub fn watched(&mut self, events: Vec<Event>) -> Vec<Change> {
        let known = self.revision;
        let newest = events.iter().map(Event::mod_revision).max().unwrap_or(known);
        let changes = events.into_iter().filter_map(|event| match event {
            Event::Put(entry) if entry.mod_revision > known => {
                self.entries.insert(entry.key.clone(), entry.clone());
                Some(Change::Put(entry))
            }
            Event::Deleted { key, mod_revision } if mod_revision > known => {
                self.entries.remove(&key).map(|_| Change::Deleted { key })
            }
            Event::Put(_) | Event::Deleted { .. } => None,
        });
        let changes = changes.collect();
        self.revision = known.max(newest);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keys by number, with the whole history, and how much of it is compacted away.
    #[derive(Default)]
    struct Model {
        revision: i64,
        entries: BTreeMap<String, Entry>,
        history: Vec<(i64, Event)>,
        compacted: i64,
    }

    impl Model {
        fn put(&mut self, key: u8) {
            self.revision += 1;
            let key = format!("k{key}");
            let created = self.entries.get(&key).map_or(self.revision, |entry| entry.create_revision);
            let value = self.revision.to_string().into_bytes();
            let entry = Entry { key, value, create_revision: created, mod_revision: self.revision };
            self.entries.insert(entry.key.clone(), entry.clone());
            self.history.push((self.revision, Event::Put(entry)));
        }

        fn delete(&mut self, key: u8) {
            let key = format!("k{key}");
            if self.entries.remove(&key).is_some() {
                self.revision += 1;
                self.history.push((self.revision, Event::Deleted { key, mod_revision: self.revision }));
            }
        }

        /// Events from a revision on, or that it is compacted away.
        fn since(&self, from: i64) -> Option<Vec<Event>> {
            let events = self.history.iter().filter(|(revision, _)| *revision >= from);
            (from > self.compacted).then(|| events.map(|(_, event)| event.clone()).collect())
        }
    }

    fn replay(seen: &mut BTreeMap<String, Entry>, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put(entry) => drop(seen.insert(entry.key.clone(), entry)),
                Change::Deleted { key } => {
                    assert!(seen.remove(&key).is_some(), "the deletion of `{key}` is told though it was not there");
                }
                Change::Current => {}
            }
        }
    }

    proptest! {
        /// Whatever is compacted away and however often the watch begins again, possibly from too early.
        #[test]
        fn who_replays_the_changes_has_what_is_there(
            steps in proptest::collection::vec((0..10u8, 0..6u8), 1..200),
        ) {
            let (mut model, mut cache, mut seen) = (Model::default(), Cache::default(), BTreeMap::new());
            for (what, key) in steps {
                match what {
                    0..4 => model.put(key),
                    4..6 => model.delete(key),
                    6 => model.compacted = model.revision,
                    _ => {
                        let from = cache.revision() + 1 - i64::from(what == 9 && cache.revision() > 0);
                        let changes = match model.since(from) {
                            Some(events) if cache.revision() > 0 => cache.watched(events),
                            _ => cache.listed(model.revision, model.entries.values().cloned().collect()),
                        };
                        replay(&mut seen, changes);
                        prop_assert_eq!(&seen, &model.entries);
                    }
                }
            }
        }
    }
}
