//! The marks of a restore that is under way. A restore that was killed leaves a data directory without `pg_control` and
//! with such a mark, so the same command again may clear it away and begin anew; a directory without it is not ours. The
//! mark of the data directory is locked by the restore as long as that lives. Every place of a tablespace has a mark of
//! its own, which names the data directory: what another restore has put there since is not ours either.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::durable;
use crate::ops::{Error, lock_file};

/// From before the first restored file until `pg_control` is there.
const NAME: &str = "seawall_restore_unfinished";

/// What a killed restore has left. Nobody else clears it away as long as this lives.
#[derive(Debug)]
pub(super) struct Unfinished {
    _lock: File,
}

impl Unfinished {
    /// Looks for it in a data directory. With `pg_control` it is a cluster, whatever else is there; with a mark that is
    /// locked, another restore is under way.
    pub fn look(root: &Path) -> Result<Option<Unfinished>, Error> {
        let path = root.join(NAME);
        if !exists(&path)? || exists(&root.join("global/pg_control"))? {
            return Ok(None);
        }
        let lock = lock_file::try_lock(&path).map_err(Error::file("lock", path))?;
        Ok(lock.map(|lock| Unfinished { _lock: lock }))
    }

    /// Whether what is in a tablespace's place is of that restore into `root`.
    pub fn has(&self, tablespace: &Path, root: &Path) -> Result<bool, Error> {
        let path = tablespace.join(NAME);
        match fs::read(&path) {
            Ok(owner) => Ok(owner == root.as_os_str().as_bytes()),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }
}

/// Durably says in `directory` that a restore into `root` is under way. The mark's lock; `None` when somebody else was
/// faster.
pub(super) fn mark(directory: &Path, root: &Path) -> Result<Option<File>, Error> {
    let path = directory.join(NAME);
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(Error::file("create", path)(error)),
    };
    let marked = lock_mark(&mut file, &path, root);
    if marked.is_err() {
        // It is ours, and says what is not true.
        let _ = fs::remove_file(&path);
    }
    marked
}

/// Locks a mark that was just made, and writes it.
fn lock_mark(file: &mut File, path: &Path, root: &Path) -> Result<Option<File>, Error> {
    let Some(lock) = lock_file::try_lock(path).map_err(Error::file("lock", path))? else { return Ok(None) };
    let inode = |file: &File| file.metadata().map(|metadata| metadata.ino());
    // Before the lock, it may have been taken for one that was left.
    if inode(file).ok() != inode(&lock).ok() {
        return Ok(None);
    }
    let written = file.write_all(root.as_os_str().as_bytes()).and_then(|()| file.sync_all());
    written.map_err(Error::file("write", path))?;
    durable::sync_dir(durable::parent(path))?;
    Ok(Some(lock))
}

/// Durably says that it is done.
pub(super) fn unmark(directory: &Path) -> Result<(), Error> {
    let path = directory.join(NAME);
    fs::remove_file(&path).map_err(Error::file("remove", path))?;
    Ok(durable::sync_dir(directory)?)
}

/// Removes what is in a directory; the mark last, so that this can be interrupted too.
pub(super) fn remove_content(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == NAME {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    match fs::remove_file(directory.join(NAME)) {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
