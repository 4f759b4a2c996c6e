//! What can be wrong with a call of barman-cloud besides the operation itself.

use std::io;
use std::path::PathBuf;

use crate::layout::barman::{BackupId, InfoError};
use crate::ops;
use crate::ops::archive_check::Count;
use crate::pg::connection_string::InvalidConnectionString;
use crate::storage;
use crate::storage::s3::InvalidEndpoint;
use crate::volumes;

use super::grammar::UsageError;

/// Why a call cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The line is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// It is not one of the nine commands.
    #[error("{}", .0.as_ref().map_or("barman-cloud wants a command".to_owned(), |name| format!("`barman-cloud-{name}` is no command")))]
    NoSuchCommand(Option<String>),
    /// An argument cannot be read.
    #[error("argument {0} of the command line is not UTF-8 text")]
    NotText(usize),
    /// The URL names no bucket and no directory.
    #[error("Invalid s3 URL address: {0}")]
    Url(String),
    /// The server's name cannot be part of a key.
    #[error("`{0}` cannot be the name of a server")]
    Server(String),
    /// The endpoint is none.
    #[error("{name}: {source}")]
    Endpoint {
        /// The flag or variable.
        name: &'static str,
        /// What is wrong with it.
        source: InvalidEndpoint,
    },
    /// A profile is named that no file has.
    #[error("The config profile ({0}) could not be found")]
    NoProfile(String),
    /// One half of a key is set and the other is not.
    #[error("{set} is set and {unset} is not")]
    HalfAKey {
        /// What is.
        set: &'static str,
        /// What is not.
        unset: &'static str,
    },
    /// A variable has a value that cannot be used.
    #[error("bad value {value:?} of {name}: expected {expected}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// `--dbname` is no connection string.
    #[error(transparent)]
    ConnectionString(InvalidConnectionString),
    /// A target of recovery cannot be read.
    #[error("bad recovery target `{value}`: expected {expected}")]
    Target {
        /// The target.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A key for an encryption that uses none.
    #[error("--sse-kms-key-id needs --encryption aws:kms")]
    KeyWithoutKms,
    /// S3 takes no more tags.
    #[error("{0} tags are more than the 10 that an object may have")]
    TooManyTags(usize),
    /// A tag is given twice.
    #[error("the tag `{0}` is given twice")]
    TagTwice(String),
    /// A backup of snapshots needs the machine and its disks.
    #[error("the backup is to be made of snapshots, and lacks {missing}")]
    HalfASnapshot {
        /// The flag that is missing.
        missing: &'static str,
    },
    /// Nothing of a backup of snapshots is compressed.
    #[error("Compression options cannot be used with snapshot backups")]
    CompressedSnapshots,
    /// Only a lock in mode compliance has such a time.
    #[error("--aws-snapshot-lock-cool-off-period cannot be used with --aws-snapshot-lock-mode governance")]
    CoolOffInGovernance,
    /// EC2 wants to know how long a lock lasts.
    #[error(
        "--aws-snapshot-lock-mode needs --aws-snapshot-lock-duration or --aws-snapshot-lock-expiration-date"
    )]
    LockWithoutEnd,
    /// Nothing says where the volumes are.
    #[error("nothing says in which region of AWS the volumes are")]
    NoRegion,
    /// EC2 cannot be asked.
    #[error(transparent)]
    Volumes(volumes::Error),
    /// A name that PostgreSQL gives to no file it archives.
    #[error("{0} is an invalid name for a WAL file")]
    WalName(String),
    /// Nothing says which file to archive.
    #[error("the following arguments are required: wal_path")]
    NoWalPath,
    /// barman called us as a script for something else.
    #[error("{program} called as unsupported hook script: {phase}_{hook}")]
    Hook {
        /// Our name.
        program: &'static str,
        /// `BARMAN_PHASE`
        phase: String,
        /// `BARMAN_HOOK`
        hook: String,
    },
    /// barman's hook lacks what it should say.
    #[error("BARMAN_HOOK is set, but {0} is not")]
    HookWithout(&'static str),
    /// The name of a backup is a part of its description, which is not ours when barman has taken it.
    #[error("Cannot set backup name when running as a hook script")]
    HookName,
    /// barman's backup was not complete.
    #[error("backup in '{directory}' has status '{status}' (status should be: DONE)")]
    HookStatus {
        /// `BARMAN_BACKUP_DIR`
        directory: String,
        /// `BARMAN_STATUS`
        status: String,
    },
    /// What is in the backup's directory are no files of a cluster.
    #[error("Compressed backups are not supported when running as a hook script")]
    HookCompressed,
    /// What are in the backup's directory are parts of files.
    #[error("the backup builds on backup `{0}`: incremental backups are not stored")]
    HookIncremental(BackupId),
    /// What would be refused as often as barman called.
    #[error("{0}")]
    HookRefused(Box<ops::Error>),
    /// The description of barman's backup is not there.
    #[error("read `{path}`: {source}", path = .path.display())]
    HookFile {
        /// `BARMAN_BACKUP_INFO_PATH`
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The description of barman's backup cannot be read.
    #[error("cannot read `{path}`: {source}", path = .path.display())]
    HookInfo {
        /// `BARMAN_BACKUP_INFO_PATH`
        path: PathBuf,
        /// What is wrong with it.
        source: InfoError,
    },
    /// The storage cannot be asked whether it is there.
    #[error(transparent)]
    Storage(storage::Error),
    /// The bucket or directory does not exist.
    #[error("Bucket {0} does not exist")]
    NoBucket(String),
    /// There is WAL of another server, or of a former life of this one.
    #[error("WAL archive check failed for server {server}: {found}")]
    ArchiveInUse {
        /// The server.
        server: String,
        /// What was found, in barman's words.
        found: String,
        /// How many files were.
        files: Count,
    },
    /// A link would take the place of something else.
    #[error("`{path}` exists and is not a link to this program", path = .0.display())]
    NotOurLink(PathBuf),
    /// A link cannot be made.
    #[error("cannot link `{path}`: {source}", path = .path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::NoSuchCommand(_) => {
                let names = super::Command::ALL.map(super::Command::name);
                return Some(format!("the commands are {}", names.join(", ")));
            }
            Error::Storage(error) => return error.hint().map(str::to_owned),
            Error::Volumes(error) => return error.hint(),
            Error::NoRegion => "name it by --aws-region, AWS_DEFAULT_REGION or the profile",
            Error::Url(_) => "it is s3://bucket/path, or file:///directory",
            Error::NoProfile(_) => {
                "check --aws-profile, AWS_DEFAULT_PROFILE and AWS_PROFILE, and the files: ~/.aws/config and \
                 ~/.aws/credentials, or those of AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"
            }
            Error::HalfAKey { .. } => "set both, or neither to take the keys from elsewhere",
            Error::KeyWithoutKms => "leave it out, or encrypt with aws:kms",
            Error::HookName => "leave --name out: barman's backup keeps its description",
            Error::HookStatus { .. } => {
                "the status is DONE once barman has the WAL of the backup: call `barman backup` with --wait"
            }
            Error::HookCompressed => {
                "let barman take backups without backup_compression, or take another one by calling barman-cloud-backup without \
                 barman"
            }
            Error::HookIncremental(_) => {
                "let barman take full backups for the object store: barman-cloud's commands restore no other"
            }
            Error::HookRefused(error) => return error.hint(),
            Error::NoBucket(_) => "barman-cloud-check-wal-archive creates it",
            Error::ArchiveInUse { server, files, .. } => {
                return Some(format!(
                    "`{server}` holds {files}: give a new cluster a server name that nobody has used; if it continues \
                     the same cluster, --timeline N allows WAL of timelines before N"
                ));
            }
            Error::NotOurLink(_) => "remove it, or give another directory",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
