//! What was read from files, and is read again once they have changed.
//!
//! Nothing watches: whoever wants the value asks, and asking looks whether the
//! files are still the ones that were read. A new certificate is in use with
//! the next handshake, on every file system, also where files are links that
//! are swapped (Kubernetes).

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Tells one content of a file from another without reading it: device, number,
/// length, and when content and entry changed.
type Stamp = Vec<Option<[i128; 7]>>;

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value made from files.
pub struct Reread<T> {
    paths: Vec<PathBuf>,
    load: Load<T>,
    last: Mutex<(Stamp, Arc<T>)>,
}

impl<T> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread").field("paths", &self.paths).finish_non_exhaustive()
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    let of = |path: &Path| {
        let known = std::fs::metadata(path).ok()?;
        let parts = [known.mtime(), known.mtime_nsec(), known.ctime(), known.ctime_nsec()];
        let [mtime, mtime_ns, ctime, ctime_ns] = parts.map(i128::from);
        let parts = [known.dev(), known.ino(), known.len()];
        let [device, number, length] = parts.map(i128::from);
        Some([device, number, length, mtime, mtime_ns, ctime, ctime_ns])
    };
    paths.iter().map(|path| of(path)).collect()
}

impl<T> Reread<T> {
    /// Reads for the first time; what cannot be used then is an error.
    pub fn new(
        paths: impl IntoIterator<Item = PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        // The stamp is older than what is read: a change in between is seen next time.
        let before = stamp(&paths);
        let first = Arc::new(load()?);
        Ok(Self { paths, load: Box::new(load), last: Mutex::new((before, first)) })
    }

    /// The value of the files as they are now. When they cannot be used (half of a pair is replaced
    /// already), the one before stays.
    pub fn current(&self) -> Arc<T> {
        let now = stamp(&self.paths);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != now {
            let files = self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            match (self.load)() {
                Ok(value) => {
                    tracing::info!(files, "read again");
                    last.1 = Arc::new(value);
                }
                Err(why) => tracing::warn!(files, why, "changed files cannot be used; what was read before stays"),
            }
            last.0 = now;
        }
        last.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_in(path: &Path) -> Reread<u32> {
        let read = path.to_owned();
        let load = move || {
            let text = std::fs::read_to_string(&read).map_err(|error| error.to_string())?;
            text.parse().map_err(|_| "no number".to_owned())
        };
        Reread::new([path.to_owned()], load).unwrap()
    }

    #[test]
    fn what_changed_is_read_again_and_what_cannot_be_used_is_not_taken() {
        let path = std::env::temp_dir().join(format!("squall-reread-{}", std::process::id()));
        std::fs::write(&path, "1").unwrap();
        let number = number_in(&path);
        assert_eq!(*number.current(), 1);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(*number.current(), 22);
        std::fs::write(&path, "not a number").unwrap();
        assert_eq!(*number.current(), 22);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*number.current(), 22);
        std::fs::write(&path, "333").unwrap();
        assert_eq!(*number.current(), 333);
        std::fs::remove_file(&path).unwrap();
    }
}
