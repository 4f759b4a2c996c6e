//! A file on its way into the directory: under a temporary name beside its final place, then whole or not at all.
//!
//! The names are wal-g's (`folder.go` of its file storage), so that both tools skip such files in listings.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Place, Step};
use crate::storage::{Error, Key, PutMode, PutOutcome, Result};

/// How often a put starts over when another process prunes the directory it has just created.
const PRUNE_RACES: u32 = 10;
/// What follows `.tmp.`: `9` is a digit, `x` a hexadecimal digit, the rest stands for itself.
const TEMPORARY_PATTERN: &[u8] = b"99999999T999999Z-xxxxxxxxxxxxxxxx";

/// A file that is being written beside its final place. Dropped without [`NewFile::publish`], it is removed.
pub(super) struct NewFile {
    place: Arc<Place>,
    action: &'static str,
    key: Key,
    pub(super) file: File,
    temporary: PathBuf,
    path: PathBuf,
    /// Directories above it that may not be durable yet, see [`Place::create_parents`].
    unsynced: Vec<PathBuf>,
}

impl NewFile {
    pub(super) fn create(place: Arc<Place>, key: Key, action: &'static str) -> Result<NewFile> {
        let step = Step { action, key: Some(&key) };
        let path = place.checked_path(step, &key)?;
        let name = temporary_name(key.file_name()).map_err(|error| place.failed(step, &path, &error))?;
        let temporary = path.with_file_name(name);
        let mut unsynced = Vec::new();
        let mut races = 0;
        let file = loop {
            unsynced.extend(place.create_parents(step, &path)?);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => break file,
                Err(error) if error.kind() == io::ErrorKind::NotFound && races < PRUNE_RACES => races += 1,
                Err(error) => return Err(place.failed_or_no_root(step, &temporary, &error)),
            }
        };
        Ok(NewFile { place, action, key, file, temporary, path, unsynced })
    }

    /// Writes the whole content.
    pub(super) fn write(&mut self, content: &[u8]) -> Result<()> {
        let written = self.file.write_all(content);
        self.check(written)
    }

    /// Makes the file durable, then visible, then its name durable. A file that nobody wants any more is removed.
    pub(super) fn publish(self, mode: PutMode, wanted: &Wanted) -> Result<PutOutcome> {
        self.check(self.file.sync_all())?;
        let outcome = self.check(wanted.unless_given_up(|| self.give_name(mode)))?;
        if outcome == PutOutcome::Stored {
            self.check(self.path.parent().map_or(Ok(()), sync_directory))?;
            self.unsynced.iter().try_for_each(|directory| self.check(self.place.sync_entry(directory)))?;
        }
        Ok(outcome)
    }

    fn give_name(&self, mode: PutMode) -> io::Result<PutOutcome> {
        let created = match mode {
            PutMode::Overwrite => std::fs::rename(&self.temporary, &self.path),
            PutMode::CreateOnly => match std::fs::hard_link(&self.temporary, &self.path) {
                // Some network file systems have no hard links.
                Err(error) if is_unsupported(&error) => rename_to_free_name(&self.temporary, &self.path),
                linked => linked,
            },
        };
        match created {
            Ok(()) => Ok(PutOutcome::Stored),
            Err(error) if mode == PutMode::CreateOnly && error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(PutOutcome::AlreadyExists)
            }
            Err(error) => Err(error),
        }
    }

    fn check<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| self.failed(&error))
    }

    pub(super) fn failed(&self, error: &io::Error) -> Error {
        self.place.failed(Step { action: self.action, key: Some(&self.key) }, &self.path, error)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Gone already after a rename; a second name after a link.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Whether somebody still waits for a file. Giving it up and giving it its name exclude each other.
#[derive(Default)]
pub(super) struct Wanted {
    given_up: Mutex<bool>,
}

impl Wanted {
    /// Nothing gets a name after this has returned.
    pub(super) fn give_up(&self) {
        *self.lock() = true;
    }

    fn unless_given_up<T>(&self, name: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let given_up = self.lock();
        if *given_up {
            return Err(io::ErrorKind::Interrupted.into());
        }
        name()
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
}

fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // What many file systems in user space answer, for objects in a bucket or a shared folder, that know no flags.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            rename_after_a_look(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// The last resort: what appears after the look is replaced.
fn rename_after_a_look(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Whether the name is that of a file that is not finished.
pub(super) fn is_temporary(name: &str) -> bool {
    finished_name(name).is_some()
}

/// The final name of a file whose name ends in `.tmp.<YYYYMMDDTHHMMSSZ>-<16 hex>`.
pub(super) fn finished_name(name: &str) -> Option<&str> {
    let (finished, suffix) = name.rsplit_once(".tmp.")?;
    let bytes = suffix.as_bytes();
    let fits = bytes.len() == TEMPORARY_PATTERN.len()
        && bytes.iter().zip(TEMPORARY_PATTERN).all(|(byte, class)| match class {
            b'9' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            literal => byte == literal,
        });
    fits.then_some(finished)
}

fn temporary_name(name: &str) -> io::Result<String> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let random = getrandom::u64().map_err(io::Error::from)?;
    Ok(format!("{name}.tmp.{now}-{random:016x}"))
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_a_free_name_leaves_what_is_there() {
        for rename in [rename_to_free_name, rename_after_a_look] {
            let directory = tempfile::tempdir().unwrap();
            let [from, to] = ["from", "to"].map(|name| directory.path().join(name));
            std::fs::write(&from, "new").unwrap();
            std::fs::write(&to, "old").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&to).unwrap(), b"old");
            std::fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(std::fs::read(&to).unwrap(), b"new");
        }
    }

    #[test]
    fn knows_unfinished_names() {
        for (name, expected) in [
            ("part_001.tar.br.tmp.20240102T030405Z-0123456789abcdef", true),
            (&temporary_name("x").unwrap(), true),
            ("x.tmp.20240102T030405Z-0123456789abcde", false),
            ("x.tmp.", false),
            ("20240102T030405Z-0123456789abcdef", false),
        ] {
            assert_eq!(is_temporary(name), expected, "{name}");
        }
    }
}
