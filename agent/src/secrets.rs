//! Values of a plan's secrets: read on this machine, read again when their
//! files change, and taken out of everything that is told.

use bytes::Bytes;
use squall_common::plan::SecretSource;
use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A secret is a key or a token, not a document.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Values of former times that are still looked for in what is told.
const FORMER_KEPT: usize = 1_000;
const INSTEAD: &str = "[secret]";

/// Why a secret has no value here. Never shows one.
#[derive(Debug, thiserror::Error)]
pub enum NoSecret {
    #[error("secret `${{env:{0}}}` is not set; set it in the environment that the agent is started in")]
    NoVariable(String),
    #[error("secret `${{file:{path}}}` cannot be read where the agent runs: {source}")]
    NoFile { path: String, source: std::io::Error },
    #[error("secret `${{file:{path}}}` is longer than {} KiB; is it the right file?", MAX_SECRET_BYTES >> 10)]
    TooLong { path: String },
    #[error("secret `{0}` is empty; store its value, or take it out of the plan")]
    Empty(String),
}

/// The values that workers use now, by [`SecretId`](squall_common::plan::SecretId).
pub type Values = Arc<[Bytes]>;

/// A plan's secrets. Workers keep a copy of [`Values`] and take a new one only
/// when the generation has moved.
pub struct Secrets {
    sources: Vec<SecretSource>,
    /// Whether a header holds it: then it may have no control character.
    in_headers: Vec<bool>,
    values: Mutex<Values>,
    generation: AtomicU64,
    /// Every value there was: an answer may still speak of yesterday's.
    known: Mutex<Vec<Bytes>>,
}

/// What tells a file from what it was when it was last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Secrets {
    /// Reads every secret once; `in_headers` by secret.
    pub fn read(sources: &[SecretSource], in_headers: Vec<bool>) -> Result<Self, NoSecret> {
        let values: Vec<Bytes> = sources.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            sources: sources.to_vec(),
            in_headers,
            known: Mutex::new(values.clone()),
            values: Mutex::new(values.into()),
            generation: AtomicU64::new(0),
        })
    }

    /// Moves whenever a value has changed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn values(&self) -> Values {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A secret that can change while the run goes on.
    pub fn may_change(&self, id: usize) -> bool {
        matches!(self.sources[id], SecretSource::File(_) | SecretSource::Token(_))
    }

    pub fn is_token(&self, id: usize) -> bool {
        matches!(self.sources[id], SecretSource::Token(_))
    }

    pub fn sources(&self) -> &[SecretSource] {
        &self.sources
    }

    /// Puts a new value to use; the generation from which on it is used. `what` it
    /// is, for the log.
    pub fn renew(&self, id: usize, value: Bytes, what: &str) -> u64 {
        self.replace(id, value, what);
        self.generation()
    }

    /// The text without any value that was ever read.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Cow::Borrowed(text);
        for value in known.iter().filter_map(|value| std::str::from_utf8(value).ok()).filter(|value| !value.is_empty())
        {
            if text.contains(value) {
                text = Cow::Owned(text.replace(value, INSTEAD));
            }
            // As it stands in the JSON of an answer that repeats it.
            let quoted = serde_json::Value::from(value).to_string();
            let escaped = &quoted[1..quoted.len() - 1];
            if escaped != value && text.contains(escaped) {
                text = Cow::Owned(text.replace(escaped, INSTEAD));
            }
        }
        text
    }

    /// Looks at the files every second for as long as it is polled; ends at once
    /// when no secret is in a file. Belongs on the control thread.
    pub async fn run_watch(self: Arc<Self>) {
        if !self.sources.iter().any(|source| matches!(source, SecretSource::File(_))) {
            return;
        }
        // What changed since the secrets were read is seen at the first look.
        let mut marks = vec![Mark::default(); self.sources.len()];
        loop {
            let watched = self.clone();
            let looked = tokio::task::spawn_blocking(move || {
                watched.look(&mut marks);
                marks
            });
            let Ok(looked) = looked.await else { return };
            marks = looked;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Reads the files that have changed. One that can't be used keeps its old
    /// value: load goes on, and the log says why.
    fn look(&self, marks: &mut [Mark]) {
        for (id, source) in self.sources.iter().enumerate() {
            let SecretSource::File(path) = source else { continue };
            let mark = mark_of(Path::new(path)).unwrap_or_default();
            if mark == marks[id] {
                continue;
            }
            marks[id] = mark;
            match read(source) {
                Ok(value) if self.in_headers[id] && breaks_a_header(&value) => {
                    tracing::warn!(
                        path,
                        "the secret has changed and now holds a control character; its old value stays"
                    );
                }
                Ok(value) => self.replace(id, value, path),
                Err(error) => tracing::warn!(path, "the secret's old value stays: {error}"),
            }
        }
    }

    fn replace(&self, id: usize, value: Bytes, what: &str) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if values[id] == value {
            return;
        }
        {
            // Known before it is used.
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= FORMER_KEPT {
                known.remove(0);
            }
            known.push(value.clone());
        }
        let mut fresh = values.to_vec();
        fresh[id] = value;
        *values = fresh.into();
        self.generation.fetch_add(1, Ordering::Release);
        tracing::info!(secret = what, "the secret has changed and is used from now on");
    }
}

/// What would end a header and begin another.
pub fn breaks_a_header(text: &[u8]) -> bool {
    text.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
}

fn mark_of(path: &Path) -> std::io::Result<Mark> {
    let meta = std::fs::metadata(path)?;
    let changed = (meta.mtime(), meta.mtime_nsec());
    Ok(Mark { device: meta.dev(), inode: meta.ino(), bytes: meta.len(), changed })
}

fn read(source: &SecretSource) -> Result<Bytes, NoSecret> {
    let (text, shown) = match source {
        SecretSource::Environment(name) => {
            (std::env::var(name).map_err(|_| NoSecret::NoVariable(name.clone()))?, format!("${{env:{name}}}"))
        }
        SecretSource::File(path) => {
            let unread = |source| NoSecret::NoFile { path: path.clone(), source };
            if std::fs::metadata(path).map_err(unread)?.len() > MAX_SECRET_BYTES {
                return Err(NoSecret::TooLong { path: path.clone() });
            }
            (std::fs::read_to_string(path).map_err(unread)?, format!("${{file:{path}}}"))
        }
        // Fetched later, when the secret that it is had for is read.
        SecretSource::Token(_) => return Ok(Bytes::new()),
    };
    // Editors and `echo` end a file or a variable with a line break that is no part of the secret.
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(NoSecret::Empty(shown)),
        text => Ok(Bytes::copy_from_slice(text.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A file of this test alone, gone with it.
    struct Kept(PathBuf);

    impl Kept {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("squall-secret-{name}-{}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn source(&self) -> SecretSource {
            SecretSource::File(self.0.display().to_string())
        }

        /// As a mounted secret changes: another file under the same name.
        fn becomes(&self, text: &str) {
            let next = self.0.with_extension("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(next, &self.0).unwrap();
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_one_that_cannot_be_used_keeps_its_value() {
        let file = Kept::new("changes", "first\n");
        let secrets = Secrets::read(&[file.source()], vec![true]).unwrap();
        let mut marks = vec![Mark::default()];
        secrets.look(&mut marks);
        assert_eq!((secrets.generation(), &secrets.values()[0][..]), (0, &b"first"[..]));
        file.becomes("second\n");
        secrets.look(&mut marks);
        assert_eq!((secrets.generation(), &secrets.values()[0][..]), (1, &b"second"[..]));
        for unusable in ["", "two\nlines"] {
            file.becomes(unusable);
            secrets.look(&mut marks);
            assert_eq!(secrets.generation(), 1, "{unusable:?}");
        }
        std::fs::remove_file(&file.0).unwrap();
        secrets.look(&mut marks);
        assert_eq!(&secrets.values()[0][..], b"second");
    }

    #[test]
    fn what_is_told_holds_neither_the_old_value_nor_the_new() {
        let file = Kept::new("redacts", "old-key");
        let secrets = Secrets::read(&[file.source()], vec![false]).unwrap();
        file.becomes("new-key");
        secrets.look(&mut [Mark::default()]);
        assert_eq!(secrets.redact("old-key, then new-key"), "[secret], then [secret]");
        assert!(matches!(secrets.redact("nothing here"), Cow::Borrowed(_)));
        file.becomes(r#"with"quote"#);
        secrets.look(&mut [Mark::default()]);
        assert_eq!(secrets.redact(r#"{"key": "with\"quote"} with"quote"#), r#"{"key": "[secret]"} [secret]"#);
    }

    #[test]
    fn a_secret_without_a_value_is_named_by_its_reference() {
        let empty = Kept::new("empty", "\n");
        let told =
            |source| Secrets::read(&[source], vec![false]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told(empty.source()).contains("is empty"));
        assert!(
            told(SecretSource::Environment("SQUALL_NOT_SET".into())).contains("`${env:SQUALL_NOT_SET}` is not set")
        );
        assert!(
            told(SecretSource::File("/nonexistent/key".into())).contains("`${file:/nonexistent/key}` cannot be read")
        );
        let long = Kept::new("long", &"x".repeat(MAX_SECRET_BYTES as usize + 1));
        assert!(told(long.source()).contains("longer than 64 KiB"));
    }
}
