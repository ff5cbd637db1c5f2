//! The results directory: proven writable before load is sent, and written
//! file by file so that no file is ever half there.

use super::failure::Failure;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::internal(format!("cannot {what} {}: {error}", path.display()))
}

/// Makes the directory and writes to it once, before anything depends on it.
pub fn prepare(dir: &Path) -> Result<(), Failure> {
    let unusable = |error: std::io::Error| {
        let shown = dir.display();
        Failure::usage(format!(
            "results cannot be written to {shown}: {error} (--out DIR names another, --no-out none)"
        ))
    };
    fs::create_dir_all(dir).map_err(unusable)?;
    let probe = dir.join(".squall-probe");
    File::create(&probe).and_then(|mut file| file.write_all(b"writable")).map_err(unusable)?;
    fs::remove_file(&probe).map_err(unusable)
}

/// Writes every file under a temporary name first. The first failure ends it and names the file.
pub fn write(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|error| cannot("create", dir, &error))?;
    for (name, bytes) in files {
        let path = safe_path(dir, name)?;
        let temporary = path.with_extension("part");
        let written =
            File::create(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, &path)) {
            // What is left of it is of no use to anyone.
            let _ = fs::remove_file(&temporary);
            return Err(cannot("write", &path, &error));
        }
    }
    Ok(())
}

/// Names come from a controller: only plain file names are taken.
fn safe_path(dir: &Path, name: &str) -> Result<PathBuf, Failure> {
    let is_plain = Path::new(name).file_name().is_some_and(|file| file == name);
    if is_plain { Ok(dir.join(name)) } else { Err(Failure::internal(format!("`{name}` is no name of a result file"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_only_under_plain_names() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        prepare(&out).unwrap();
        write(&out, &[("summary.json".into(), b"{}".to_vec())]).unwrap();
        let names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["summary.json"]);
        for name in ["../evil", "a/b", "..", ""] {
            assert!(write(&out, &[(name.into(), vec![])]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_a_file_is_said_before_load() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let failure = prepare(&file).unwrap_err();
        assert!(failure.code == 2 && failure.text.contains("--out DIR"), "{}", failure.text);
    }
}
