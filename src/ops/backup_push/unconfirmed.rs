//! Why it is not certain that a backup which was taken can be restored.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::layout::Name;
use crate::ops::Class;
use crate::pg::SegmentName;
use crate::storage::Key;

/// Something that a backup needs is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// The storage does not have a tar as it was stored. There is no backup.
    #[error("`{key}` was stored with {sent} bytes, but {}", now(.found))]
    NotStored {
        /// The tar.
        key: Key,
        /// Its bytes when it was stored.
        sent: u64,
        /// Its bytes now; `None` when it is gone.
        found: Option<u64>,
    },
    /// The server's archiver had no success for as long as this. There is no backup.
    #[error("the server did not archive the WAL of the backup in {0:?}, so the backup is given up")]
    NotArchived(Duration),
    /// The archive lacks WAL. The backup is there.
    #[error(
        "backup `{backup}` is stored, but the archive lacks {missing}, without which it cannot be restored (waited for \
         {waited:?})"
    )]
    NoWal {
        /// The backup.
        backup: Name,
        /// What the archive lacks.
        missing: MissingWal,
        /// Who should have archived it.
        archiver: Archiver,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl Unconfirmed {
    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Unconfirmed::NotStored { .. } => Class::Storage,
            Unconfirmed::NotArchived(_) | Unconfirmed::NoWal { .. } => Class::Server,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Unconfirmed::NotStored { .. } => {
                "something deletes or replaces objects there (a lifecycle rule, another backup), or the service loses them"
            }
            Unconfirmed::NotArchived(_) => {
                "look into pg_stat_archiver and the server's log; SEAWALL_BACKUP_WAL_TIMEOUT and WALG_STOP_BACKUP_TIMEOUT \
                 bound the wait"
            }
            Unconfirmed::NoWal { archiver, .. } => archiver.hint(),
        }
    }
}

fn now(found: &Option<u64>) -> String {
    found.map_or_else(|| "is gone".to_owned(), |size| format!("has {size} now"))
}

/// Who should have archived the WAL of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archiver {
    /// The server is a primary and archives.
    Elsewhere,
    /// The server is a primary and does not archive.
    Nobody,
    /// The server is a standby.
    Primary,
}

impl Archiver {
    fn hint(self) -> &'static str {
        match self {
            Archiver::Elsewhere => {
                "the server says that it has archived them, so it archives to another place: check archive_command; \
                 where that is meant, SEAWALL_BACKUP_WAL_TIMEOUT=0 does not look for them"
            }
            Archiver::Nobody => {
                "the server does not archive: set archive_mode and archive_command; where WAL is kept in another way, \
                 SEAWALL_BACKUP_WAL_TIMEOUT=0 does not look for it"
            }
            Archiver::Primary => {
                "the primary archives a segment when it is full: SELECT pg_switch_wal() there, or set archive_timeout; once \
                 the archive has them the backup is good"
            }
        }
    }
}

/// Segments that the archive lacks, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingWal(pub(super) BTreeSet<SegmentName>);

impl fmt::Display for MissingWal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) if first != last => {
                write!(f, "{} WAL segments of {first} to {last}", self.0.len())
            }
            (first, _) => first.map_or(Ok(()), |first| write!(f, "WAL segment {first}")),
        }
    }
}
