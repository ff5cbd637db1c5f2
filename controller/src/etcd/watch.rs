//! Follows a prefix for as long as somebody listens.
//!
//! A watch stream never comes back by itself, and one that asked for a revision
//! compacted away stays open and silent. So streams are disposable: each ends
//! for a reason, and the next begins where the cache stands, or with a list.

use super::cache::{Cache, Change, Entry, Event};
use super::connection::Connection;
use etcd_client::{EventType, WatchOptions, WatchResponse};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Changes that wait for the listener; when it reads none, the watch waits too.
const QUEUE: usize = 256;

/// Changes below a prefix; dropped, the watch ends.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Change>,
}

impl Watch {
    /// First all there is, then [`Change::Current`], then what changes. `None` never comes while the runtime lives.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }
}

/// Why a stream ended.
enum Ended {
    /// What it asked for is compacted away: list.
    Compacted,
    Broken(String),
    /// Nobody listens any more.
    Unheard,
}

pub(super) fn follow(connection: Arc<Connection>, prefix: String) -> Watch {
    let (sender, changes) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let unheard = sender.clone();
        tokio::select! {
            () = keep_following(&connection, &prefix, &sender) => {}
            () = unheard.closed() => {}
        }
    });
    Watch { changes }
}

async fn keep_following(connection: &Connection, prefix: &str, sender: &mpsc::Sender<Change>) {
    let mut cache = Cache::default();
    let (mut must_list, mut failures) = (true, 0);
    loop {
        if must_list {
            match connection.list(prefix, false).await {
                Ok((revision, entries)) => {
                    if !tell(sender, cache.listed(revision, entries)).await {
                        return;
                    }
                    must_list = false;
                }
                Err(error) => {
                    tracing::warn!(%error, prefix, "cannot list what is watched; trying again");
                    connection.wait(failures).await;
                    failures += 1;
                    continue;
                }
            }
        }
        let before = cache.revision();
        match stream(connection, prefix, &mut cache, sender).await {
            Ended::Unheard => return,
            Ended::Compacted => must_list = true,
            Ended::Broken(why) => tracing::debug!(why, prefix, "a watch broke; opening another"),
        }
        failures = if cache.revision() > before { 0 } else { failures + 1 };
        connection.wait(failures).await;
    }
}

async fn stream(connection: &Connection, prefix: &str, cache: &mut Cache, sender: &mpsc::Sender<Change>) -> Ended {
    let (mut client, turn) = match connection.client().await {
        Ok(found) => found,
        Err(error) => return Ended::Broken(error.to_string()),
    };
    let broken = |why: String| {
        connection.failed(turn);
        Ended::Broken(why)
    };
    let options = WatchOptions::new().with_prefix().with_start_revision(cache.revision() + 1).with_progress_notify();
    // Answered with the stream's headers; a member that hangs sends none, and its pings end the wait.
    let mut stream = match client.watch(prefix, Some(options)).await {
        Ok(stream) => stream,
        Err(error) => return broken(error.to_string()),
    };
    loop {
        let answer = match stream.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return broken("the stream ended".to_owned()),
            Err(error) => return broken(error.to_string()),
        };
        if answer.compact_revision() > 0 {
            return Ended::Compacted;
        }
        if answer.canceled() {
            return broken(answer.cancel_reason().to_owned());
        }
        if !tell(sender, cache.watched(events(&answer))).await {
            return Ended::Unheard;
        }
    }
}

fn events(answer: &WatchResponse) -> Vec<Event> {
    let event = |event: &etcd_client::Event| {
        let entry = Entry::from(event.kv()?);
        Some(match event.event_type() {
            EventType::Put => Event::Put(entry),
            EventType::Delete => Event::Deleted { key: entry.key, mod_revision: entry.mod_revision },
        })
    };
    answer.events().iter().filter_map(event).collect()
}

async fn tell(sender: &mpsc::Sender<Change>, changes: Vec<Change>) -> bool {
    for change in changes {
        if sender.send(change).await.is_err() {
            return false;
        }
    }
    true
}
