//! Which backups and which WAL go by barman's rules. Pure.
//!
//! A policy looks at complete backups only, newest first: it never removes one that failed or is being taken, unless
//! its deletion has begun. WAL goes with backups only: when the oldest backup goes, WAL before the next one goes too. Source: barman
//! `retention_policies.py`, `backup.py` (`should_remove_wals`, `get_timelines_to_protect`),
//! `clients/cloud_backup_delete.py`.
//!
//! Where these rules would remove WAL that a backup which stays needs, it stays here; see `BackupFacts::needs`.
//! That happens when backups overlap, when one was taken from a standby, whose backups begin earlier, and when
//! timelines fork.

mod policy;
#[cfg(test)]
mod tests;
mod wal;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::layout::barman::names::HashDir;
use crate::layout::barman::{BackupId, Keep, Status};
use crate::pg::{SegmentName, TimelineId};

pub use policy::{InvalidPolicy, RetentionPolicy, RetentionStatus, report};
pub use wal::{ArchivedObject, WalFolder, WalRemoval};

/// How long a backup that is being taken may be silent until it counts as dead. Only its `backup.info` is looked at,
/// since nothing is seen of a tar before it is whole.
pub const RUNNING_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What retention has to know of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// The backup.
    pub id: BackupId,
    /// What has become of it.
    pub status: Status,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// The timeline on which it began.
    pub timeline: Option<TimelineId>,
    /// The first segment that its recovery needs.
    pub begin_wal: Option<SegmentName>,
    /// The segment in which it is consistent.
    pub end_wal: Option<SegmentName>,
    /// For what it is kept.
    pub keep: Option<Keep>,
    /// Whether it may be being taken right now: it was started, and written to within [`RUNNING_AGE`].
    pub may_be_running: bool,
    /// Whether its deletion has begun.
    pub is_being_deleted: bool,
    /// Whether it builds on another backup, as only a barman server makes them.
    pub is_incremental: bool,
    /// Whether it is made of snapshots of volumes that seawall cannot delete.
    pub has_unknown_snapshots: bool,
}

impl BackupFacts {
    /// Whether all its data are stored.
    fn is_copied(&self) -> bool {
        matches!(self.status, Status::Done | Status::WaitingForWals)
    }

    /// What WAL the backup needs as long as it exists.
    ///
    /// A complete backup: everything that recovery from it can reach, which is all from its first segment on, on its
    /// own timeline and on those that come after it. Kept as standalone: from its first segment to its last. One that may
    /// be running becomes complete, so it needs the same. One that failed needs none.
    fn needs(&self) -> Need {
        let needs_any = match self.status {
            Status::Done | Status::WaitingForWals | Status::Syncing => true,
            Status::Started => self.may_be_running,
            Status::Empty | Status::Failed => false,
        };
        match (needs_any, self.begin_wal, self.keep) {
            (false, _, _) => Need::Nothing,
            // Nobody knows from where on.
            (true, None, _) => Need::Everything,
            (true, Some(first), Some(Keep::Standalone)) if self.end_wal.is_some() => {
                Need::Range(first, self.end_wal.unwrap_or(first))
            }
            (true, Some(first), _) => Need::From(first),
        }
    }
}

/// WAL that must stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// The segments between these two, and these.
    Range(SegmentName, SegmentName),
    /// This segment and what comes after it, on its timeline and those that may have forked from it.
    From(SegmentName),
    Everything,
}

impl Need {
    /// Whether a range may have something in a folder, by barman's comparison.
    fn has_range_in(self, folder: HashDir) -> bool {
        match self {
            Need::Range(first, last) => {
                (first.timeline()..=last.timeline()).contains(&folder.timeline)
                    && (first.log()..=last.log()).contains(&folder.log)
            }
            _ => false,
        }
    }

    fn contains(self, segment: SegmentName) -> bool {
        match self {
            Need::Nothing => false,
            Need::Range(first, last) => first <= segment && segment <= last,
            Need::From(first) => {
                segment.timeline() >= first.timeline() && segment.on_timeline(first.timeline()) >= first
            }
            Need::Everything => true,
        }
    }
}

/// What a person asks to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// One backup.
    Backup(BackupId),
    /// Every backup that a policy gives up.
    Policy(RetentionPolicy),
}

/// Why nothing is deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The backup is kept.
    #[error("backup `{id}` is kept ({keep})")]
    Kept {
        /// The backup.
        id: BackupId,
        /// For what.
        keep: Keep,
    },
    /// Too few backups would be left.
    #[error("backup `{id}` is one of {current} backups, and the minimum redundancy is {minimum}")]
    MinimumRedundancy {
        /// The backup.
        id: BackupId,
        /// How many backups have to stay.
        minimum: usize,
        /// How many there are.
        current: usize,
    },
    /// The data lie in snapshots of volumes that are not at AWS, or whose description is not whole.
    #[error(
        "backup `{id}` is made of snapshots of volumes that are not at AWS or not described whole, which seawall cannot delete"
    )]
    Snapshots {
        /// The backup.
        id: BackupId,
    },
    /// A `backup.info` cannot be read, so nobody knows what its backup needs.
    #[error("the description of {} cannot be read, so it is not known which WAL has to stay", name(ids))]
    Unreadable {
        /// The backups.
        ids: Vec<BackupId>,
    },
}

impl Refusal {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Kept { .. } => "`barman-cloud-backup-keep --release` ends that",
            Refusal::MinimumRedundancy { .. } => "use a smaller --minimum-redundancy",
            Refusal::Snapshots { .. } => "delete it with barman-cloud-backup-delete of barman",
            Refusal::Unreadable { .. } => {
                "repair its backup.info, or remove the folder of the backup by hand"
            }
        }
    }
}

fn name(ids: &[BackupId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("backup `{id}`")).collect();
    ids.join(", ")
}

/// The backups that `request` removes, oldest first. A single backup may not exist, then there are none.
///
/// `backups` are all of the catalogue, in the order of their ids.
pub fn choose(
    request: &Request,
    backups: &[BackupFacts],
    minimum_redundancy: usize,
    now: Timestamp,
) -> Result<Vec<BackupId>, Refusal> {
    let chosen: Vec<BackupId> = match request {
        Request::Backup(id) => {
            let Some(facts) = backups.iter().find(|facts| facts.id == *id) else { return Ok(Vec::new()) };
            if let Some(keep) = facts.keep {
                return Err(Refusal::Kept { id: *id, keep });
            }
            let current = backups.iter().filter(|facts| facts.status != Status::Started).count();
            if minimum_redundancy > 0 && minimum_redundancy >= current {
                return Err(Refusal::MinimumRedundancy { id: *id, minimum: minimum_redundancy, current });
            }
            vec![*id]
        }
        Request::Policy(policy) => {
            let report = report(policy, backups, minimum_redundancy, now);
            let obsolete = report.into_iter().filter(|(_, status)| *status == RetentionStatus::Obsolete);
            BTreeSet::from_iter(obsolete.map(|(id, _)| id)).into_iter().collect()
        }
    };
    match backups.iter().find(|facts| facts.has_unknown_snapshots && chosen.contains(&facts.id)) {
        Some(facts) => Err(Refusal::Snapshots { id: facts.id }),
        None => Ok(chosen),
    }
}

/// What WAL goes with each of the `chosen` backups, one after the other, oldest first.
///
/// `backups` are all of the catalogue, in the order of their ids; `archive` is what lies below `wals/`, by keys.
pub fn wal_removals(
    request: &Request,
    chosen: &[BackupId],
    backups: &[BackupFacts],
    archive: &[ArchivedObject],
) -> Vec<WalRemoval> {
    let mut left = backups.to_vec();
    let mut folders: BTreeMap<HashDir, Vec<&ArchivedObject>> = BTreeMap::new();
    for object in archive {
        if let Some(folder) = object.folder {
            folders.entry(folder).or_default().push(object);
        }
    }
    let mut archive: Vec<&ArchivedObject> = archive.iter().collect();
    let (mut emptied, mut removals) = (BTreeMap::new(), Vec::new());
    for id in chosen {
        let removal = wal::removal(*id, &left, &archive, &emptied, request);
        let gone: BTreeSet<_> = removal.keys().collect();
        let went = removal.folders.iter().map(|folder| folder.folder);
        emptied.extend(went.filter_map(|folder| folders.remove_entry(&folder)));
        archive.retain(|object| !gone.contains(&object.key));
        left.retain(|facts| facts.id != *id);
        removals.push(removal);
    }
    removals
}
