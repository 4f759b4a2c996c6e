//! What a person can ask `delete` for, and why it can be refused.

use std::num::NonZeroUsize;

use jiff::Timestamp;

use crate::layout::walg::BackupName;

/// What to keep or to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Keep the newest backups, and everything after the oldest of them.
    Retain {
        /// How many.
        count: NonZeroUsize,
        /// Which ones count.
        counting: Counting,
        /// Keep at least those at or after this point as well.
        after: Option<Point>,
    },
    /// Keep everything from a backup on.
    Before {
        /// The first backup to keep.
        point: Point,
        /// Go back to the next full backup when that one is a delta.
        find_full: bool,
    },
    /// Remove a backup with all that build on it. WAL stays.
    Target {
        /// The backup.
        backup: BackupName,
        /// What goes with it.
        family: Family,
    },
    /// Remove all backups and all WAL.
    Everything {
        /// Permanent backups too, and those that may be being taken right now.
        force: bool,
    },
    /// Remove what belongs to no backup: WAL before the oldest backup that is not permanent, and the data of backups
    /// that were never finished or only partly deleted.
    Garbage {
        /// Which of the two.
        scope: GarbageScope,
        /// Go on when no backup tells which WAL is needed: none is, but for permanent backups.
        without_backups: bool,
    },
}

/// Which backups `retain` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Every backup; the oldest kept one must be a full one.
    Any,
    /// `FULL`: full backups only.
    Full,
    /// `FIND_FULL`: every backup, then back to the next full one.
    FindFull,
}

/// A place in the sequence of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// A backup by its name, or by the beginning of its name if no other starts so.
    Name(String),
    /// The oldest backup at or after this time.
    Time(Timestamp),
}

impl Point {
    /// Reads a time in RFC 3339, else takes the text for a name, as wal-g does.
    pub fn parse(text: &str) -> Point {
        text.parse().map_or_else(|_| Point::Name(text.to_owned()), Point::Time)
    }
}

/// What goes with a backup that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The deltas that build on it.
    Descendants,
    /// `FIND_FULL`: its full backup and all deltas of that.
    Whole,
}

/// What `garbage` looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GarbageScope {
    /// Both.
    All,
    /// `ARCHIVES`: WAL.
    Archives,
    /// `BACKUPS`: data of backups without a sentinel.
    Backups,
}

/// Why nothing is deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No backup has this name.
    #[error("cannot choose what to delete: backup `{name}` was not found")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// The beginning of a name fits several backups.
    #[error("cannot choose what to delete: {} backups start with `{prefix}`: {}", names.len(), list(names))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The backups.
        names: Vec<BackupName>,
    },
    /// Backups before a delta would leave it without its full backup.
    #[error("cannot delete before `{name}`: it is incremental and its predecessors cannot be deleted")]
    Incremental {
        /// The delta.
        name: BackupName,
    },
    /// Permanent backups are in the way.
    #[error("cannot delete permanent backups: {}", list(names))]
    Permanent {
        /// The backups.
        names: Vec<BackupName>,
    },
    /// Backups that may be being taken right now build on what would go, or would go themselves.
    #[error("cannot delete what unfinished backups need, they may be running: {}", list(names))]
    Running {
        /// The unfinished backups.
        names: Vec<BackupName>,
    },
    /// A time that is still to come would remove what it was not meant to.
    #[error("cannot delete before {time}: it is in the future")]
    Future {
        /// The time.
        time: Timestamp,
    },
}

impl Refusal {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::NotFound { .. } | Refusal::Ambiguous { .. } => {
                "`backup-list` shows the backups that exist; give the whole name"
            }
            Refusal::Incremental { .. } => "use FIND_FULL to keep its full backup as well",
            Refusal::Permanent { .. } => {
                "`backup-mark -i NAME` makes a backup impermanent; `delete everything FORCE` removes them all"
            }
            Refusal::Running { .. } => {
                "wait for their end; a dead one counts as such 24 hours after its last write; `delete everything FORCE` \
                 does not look"
            }
            Refusal::Future { .. } => "check the time and its zone",
        }
    }
}

fn list(names: &[BackupName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_time_or_a_name() {
        let time: Timestamp = "2026-11-21T02:00:00Z".parse().unwrap();
        for (text, point) in [
            ("2026-11-21T02:00:00Z", Point::Time(time)),
            ("2026-11-21T04:00:00+02:00", Point::Time(time)),
            ("base_000000010000000000000002", Point::Name("base_000000010000000000000002".to_owned())),
            ("2026-11-21T02:00:00", Point::Name("2026-11-21T02:00:00".to_owned())),
        ] {
            assert_eq!(Point::parse(text), point);
        }
    }
}
