//! A directory of certificates: `ca.pem`, `ca.key`, and a pair for everyone.

use super::super::failure::{Failure, in_words};
use super::super::output::note;
use crate::identity::issue::{self, Authority, Issued, Known, Subject};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;

const CA: &str = "ca";
const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o700;

/// Where the files of one cluster are.
pub struct Directory {
    path: PathBuf,
}

/// `2027-02-21`
pub fn day(at: OffsetDateTime) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

/// Whole or not at all, and never readable by others in between: a server may look at any moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = || -> io::Result<()> {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| Failure::usage(format!("cannot write {}: {}", path.display(), in_words(&error))))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {}", path.display(), in_words(&error))))
}

impl Directory {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }

    fn file(&self, stem: &str, ending: &str) -> PathBuf {
        // Names may hold dots, so an extension cannot be set.
        self.path.join(format!("{stem}.{ending}"))
    }

    /// Makes the CA.
    pub fn begin(&self, now: OffsetDateTime, valid_for: Duration) -> Result<(), Failure> {
        if self.file(CA, "pem").exists() || self.file(CA, "key").exists() {
            return Err(Failure::usage(format!(
                "{} holds a CA already: `squall certs renew` makes anew what it signed, and another --dir begins \
                 another cluster",
                self.shown()
            )));
        }
        let created = fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(&self.path);
        created.map_err(|error| Failure::usage(format!("cannot create {}: {}", self.shown(), in_words(&error))))?;
        let made = issue::authority(now, valid_for).map_err(Failure::internal)?;
        self.save(CA, &made)
    }

    fn authority(&self) -> Result<Authority, Failure> {
        let (certificate, key) = (self.file(CA, "pem"), self.file(CA, "key"));
        if !certificate.exists() {
            return Err(Failure::usage(format!(
                "there is no {}: `squall certs init` makes a CA first, or --dir names another directory",
                certificate.display()
            )));
        }
        Authority::read(&read(&certificate)?, &read(&key)?)
            .map_err(|why| Failure::usage(format!("the CA in {} cannot be used: {why}", self.shown())))
    }

    /// Makes a certificate that is not there yet.
    pub fn make(&self, subject: &Subject, now: OffsetDateTime, valid_for: Duration) -> Result<(), Failure> {
        let stem = subject.file_stem();
        let path = self.file(&stem, "pem");
        if path.exists() || self.file(&stem, "key").exists() {
            return Err(Failure::usage(format!(
                "{} is there already: `squall certs renew {stem}` makes it anew with the same names; to change \
                 them, remove it first",
                path.display()
            )));
        }
        self.replace(&stem, subject, now, valid_for)
    }

    /// Makes a certificate, whether or not it is there.
    pub fn replace(
        &self,
        stem: &str,
        subject: &Subject,
        now: OffsetDateTime,
        valid_for: Duration,
    ) -> Result<(), Failure> {
        let issued = self.authority()?.issue(subject, now, valid_for).map_err(Failure::usage)?;
        self.save(stem, &issued)
    }

    fn save(&self, stem: &str, issued: &Issued) -> Result<(), Failure> {
        let (certificate, key) = (self.file(stem, "pem"), self.file(stem, "key"));
        write(&key, &issued.key, KEY_MODE)?;
        write(&certificate, &issued.certificate, CERTIFICATE_MODE)?;
        note(&format!("{} and .key, valid until {}", certificate.display(), day(issued.not_after)));
        Ok(())
    }

    /// Everything that the CA signed and that can be read, by name.
    pub fn certificates(&self) -> Result<Vec<(String, Known)>, Failure> {
        let unreadable =
            |error: io::Error| Failure::usage(format!("cannot read {}: {}", self.shown(), in_words(&error)));
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".pem").filter(|stem| *stem != CA) else { continue };
            match issue::known(read(&self.file(stem, "pem"))?.as_bytes()) {
                Ok(known) => found.push((stem.to_owned(), known)),
                Err(why) => note(&format!("{}: {why}; it is left alone", self.file(stem, "pem").display())),
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }
}
