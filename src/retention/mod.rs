//! Which objects of a repository a retention policy removes. Pure: listings and documents in, a plan out. What follows
//! is for wal-g's layout; barman has rules of its own, [`barman`].
//!
//! Backups are ordered by timeline and segment, as their names say (wal-g, `timelineAndSegmentNoLess`), or by the
//! times at which they started. A policy picks one backup; what comes before it goes, except
//!
//! - permanent backups, with the WAL from their start to their finish;
//! - backups on which a kept delta builds, with theirs;
//! - what a backup that may be running right now has stored, all WAL from its start on, and what it builds on;
//! - history files, and everything that is no part of a backup and no WAL.
//!
//! A policy that names what goes is refused instead, when a permanent backup would go or a running one would lose what
//! it builds on.
//!
//! So every backup that stays in the list stays restorable, and from every one that was kept for its age recovery
//! reaches the end of WAL. wal-g keeps less in these cases; `docs/delete.md` has the list.

pub mod barman;
mod choice;
mod folders;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use crate::layout::walg::BackupName;
use crate::pg::{Lsn, SystemIdentifier, WalSegmentSize};
use crate::storage::ObjectMeta;

pub use plan::{DeletePlan, Kept, KeptBackup};
pub use policy::{Counting, Family, GarbageScope, Point, Policy, Refusal};

/// How long nothing must have been written below an unfinished backup until it counts as dead.
///
/// A running `backup-push` stores a part every few minutes at the latest.
pub const UNFINISHED_AGE: SignedDuration = SignedDuration::from_hours(24);

/// What retention has to know of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// The backup.
    pub name: BackupName,
    /// When its sentinel was written, as the storage says.
    pub modified: Timestamp,
    /// When it was started, from `metadata.json`; `None` when it has none.
    pub start_time: Option<Timestamp>,
    /// What it builds on; `None` for a full backup.
    pub parent: Option<BackupName>,
    /// The full backup it builds on at last; `None` for a full backup.
    pub full: Option<BackupName>,
    /// Whether `metadata.json` says that it must never be deleted.
    pub is_permanent: bool,
    /// Where replay begins.
    pub start_lsn: Option<Lsn>,
    /// Where the backup is consistent.
    pub finish_lsn: Option<Lsn>,
    /// The cluster it is of; `None` where its documents do not say.
    pub cluster: Option<SystemIdentifier>,
}

impl BackupFacts {
    fn is_full(&self) -> bool {
        self.parent.is_none()
    }
}

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Repository<'a> {
    /// Every backup, in any order.
    pub backups: &'a [BackupFacts],
    /// The objects that may be removed: those below `basebackups_005/` and `wal_005/`, and for
    /// [`Policy::Everything`] all others that wal-g writes.
    pub objects: &'a [ObjectMeta],
    /// How backups are ordered.
    pub order: Order,
    /// The size of the cluster's segments.
    pub segment_size: WalSegmentSize,
    /// The current time.
    pub now: Timestamp,
}

/// How backups are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By timeline and segment; times are those of the sentinel objects.
    Segment,
    /// By the time each was started (`--use-sentinel-time`). A WAL segment is then compared by its position alone,
    /// whatever its timeline. Needs [`BackupFacts::start_time`] of every backup.
    StartTime,
}

/// What `policy` removes from the repository; `None` when there is nothing it could apply to.
pub fn plan(policy: &Policy, repository: &Repository<'_>) -> Result<Option<DeletePlan>, Refusal> {
    let folders = folders::Folders::new(repository);
    let choice = choice::choose(policy, repository, &folders)?;
    Ok(choice.map(|choice| plan::plan(choice, repository, &folders)))
}
