//! Is this file the segment that its name says, and of this cluster?
//!
//! Asked of every segment before it is archived and after it was fetched: a segment of another cluster or of another
//! place in WAL must neither enter an archive nor reach recovery.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::pg::{SegmentHeader, SegmentName, SystemIdentifier, WalFileName};
use crate::storage::Key;

use super::{Error, control_file};

/// Whether names and headers of WAL are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentCheck {
    /// Only files that PostgreSQL archives, and only segments that are what they are called.
    Verify,
    /// Anything is stored and fetched, as wal-g does.
    Skip,
}

/// How a fetched file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchCheck {
    /// It is not.
    Skip,
    /// A segment has to be what it is called, and of the cluster that asks for it, where that is known.
    Verify {
        /// That cluster.
        cluster: Option<SystemIdentifier>,
    },
}

impl SegmentCheck {
    /// What PostgreSQL means by a file's name: `None` for one that it means nothing by, where names are not checked. Such a
    /// name has to be one that an object can have.
    pub fn wal_file(self, name: &str) -> Result<Option<WalFileName>, Error> {
        let file: Option<WalFileName> = name.parse().ok();
        if file.is_none() && (self == SegmentCheck::Verify || Key::parse(name).is_err()) {
            return Err(Error::NotAWalFile { name: name.to_owned() });
        }
        Ok(file)
    }

    /// How a file that is fetched to `destination` is checked.
    pub fn of_fetch(self, destination: &Path) -> FetchCheck {
        match self {
            SegmentCheck::Verify => FetchCheck::Verify { cluster: cluster_of_wal_file(destination) },
            SegmentCheck::Skip => FetchCheck::Skip,
        }
    }
}

/// Checks that `file` is the segment `name`; returns its header.
///
/// With the `cluster` known its identifier must be the same.
pub fn check_segment(
    file: &File,
    name: SegmentName,
    cluster: Option<SystemIdentifier>,
) -> Result<SegmentHeader, Error> {
    let read_failed = |source| Error::File { action: "read", path: name.to_string().into(), source };
    let length = file.metadata().map_err(read_failed)?.len();
    let mut head = [0; SegmentHeader::LEN];
    let read = file.read_at(&mut head, 0).map_err(read_failed)?;
    let invalid = |source| Error::Segment { file: name.to_string(), source };
    let header = SegmentHeader::parse(head.get(..read).unwrap_or_default()).map_err(invalid)?;
    header.check(name, length).map_err(invalid)?;
    match cluster {
        Some(expected) if expected != header.system_identifier => {
            Err(Error::ForeignSegment { file: name.to_string(), found: header.system_identifier, expected })
        }
        _ => Ok(header),
    }
}

/// Checks the segment in the file at `path`; see [`check_segment`].
pub fn check_segment_file(
    path: &Path,
    name: SegmentName,
    cluster: Option<SystemIdentifier>,
) -> Result<SegmentHeader, Error> {
    check_segment(&File::open(path).map_err(Error::file("open", path))?, name, cluster)
}

/// The cluster whose `pg_wal` holds the file at `path`, read from `global/pg_control` beside it.
///
/// `None` when `path` does not lie in a data directory, or when its control file cannot be read just now.
pub fn cluster_of_wal_file(path: &Path) -> Option<SystemIdentifier> {
    let control = control_file::read(&data_dir_of_wal_file(path)?).ok()?;
    Some(control.parsed.system_identifier)
}

/// The data directory of the `pg_wal` that holds the file at `path`.
///
/// Taken from the path as it was written: `pg_wal` may be a link to another volume.
fn data_dir_of_wal_file(path: &Path) -> Option<PathBuf> {
    let data_dir = std::path::absolute(path).ok()?.parent()?.parent()?.to_owned();
    data_dir.join("global/pg_control").exists().then_some(data_dir)
}
