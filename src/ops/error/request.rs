//! A request that contradicts itself or the repository.

use std::path::PathBuf;

use crate::layout::Name;
use crate::layout::barman::{BackupId, Status, UnknownSnapshots};
use crate::layout::walg::BackupName;
use crate::pg::{Lsn, ParseError, TimelineId};
use crate::retention::{self, Refusal};

use crate::storage::{Key, Lock};

use super::Class;
use crate::ops::backup_push::Unfit;
use crate::ops::copy::LeftOut;

/// A request that cannot be fulfilled as it was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A backup is chosen by its name or by user data.
    #[error("either a backup name or user data must be given to choose a backup, not both and not neither")]
    BackupChoice,
    /// No backup carries the user data.
    #[error("no backup has the given user data")]
    NoUserData,
    /// Several backups carry the user data.
    #[error("{} backups have the given user data: {}", .0.len(), join(.0))]
    AmbiguousUserData(Vec<BackupName>),
    /// A permanent delta builds on the backup.
    #[error("backup `{name}` cannot be marked as impermanent: the permanent delta `{child}` builds on it")]
    PermanentChild {
        /// The backup.
        name: BackupName,
        /// The delta.
        child: BackupName,
    },
    /// Recovery from the backup cannot reach the timeline.
    #[error("backup `{name}` is not in the history of timeline {timeline}")]
    NotInHistory {
        /// The backup.
        name: BackupName,
        /// The timeline.
        timeline: TimelineId,
    },
    /// Retention refuses.
    #[error(transparent)]
    Retention(#[from] Refusal),
    /// The same by barman's rules.
    #[error(transparent)]
    BarmanRetention(#[from] retention::barman::Refusal),
    /// Only a complete backup can be kept.
    #[error("backup `{id}` cannot be kept: its status is {status}, not DONE")]
    NotDone {
        /// The backup.
        id: BackupId,
        /// What has become of it.
        status: Status,
    },
    /// The service keeps a tar of the backup from being deleted.
    #[error("backup `{id}` cannot be deleted: `{key}` is {lock}")]
    Locked {
        /// The backup.
        id: BackupId,
        /// The tar.
        key: Key,
        /// What keeps it.
        lock: Lock,
    },
    /// No backup was complete at the point or on the timeline that is to be recovered to.
    #[error("no backup from which to recover to this target")]
    NoBackupBefore,
    /// The latest timeline of an archive that has none.
    #[error("the archive holds no WAL")]
    NoWal,
    /// Two backups would have the same name.
    #[error("backup `{0}` already exists")]
    BackupExists(Name, NamedBy),
    /// Another process is writing the backup of this name.
    #[error("backup `{0}` is being written by another backup-push, or was left unfinished by one")]
    BackupRunning(Name, NamedBy),
    /// The WAL of two clusters would get the same names.
    #[error(
        "finish LSN {finish} of backup `{name}`, which is another cluster's, is greater than current LSN {current}"
    )]
    OtherClusterAhead {
        /// The latest backup.
        name: BackupName,
        /// Where it ends.
        finish: Lsn,
        /// How far the server's own WAL has come.
        current: Lsn,
    },
    /// The parent of a delta was deleted while the delta was taken.
    #[error("the delta cannot be completed: its parent `{parent}` was deleted meanwhile")]
    ParentGone {
        /// What it builds on.
        parent: BackupName,
    },
    /// A backup that was to be deleted has been marked since it was looked at.
    #[error(
        "backup `{name}` was marked as permanent while its deletion was planned; no backup is deleted any more"
    )]
    MarkedMeanwhile {
        /// The backup.
        name: BackupName,
    },
    /// A delta is there that was not when the deletion was planned.
    #[error("delta backup `{name}` was taken while a deletion was planned; no backup is deleted any more")]
    NewDelta {
        /// The delta.
        name: BackupName,
    },
    /// Backups of several clusters, whose names say nothing of which is newer.
    #[error(
        "there are backups of several clusters, and `{without}` has no start time: which is the older one is not known"
    )]
    NoOrder {
        /// The backup without a start time.
        without: BackupName,
    },
    /// A backup was deleted before it was complete.
    #[error("backup `{0}` cannot be completed: somebody deleted it meanwhile")]
    DeletedMeanwhile(Name),
    /// The source of a copy has no such backup, or it was not finished.
    #[error("there is no finished backup `{name}` to copy")]
    NoBackupToCopy {
        /// The name asked for.
        name: String,
    },
    /// A copy has left something out; all else is copied.
    #[error(transparent)]
    LeftOut(#[from] LeftOut),
    /// The label of a backup makes no sense.
    #[error("backup `{backup}` has a bad backup_label: {source}")]
    Label {
        /// The backup.
        backup: Name,
        /// What is wrong.
        source: ParseError,
    },
    /// A backup that was named as the parent of a delta cannot be one.
    #[error("backup `{name}` cannot be the parent of a delta: {unfit}")]
    Parent {
        /// The backup.
        name: BackupName,
        /// Why not.
        unfit: Box<Unfit>,
    },
    /// Where a link of a backup would be made is not below the data directory, since another one leads elsewhere.
    #[error("the backup has the link `{}` behind the link `{}`, which leads elsewhere", link.display(), other.display())]
    LinkBehindLink {
        /// The link.
        link: PathBuf,
        /// The one above it.
        other: PathBuf,
    },
    /// A tablespace would be restored into a place that is in use.
    #[error("tablespace {oid} cannot be restored to `{}`: the directory is not empty", location.display())]
    TablespaceNotEmpty {
        /// The tablespace.
        oid: String,
        /// Where it would go.
        location: PathBuf,
    },
    /// A tablespace would be restored into a place that something else is restored into.
    #[error("tablespace {oid} cannot be restored to `{}`: {} goes there", location.display(), occupant(.other))]
    TablespacePlaceTaken {
        /// The tablespace.
        oid: String,
        /// Where it would go.
        location: PathBuf,
        /// The other tablespace, or `None` for the data directory.
        other: Option<String>,
    },
    /// A tablespace cannot go where it was, or others go elsewhere, and nobody says where this one goes.
    #[error("nothing says where tablespace {oid} goes")]
    TablespaceWithoutPlace {
        /// The tablespace.
        oid: String,
    },
    /// A backup that is made of snapshots of volumes, where its tars are wanted.
    #[error("backup `{0}` is made of snapshots of volumes, there are no tars to restore")]
    Snapshots(Name),
    /// A backup that is made of snapshots of volumes that are not known here.
    #[error("backup `{backup}` is made of snapshots of volumes that seawall cannot look for: {unknown}")]
    UnknownSnapshots {
        /// The backup.
        backup: BackupId,
        /// Why not.
        unknown: UnknownSnapshots,
    },
    /// Nothing says in which region snapshots are.
    #[error("nothing says in which region of AWS the snapshots of backup `{0}` are")]
    NoRegion(BackupId),
    /// EC2 cannot be asked for the snapshots of a backup.
    #[error("backup `{0}` is made of snapshots of volumes, and EC2 cannot be asked: {1}")]
    NoAccount(BackupId, String),
    /// A backup that a barman server has taken on top of another one.
    #[error("backup `{0}` is incremental: its files are parts of those of backup `{1}`")]
    Incremental(Name, BackupId),
    /// A backup that is made of snapshots is restored on an instance, and none is named.
    #[error(
        "backup `{0}` is made of snapshots of volumes: to restore it, --snapshot-recovery-instance is needed"
    )]
    NoRecoveryInstance(BackupId),
    /// A tablespace of such a backup lies where its volume is mounted.
    #[error("backup `{0}` is made of snapshots of volumes, tablespaces cannot be moved")]
    SnapshotTablespaces(BackupId),
    /// The `backup_label` of a backup that is made of snapshots is gone.
    #[error("backup `{0}` has no backup_label, without which its snapshots cannot be recovered")]
    NoBackupLabel(BackupId),
}

impl RequestError {
    /// Its class: the request is wrong, or what was asked for is not whole.
    pub(super) fn class(&self) -> Class {
        match self {
            RequestError::LeftOut(_)
            | RequestError::LinkBehindLink { .. }
            | RequestError::NoBackupLabel(_) => Class::Integrity,
            _ => Class::Usage,
        }
    }

    /// What a person can do about it.
    pub(super) fn hint(&self) -> Option<&str> {
        match self {
            RequestError::BackupChoice => Some(
                "give the backup's name, or LATEST, or --target-user-data alone; of backup-fetch, \
                 WALG_FETCH_TARGET_USER_DATA counts as that flag",
            ),
            RequestError::NoUserData => {
                Some("`backup-list --detail --json` shows the user data of every backup")
            }
            RequestError::Retention(refusal) => Some(refusal.hint()),
            RequestError::BarmanRetention(refusal) => Some(refusal.hint()),
            RequestError::Locked { .. } => Some(
                "nothing of it was deleted; without --check-object-lock it is hidden, and its objects stay until the lock ends",
            ),
            RequestError::NoOrder { .. } => {
                Some("delete the backups of the former cluster by `delete target`")
            }
            RequestError::MarkedMeanwhile { .. } | RequestError::NewDelta { .. } => {
                Some("run the same command again: it plans anew")
            }
            RequestError::PermanentChild { .. } => Some("mark the delta as impermanent first"),
            RequestError::BackupExists(_, by) | RequestError::BackupRunning(_, by) => Some(by.hint()),
            RequestError::OtherClusterAhead { .. } => Some(
                "each cluster needs a storage prefix of its own; if the other one is gone for good, --full takes the \
                 first backup of this one",
            ),
            RequestError::TablespaceNotEmpty { .. } => Some(
                "empty it, or choose other places: --restore-spec of backup-fetch, --tablespace of barman-cloud-restore",
            ),
            RequestError::TablespacePlaceTaken { .. } | RequestError::TablespaceWithoutPlace { .. } => Some(
                "give each tablespace of the backup a place of its own: --restore-spec of backup-fetch, --tablespace of barman-cloud-restore",
            ),
            RequestError::LeftOut(left_out) => Some(left_out.hint()),
            RequestError::NoRegion(_) => Some("set AWS_REGION"),
            RequestError::Incremental(..) => {
                Some("restore it on the barman server, which combines it with those that it builds on")
            }
            RequestError::NoRecoveryInstance(_) => Some(
                "make volumes of the snapshots, attach them to an instance and mount them there, and call it on that instance",
            ),
            RequestError::SnapshotTablespaces(_) => {
                Some("leave out --tablespace: volumes are mounted where they were")
            }
            RequestError::Snapshots(_) => Some(
                "make volumes of the snapshots that `barman-cloud-backup-show` names; barman-cloud-restore puts the \
                 backup_label there",
            ),
            RequestError::Parent { .. } => {
                Some("without a named parent one is chosen, or a full backup taken; --full takes one at once")
            }
            _ => None,
        }
    }
}

/// What the name of a new backup comes from, and so who else can have chosen the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The segment in which it starts, on a primary. Each start begins a new one, but two at the same time may share it.
    NewSegment,
    /// The segment in which it starts, on a standby, where that is the segment of the last restartpoint.
    Restartpoint,
    /// The second in which it starts.
    Second,
    /// The barman server that has taken it: the second in which it did.
    BarmanServer,
}

impl NamedBy {
    fn hint(self) -> &'static str {
        match self {
            NamedBy::NewSegment => {
                "if another backup of this server is running, let it end; if none is, another cluster uses this storage \
                 prefix, or this one was set back to an earlier time: each needs a prefix of its own"
            }
            NamedBy::Restartpoint => {
                "on a standby a new backup needs a new restartpoint: run CHECKPOINT on the primary and wait for it"
            }
            NamedBy::Second => {
                "another host takes backups under the same server name; try again, or use another name"
            }
            NamedBy::BarmanServer => {
                "if it is being stored, let that end; if that was killed, on another host perhaps, remove the objects of its \
                 folder; if it is another backup, delete it (barman-cloud-backup-delete), or use another server name"
            }
        }
    }
}

fn join(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn occupant(tablespace: &Option<String>) -> String {
    tablespace.as_ref().map_or_else(|| "the data directory".to_owned(), |oid| format!("tablespace {oid}"))
}
