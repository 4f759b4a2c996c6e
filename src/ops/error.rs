//! What ends an operation, in the classes that decide its exit code.

use std::io;
use std::path::PathBuf;

use crate::checksum::Mismatch;
use crate::layout::Name;
use crate::layout::barman::{BackupId, Status};
use crate::layout::new_backup::EncodeError;
use crate::layout::walg::BackupName;
use crate::pg::{Lsn, ParseError, SystemIdentifier, TimelineId, WalPageError};
use crate::retention::Refusal;
use crate::storage::{self, Key};
use crate::{catalog, codec, durable, pg, pipeline, retention, tarball};

use super::backup_fetch::Incomplete;
use super::backup_push::{Unconfirmed, Unfit};
use super::changed_blocks;
use super::ownership::OwnershipError;

/// Why an operation did not do what it was asked for. One line of text; what helps is in [`Error::hint`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage could not do or could not answer.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A backup could not be found or described.
    #[error(transparent)]
    Catalog(#[from] catalog::walg::Error),
    /// The same in barman's layout.
    #[error(transparent)]
    BarmanCatalog(#[from] catalog::barman::Error),
    /// A document of a backup cannot be written down.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A local file or directory.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was attempted: "read", "create" …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A local file that must be durable.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// A stored object does not decrypt, decompress or unpack.
    #[error("cannot read the content of `{key}`: {source}")]
    Content {
        /// The object.
        key: Key,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A WAL segment is not what its name says.
    #[error("`{file}` is not a valid WAL segment: {source}")]
    Segment {
        /// The file or object.
        file: String,
        /// What is wrong with it.
        source: WalPageError,
    },
    /// A WAL segment of another cluster.
    #[error(
        "`{file}` belongs to the cluster with system identifier {found}, this data directory to {expected}"
    )]
    ForeignSegment {
        /// The file or object.
        file: String,
        /// What the segment says.
        found: SystemIdentifier,
        /// What the data directory says.
        expected: SystemIdentifier,
    },
    /// The repository is another cluster's, or it could not be found out whose it is.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// A name that PostgreSQL gives to no file it archives.
    #[error("`{name}` is not the name of a file that PostgreSQL archives")]
    NotAWalFile {
        /// The name.
        name: String,
    },
    /// Another content is archived under this name already.
    #[error("WAL file `{file}` is already archived as `{key}` with other content, unable to overwrite")]
    AlreadyArchived {
        /// The file.
        file: String,
        /// The object that stays.
        key: Key,
    },
    /// The archive positively has no such file.
    #[error("archive `{file}` does not exist in {location}")]
    NotArchived {
        /// The file asked for.
        file: String,
        /// Where.
        location: storage::Location,
    },
    /// The session with the server.
    #[error(transparent)]
    Server(#[from] pg::session::Error),
    /// The directory given is not the server's.
    #[error(
        "data directory `{}` is not the one of the server, `{}`", given.display(), server.display()
    )]
    OtherDataDirectory {
        /// From the command line.
        given: PathBuf,
        /// From the server.
        server: PathBuf,
    },
    /// The data directory could not be walked or read.
    #[error(transparent)]
    DataDir(#[from] pg::data_dir::Error),
    /// The cluster's control file is not valid.
    #[error("cannot read `{}`: {source}", path.display())]
    Control {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pg::ControlFileError,
    },
    /// A file of the cluster could not be read, or cannot be described in a tar.
    #[error(transparent)]
    Tar(#[from] tarball::WriteError),
    /// The server was promoted while its backup was taken.
    #[error("the timeline changed from {before} to {after} during the backup, which is useless now")]
    TimelineChanged {
        /// At the start.
        before: TimelineId,
        /// At the end.
        after: TimelineId,
    },
    /// A backup lacks something that its restore needs.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// A tar of a backup is gone.
    #[error("the backup is incomplete: `{key}` is missing")]
    MissingTar {
        /// The tar.
        key: Key,
    },
    /// It is not confirmed that a backup can be restored.
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    /// The map of changed blocks is not true.
    #[error(
        "block {block} of `{file}` changed at {lsn}, which the map of changed blocks from `{map}` does not say"
    )]
    MissedBlock {
        /// The file, by its name in the backup.
        file: String,
        /// The block, counted from the start of the file.
        block: u32,
        /// Where its last change ends.
        lsn: Lsn,
        /// What the map was made of.
        map: changed_blocks::Source,
    },
    /// The changed blocks cannot be learned without reading every page.
    #[error(
        "nothing but the pages themselves tells what changed since {since}, and WALG_FORCE_WAL_DELTA is set"
    )]
    NoMap {
        /// The parent's start.
        since: Lsn,
    },
    /// A backup needs the directory that it is restored into for itself.
    #[error("directory `{}` is not empty", path.display())]
    TargetNotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The request contradicts itself or the repository.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// The process was asked to end.
    #[error("interrupted")]
    Cancelled,
    /// A thread panicked; its message is kept.
    #[error("internal error: {message}")]
    Panicked {
        /// The panic's text.
        message: String,
    },
}

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
    /// A backup was deleted before it was complete.
    #[error("backup `{0}` cannot be completed: somebody deleted it meanwhile")]
    DeletedMeanwhile(Name),
    /// The source of a copy has no such backup, or it was not finished.
    #[error("there is no finished backup `{name}` to copy")]
    NoBackupToCopy {
        /// The name asked for.
        name: String,
    },
    /// The label of a backup makes no sense.
    #[error("backup `{backup}` has a bad backup_label: {source}")]
    Label {
        /// The backup.
        backup: Name,
        /// What is wrong.
        source: ParseError,
    },
    /// A delta cannot be restored without the list of its files.
    #[error("backup `{0}` is a delta and has no usable files_metadata.json, so it cannot be restored")]
    DeltaWithoutFiles(BackupName),
    /// A delta builds on a file that its parent does not have.
    #[error("the chain of deltas is broken: backup `{backup}` does not describe the file `{file}`")]
    BrokenChain {
        /// The parent.
        backup: BackupName,
        /// The file.
        file: String,
    },
    /// A backup lacks the tar without which it is none.
    #[error("backup `{0}` is incomplete: it has no pg_control tar")]
    NoControlTar(BackupName),
    /// A backup that was named as the parent of a delta cannot be one.
    #[error("backup `{name}` cannot be the parent of a delta: {unfit}")]
    Parent {
        /// The backup.
        name: BackupName,
        /// Why not.
        unfit: Box<Unfit>,
    },
    /// None of a backup's tars holds a file that its list of files names.
    #[error("backup `{backup}` is incomplete: none of its tars holds the file `{file}`")]
    MissingFile {
        /// The backup.
        backup: BackupName,
        /// The file.
        file: String,
    },
    /// A backup lacks the label that says where its recovery begins.
    #[error("backup `{0}` is incomplete: it has no backup_label")]
    NoLabel(BackupName),
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
    /// A backup that is made of snapshots of volumes.
    #[error("backup `{0}` is made of snapshots of volumes, there are no tars to restore")]
    Snapshots(Name),
    /// The backup ended before the point it should cover.
    #[error("WAL up to {needed} is needed, but the server says {reached}")]
    Behind {
        /// What is needed.
        needed: Lsn,
        /// What there is.
        reached: Lsn,
    },
}

/// What the name of a new backup comes from, and so who else can have chosen the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// The segment in which it starts, on a primary, which begins a new one for each backup.
    NewSegment,
    /// The segment in which it starts, on a standby, where that is the segment of the last restartpoint.
    Restartpoint,
    /// The second in which it starts.
    Second,
}

impl NamedBy {
    fn hint(self) -> &'static str {
        match self {
            NamedBy::NewSegment => {
                "no server starts two backups in one segment: another cluster uses this storage prefix, or this one was \
                 set back to an earlier time; each needs a prefix of its own"
            }
            NamedBy::Restartpoint => {
                "on a standby a new backup needs a new restartpoint: run CHECKPOINT on the primary and wait for it"
            }
            NamedBy::Second => {
                "another host takes backups under the same server name; try again, or use another name"
            }
        }
    }
}

fn join(names: &[BackupName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn occupant(tablespace: &Option<String>) -> String {
    tablespace.as_ref().map_or_else(|| "the data directory".to_owned(), |oid| format!("tablespace {oid}"))
}

const DISK_FULL: &str = "the disk is full; nothing was left at the final name";

/// The classes of failure, by which exit codes are chosen (`docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The request or a setting is wrong.
    Usage,
    /// What was asked for positively does not exist.
    Missing,
    /// The storage or the network.
    Storage,
    /// Data that is not what it should be.
    Integrity,
    /// The PostgreSQL server or its data directory.
    Server,
    /// A local file or the system.
    System,
    /// A signal asked the process to end.
    Cancelled,
    /// A fault of seawall.
    Internal,
}

impl Error {
    /// The class of this failure.
    pub fn class(&self) -> Class {
        match self {
            Error::Storage(_) => Class::Storage,
            Error::Catalog(error) => match error {
                catalog::walg::Error::Storage(_) => Class::Storage,
                catalog::walg::Error::NoSuchBackup { .. } | catalog::walg::Error::NoBackups { .. } => {
                    Class::Missing
                }
                _ => Class::Integrity,
            },
            Error::BarmanCatalog(error) => match error {
                catalog::barman::Error::Storage(_) => Class::Storage,
                catalog::barman::Error::NoSuchBackup { .. } | catalog::barman::Error::UnknownName { .. } => {
                    Class::Missing
                }
                catalog::barman::Error::AmbiguousName { .. } => Class::Usage,
                catalog::barman::Error::Info { .. } => Class::Integrity,
            },
            Error::Ownership(error) => match error {
                OwnershipError::Storage(_) => Class::Storage,
                OwnershipError::AnotherCluster { .. } | OwnershipError::Record { .. } => Class::Integrity,
            },
            Error::Content { source, .. } => match storage_error(source) {
                Some(_) => Class::Storage,
                None => Class::Integrity,
            },
            Error::Unconfirmed(error) => error.class(),
            Error::Segment { .. }
            | Error::ForeignSegment { .. }
            | Error::AlreadyArchived { .. }
            | Error::Incomplete(_) => Class::Integrity,
            Error::MissingTar { .. }
            | Error::MissedBlock { .. }
            | Error::Request(
                RequestError::BrokenChain { .. }
                | RequestError::DeltaWithoutFiles(_)
                | RequestError::NoControlTar(_)
                | RequestError::NoLabel(_)
                | RequestError::MissingFile { .. },
            ) => Class::Integrity,
            Error::NotArchived { .. } => Class::Missing,
            Error::NotAWalFile { .. }
            | Error::TargetNotEmpty { .. }
            | Error::NoMap { .. }
            | Error::Request(_) => Class::Usage,
            Error::Server(_) | Error::OtherDataDirectory { .. } | Error::TimelineChanged { .. } => {
                Class::Server
            }
            Error::DataDir(_)
            | Error::Encode(_)
            | Error::File { .. }
            | Error::Durable(_)
            | Error::Tar(_)
            | Error::Control { .. } => Class::System,
            Error::Cancelled => Class::Cancelled,
            Error::Panicked { .. } => Class::Internal,
        }
    }

    /// Which failure of the storage this is, if it is one.
    pub fn storage_kind(&self) -> Option<storage::ErrorKind> {
        match self {
            Error::Storage(error)
            | Error::Ownership(OwnershipError::Storage(error))
            | Error::Catalog(catalog::walg::Error::Storage(error))
            | Error::BarmanCatalog(catalog::barman::Error::Storage(error)) => Some(error.kind()),
            Error::Content { source, .. } => storage_error(source).map(storage::Error::kind),
            _ => None,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Storage(error) => error.hint().map(str::to_owned),
            Error::Catalog(error) => error.hint(),
            Error::BarmanCatalog(error) => error.hint(),
            Error::Ownership(error) => error.hint(),
            Error::Content { source, .. } => cause::<codec::Error>(source)
                .and_then(codec::Error::hint)
                .or_else(|| cause::<Mismatch>(source).map(|_| Mismatch::HINT))
                .or_else(|| storage_error(source).and_then(storage::Error::hint))
                .map(str::to_owned),
            Error::ForeignSegment { .. } => {
                Some("each cluster needs a storage prefix of its own; check the storage settings".to_owned())
            }
            Error::Segment { .. } | Error::NotAWalFile { .. } => Some(
                "seawall checks names and headers of WAL; SEAWALL_CHECK_WAL=false stores anything".to_owned(),
            ),
            Error::AlreadyArchived { file, .. } if file.ends_with(".history") => Some(
                "another server has chosen this timeline first: give this cluster a storage prefix of its own, or rewind it"
                    .to_owned(),
            ),
            Error::AlreadyArchived { .. } => Some(
                "another cluster archives here, or this one was restored and went another way: give it a storage prefix of its \
                 own; when you know that the archived file is worthless, WALG_PREVENT_WAL_OVERWRITE=false replaces it"
                    .to_owned(),
            ),
            Error::Server(_) => {
                Some("check that the server runs, and PGHOST, PGPORT, PGUSER and the password".to_owned())
            }
            Error::OtherDataDirectory { .. } => {
                Some("pass the server's data_directory, or check PGHOST and PGPORT".to_owned())
            }
            Error::Incomplete(_) => Some(
                "put back what is missing, a bucket with versions may still have it, or restore another backup: `backup-list` shows them"
                    .to_owned(),
            ),
            Error::Unconfirmed(error) => Some(error.hint().to_owned()),
            Error::TargetNotEmpty { .. } => Some("restore into an empty or a new directory".to_owned()),
            Error::Request(RequestError::Retention(refusal)) => Some(refusal.hint().to_owned()),
            Error::Request(RequestError::BarmanRetention(refusal)) => Some(refusal.hint().to_owned()),
            Error::Request(RequestError::PermanentChild { .. }) => {
                Some("mark the delta as impermanent first".to_owned())
            }
            Error::Request(RequestError::BackupExists(_, by) | RequestError::BackupRunning(_, by)) => {
                Some(by.hint().to_owned())
            }
            Error::Request(RequestError::OtherClusterAhead { .. }) => Some(
                "each cluster needs a storage prefix of its own; if the other one is gone for good, --full takes the \
                 first backup of this one"
                    .to_owned(),
            ),
            Error::Request(RequestError::TablespaceNotEmpty { .. }) => {
                Some(
                    "empty it, or choose other places: --restore-spec of backup-fetch, --tablespace of barman-cloud-restore"
                        .to_owned(),
                )
            }
            Error::Request(
                RequestError::TablespacePlaceTaken { .. } | RequestError::TablespaceWithoutPlace { .. },
            ) => Some(
                "give each tablespace of the backup a place of its own: --restore-spec of backup-fetch, --tablespace of barman-cloud-restore"
                    .to_owned(),
            ),
            Error::Request(RequestError::Parent { .. }) => {
                Some("without a named parent one is chosen, or a full backup taken; --full takes one at once".to_owned())
            }
            Error::MissedBlock { .. } => Some(
                "take the backup with SEAWALL_DELTA_SOURCES=pages or --full, and report this: it must not happen"
                    .to_owned(),
            ),
            Error::NoMap { .. } => {
                Some("the log says why; without WALG_FORCE_WAL_DELTA every page is read".to_owned())
            }
            Error::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(DISK_FULL.to_owned()),
            Error::Durable(error) if error.kind() == io::ErrorKind::StorageFull => Some(DISK_FULL.to_owned()),
            _ => None,
        }
    }

    /// A failure of `action` on a local path.
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }

    /// A failure to read the content of `key`.
    pub fn content(key: &Key) -> impl FnOnce(io::Error) -> Error {
        let key = key.clone();
        move |source| Error::Content { key, source }
    }
}

/// The storage's error behind an error of a decoder, when the object's bytes did not arrive.
fn storage_error(error: &io::Error) -> Option<&storage::Error> {
    cause(error)
}

/// The first error of type `T` in the chain of causes; those that an [`io::Error`] carries are looked into.
fn cause<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

impl From<pipeline::PutError> for Error {
    fn from(error: pipeline::PutError) -> Error {
        match error {
            pipeline::PutError::Storage(error) => Error::Storage(error),
            pipeline::PutError::Exists(key) => {
                Error::AlreadyArchived { file: key.file_name().to_owned(), key }
            }
            pipeline::PutError::Cancelled => Error::Cancelled,
        }
    }
}

impl From<pipeline::Panicked> for Error {
    fn from(panicked: pipeline::Panicked) -> Error {
        Error::Panicked { message: panicked.message }
    }
}
