//! What ends an operation, in the classes that decide its exit code.

mod request;

use std::io;
use std::path::PathBuf;

use crate::checksum::Mismatch;
use crate::layout::new_backup::EncodeError;
use crate::pg::{Lsn, SystemIdentifier, TimelineId, WalPageError};
use crate::storage::{self, Key};
use crate::{catalog, codec, durable, pg, pipeline, tarball, volumes};

use super::backup_fetch::Incomplete;
use super::backup_push::Unconfirmed;
use super::changed_blocks;
use super::ownership::OwnershipError;
pub(super) use request::NamedBy;
pub use request::RequestError;

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
    /// The file is in the archive, and what it holds there cannot be read.
    #[error("`{file}` is already archived, and cannot be compared with what is there: {source}")]
    CannotCompare {
        /// The file's name.
        file: String,
        /// Why not.
        source: Box<Error>,
    },
    /// The archive positively has no such file.
    #[error("archive `{file}` does not exist in {location}")]
    NotArchived {
        /// The file asked for.
        file: String,
        /// Where.
        location: storage::Location,
    },
    /// The archive has no WAL at all.
    #[error("no WAL is stored in {location}")]
    EmptyArchive {
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
    /// Volumes, or their snapshots.
    #[error(transparent)]
    Volumes(#[from] volumes::Error),
    /// The same, before the backup was begun that would be made of them.
    #[error(transparent)]
    NotBegun(volumes::Error),
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

/// What helps where the file system refused.
fn local(kind: io::ErrorKind) -> Option<String> {
    let hint = match kind {
        io::ErrorKind::StorageFull => "the disk is full; nothing was left at the final name",
        io::ErrorKind::PermissionDenied => {
            "run it as the user that the server runs as, and see who may use the file and the directories above it"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file, or a link that leads nowhere, is where a directory should be: remove it, or name another place"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

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
                OwnershipError::Storage(_) | OwnershipError::NotStored { .. } => Class::Storage,
                OwnershipError::AnotherCluster { .. } | OwnershipError::Record { .. } => Class::Integrity,
            },
            Error::Content { source, .. } => match storage_error(source) {
                Some(_) => Class::Storage,
                None => Class::Integrity,
            },
            Error::Unconfirmed(error) => error.class(),
            Error::CannotCompare { source, .. } => source.class(),
            Error::Segment { .. }
            | Error::ForeignSegment { .. }
            | Error::AlreadyArchived { .. }
            | Error::Incomplete(_)
            | Error::MissedBlock { .. } => Class::Integrity,
            Error::Volumes(error) | Error::NotBegun(error) => match error {
                volumes::Error::Service(_) | volumes::Error::Refused(_) => Class::Storage,
                volumes::Error::Mounts { .. } => Class::System,
                _ => Class::Usage,
            },
            Error::Request(request) => request.class(),
            Error::NotArchived { .. } => Class::Missing,
            Error::EmptyArchive { .. } => Class::Storage,
            Error::NotAWalFile { .. } | Error::TargetNotEmpty { .. } | Error::NoMap { .. } => Class::Usage,
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
            Error::CannotCompare { source, .. } => source.storage_kind(),
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
            Error::EmptyArchive { .. } => {
                Some("is it the place that was meant, and is it mounted?".to_owned())
            }
            Error::ForeignSegment { .. } => {
                Some("each cluster needs a storage prefix of its own; check the storage settings".to_owned())
            }
            Error::Segment { .. } | Error::NotAWalFile { .. } => Some(
                "seawall checks names and headers of WAL; SEAWALL_CHECK_WAL=false leaves that out".to_owned(),
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
            Error::CannotCompare { source, .. } if source.class() == Class::Storage => source.hint(),
            Error::CannotCompare { source, .. } => {
                let remove = "once a damaged object is removed, the file is archived anew";
                Some(source.hint().map_or_else(|| remove.to_owned(), |hint| format!("{hint}; {remove}")))
            }
            Error::Server(error) if error.is_denied() => Some(
                "a backup needs a superuser, or a user with pg_read_all_settings and EXECUTE on pg_backup_start and \
                 pg_backup_stop (pg_start_backup, pg_stop_backup before 15)"
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
            Error::Volumes(error) | Error::NotBegun(error) => error.hint(),
            Error::Request(request) => request.hint().map(str::to_owned),
            Error::MissedBlock { .. } => Some(
                "take the backup with SEAWALL_DELTA_SOURCES=pages or --full, and report this: it must not happen"
                    .to_owned(),
            ),
            Error::NoMap { .. } => {
                Some("the log says why; without WALG_FORCE_WAL_DELTA every page is read".to_owned())
            }
            Error::File { source, .. } => local(source.kind()),
            Error::Durable(error) => local(error.kind()),
            Error::DataDir(error) => cause::<io::Error>(error).and_then(|source| local(source.kind())),
            Error::Tar(tarball::WriteError::Read { source, .. }) => local(source.kind()),
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
