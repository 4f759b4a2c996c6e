//! The mark of a restore that is under way. A restore that was killed leaves a data directory without `pg_control` and
//! with this mark, so the same command again may clear it away and begin anew; a directory without it is not ours. The
//! mark is locked by the restore as long as that lives.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::durable::{self, DurableFile};
use crate::ops::{Error, lock_file};

/// In the data directory from before the first restored file until `pg_control` is there. It names the places of the
/// tablespaces, each followed by a zero byte.
const NAME: &str = "seawall_restore_unfinished";

/// What a killed restore has left.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// The places of tablespaces that it found empty.
    tablespaces: BTreeSet<PathBuf>,
}

impl Unfinished {
    /// Looks for it in a data directory. With `pg_control` it is a cluster, whatever else is there; with a mark that is
    /// locked, another restore is under way.
    pub fn look(root: &Path) -> Result<Option<Unfinished>, Error> {
        let path = root.join(NAME);
        let places = match fs::read(&path) {
            Ok(places) => places,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let control = root.join("global/pg_control");
        match fs::symlink_metadata(&control) {
            Err(error) if is_missing(&error) => {}
            Ok(_) => return Ok(None),
            Err(error) => return Err(Error::file("read", control)(error)),
        }
        if lock_file::try_lock(&path).map_err(Error::file("lock", &path))?.is_none() {
            return Ok(None);
        }
        let places = places.split(|byte| *byte == 0).filter(|place| !place.is_empty());
        let tablespaces = places.map(|place| PathBuf::from(OsString::from_vec(place.to_vec()))).collect();
        Ok(Some(Unfinished { tablespaces }))
    }

    /// Whether a tablespace's place was empty before that restore.
    pub fn has(&self, tablespace: &Path) -> bool {
        self.tablespaces.contains(tablespace)
    }
}

/// Durably says that a restore is under way, and where its tablespaces go. The mark's lock; `None` when somebody else was
/// faster.
pub(super) fn mark<'a>(
    root: &Path,
    tablespaces: impl Iterator<Item = &'a PathBuf>,
) -> Result<Option<File>, Error> {
    let path = root.join(NAME);
    let mut file = DurableFile::create(&path, 0o600)?;
    let places: Vec<u8> =
        tablespaces.flat_map(|place| [place.as_os_str().as_bytes(), b"\0"].concat()).collect();
    file.write_all(&places).map_err(Error::file("write", &path))?;
    file.commit()?;
    lock_file::try_lock(&path).map_err(Error::file("lock", path))
}

/// Durably says that it is done.
pub(super) fn unmark(root: &Path) -> Result<(), Error> {
    let path = root.join(NAME);
    fs::remove_file(&path).map_err(Error::file("remove", path))?;
    Ok(durable::sync_dir(root)?)
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

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
