//! What was archived ahead of PostgreSQL's asking.
//!
//! `pg_wal/walg_data/walg_archive_status/<file>` says that `<file>` was archived; the directory is wal-g's. A mark
//! holds the size and the modification time of what was archived, and where: a file that was written anew since, or is
//! to go to another storage now, is archived again.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::durable::{self, DurableFile};
use crate::storage::Location;

use super::ReadyFiles;

/// The marks of one `pg_wal`.
#[derive(Debug)]
pub(super) struct Marks {
    directory: PathBuf,
    archive_status: PathBuf,
    location: Location,
}

impl Marks {
    /// The marks beside the WAL file at `path`, of what is archived at `location`.
    pub fn beside(path: &Path, location: &Location) -> Marks {
        let wal_dir = path.parent().unwrap_or(Path::new(""));
        Marks {
            directory: wal_dir.join("walg_data/walg_archive_status"),
            archive_status: wal_dir.join("archive_status"),
            location: location.clone(),
        }
    }

    /// Whether the file was archived as it is now.
    pub fn has(&self, name: &str, path: &Path) -> bool {
        let mark = fs::read_to_string(self.directory.join(name));
        matches!((mark, self.state_of(path)), (Ok(mark), Ok(state)) if mark == state)
    }

    /// Removes the file's mark; whether there was one, of the file as it is now.
    pub fn take(&self, name: &str, path: &Path) -> bool {
        let valid = self.has(name, path);
        match fs::remove_file(self.directory.join(name)) {
            Ok(()) => valid,
            Err(_) => false,
        }
    }

    /// Leaves a mark, durably. Without one the file is only archived once more.
    pub fn leave(&self, name: &str, path: &Path, ready_files: ReadyFiles) {
        if let Err(error) = self.write(name, path) {
            tracing::warn!(file = name, "could not note that it is archived: {error}");
            return;
        }
        if ready_files == ReadyFiles::RenameToDone {
            let ready = self.archive_status.join(format!("{name}.ready"));
            let done = self.archive_status.join(format!("{name}.done"));
            match fs::rename(&ready, &done) {
                // PostgreSQL will not ask for it, so nobody would remove the mark.
                Ok(()) => drop(fs::remove_file(self.directory.join(name))),
                Err(error) => tracing::warn!(file = name, "could not rename its .ready file: {error}"),
            }
        }
    }

    fn write(&self, name: &str, path: &Path) -> io::Result<()> {
        let state = self.state_of(path)?;
        fs::create_dir_all(&self.directory)?;
        durable::remove_leftovers(&self.directory, durable::LEFTOVER_AGE);
        let mut mark = DurableFile::create(&self.directory.join(name), 0o600).map_err(io::Error::other)?;
        mark.write_all(state.as_bytes())?;
        mark.commit().map_err(io::Error::other)
    }

    /// What a mark of the file as it is now holds.
    fn state_of(&self, path: &Path) -> io::Result<String> {
        let metadata = fs::metadata(path)?;
        let (size, seconds, nanoseconds) = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        Ok(format!("{size} {seconds}.{nanoseconds:09} in {}\n", self.location))
    }

    /// Whether they lie in a `pg_wal` that a server archives from.
    pub fn are_in_pg_wal(&self) -> bool {
        self.archive_status.is_dir()
    }

    /// The directory for what else is kept between calls.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files PostgreSQL will ask for besides `name`, in its order: history files first, then by name
    /// (`pgarch.c`, `ready_file_comparator`).
    pub fn ready_besides(&self, name: &str) -> Vec<String> {
        // Without the directory (not called by PostgreSQL, or for a file elsewhere) there are no neighbours.
        let entries = fs::read_dir(&self.archive_status).into_iter().flatten();
        let mut ready: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|entry| Some(entry.strip_suffix(".ready")?.to_owned()))
            .filter(|ready| ready != name)
            .collect();
        ready.sort_by_key(|name| (!name.ends_with(".history"), name.clone()));
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "000000010000000000000007";

    #[test]
    fn a_mark_is_for_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        fs::write(&path, b"one").unwrap();
        let marks = Marks::beside(&path, &Location::new("/archive"));
        assert!(!marks.has(NAME, &path));
        marks.leave(NAME, &path, ReadyFiles::Keep);
        assert!(marks.has(NAME, &path));
        let elsewhere = Marks::beside(&path, &Location::new("/another"));
        assert!(!elsewhere.has(NAME, &path), "it is not archived there");
        assert!(marks.take(NAME, &path));
        assert!(!marks.take(NAME, &path), "a mark is used once");

        marks.leave(NAME, &path, ReadyFiles::Keep);
        fs::write(&path, b"other").unwrap();
        assert!(!marks.has(NAME, &path), "the file was written anew");
        fs::write(marks.directory().join(NAME), b"").unwrap();
        assert!(!marks.take(NAME, &path), "an empty mark of wal-g tells nothing of the content");
    }

    #[test]
    fn ready_files_become_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        fs::write(&path, b"one").unwrap();
        let status = dir.path().join("archive_status");
        fs::create_dir(&status).unwrap();
        fs::write(status.join(format!("{NAME}.ready")), b"").unwrap();
        fs::write(status.join("00000002.history.ready"), b"").unwrap();
        fs::write(status.join("000000010000000000000006.done"), b"").unwrap();
        let marks = Marks::beside(&path, &Location::new("/archive"));
        fs::write(status.join("000000010000000000000008.ready"), b"").unwrap();
        assert_eq!(marks.ready_besides(NAME), ["00000002.history", "000000010000000000000008"]);
        marks.leave(NAME, &path, ReadyFiles::RenameToDone);
        assert!(status.join(format!("{NAME}.done")).exists());
        assert!(!marks.has(NAME, &path));
    }
}
