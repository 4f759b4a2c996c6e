//! The backups of a repository in wal-g's layout.
//!
//! A backup exists if and only if its sentinel exists. Whoever lists gets every such backup or an error, never a
//! shorter list.

use jiff::Timestamp;

use crate::checksum::{Checksum, Mismatch};
use crate::layout::walg::{
    Backup, BackupName, Checksums, DocumentError, FilesMetadata, Metadata, Sentinel, names,
};
use crate::storage::{self, Depth, Key, PutMode, Storage};

/// A backup as the listing shows it: its name and when its sentinel was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupEntry {
    /// The backup.
    pub name: BackupName,
    /// When the storage last saw its sentinel written; copying a repository changes it.
    pub modified: Timestamp,
}

/// Why a backup could not be found or described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The storage could not answer.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A document is there but cannot be read.
    #[error("cannot read `{key}`: {source}")]
    Document {
        /// The document.
        key: Key,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A document is not the one that was stored with the backup.
    #[error("cannot use `{key}`: {source}")]
    Spoiled {
        /// The document.
        key: Key,
        /// What it should be.
        source: Mismatch,
    },
    /// No backup has this name.
    #[error("backup `{name}` does not exist in {location}")]
    NoSuchBackup {
        /// The name asked for.
        name: BackupName,
        /// Where.
        location: storage::Location,
    },
    /// The repository has no backups at all.
    #[error("no backups found in {location}")]
    NoBackups {
        /// Where.
        location: storage::Location,
    },
    /// A delta's chain leads back to itself.
    #[error("the chain of backup `{name}` does not end in a full backup")]
    EndlessChain {
        /// Where the chain was entered.
        name: BackupName,
    },
    /// A delta depends on backups that are gone.
    #[error("backup `{name}` cannot be restored: its parent `{parent}` is missing")]
    MissingParent {
        /// The delta.
        name: BackupName,
        /// What it builds on.
        parent: BackupName,
    },
    /// A document that must exist does not.
    #[error("backup `{name}` is incomplete: `{key}` is missing")]
    MissingDocument {
        /// The backup.
        name: BackupName,
        /// The document.
        key: Key,
    },
}

impl Error {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Storage(error) => error.hint().map(str::to_owned),
            Error::NoSuchBackup { .. } => Some("`backup-list` shows the backups that exist".to_owned()),
            Error::NoBackups { .. } => {
                Some("take one with `backup-push`, or check the storage prefix".to_owned())
            }
            Error::Spoiled { .. } => Some(Mismatch::HINT.to_owned()),
            Error::Document { key, .. } if names::is_checksums_key(key) => {
                Some("without this object the backup is restored as one that has no checksums".to_owned())
            }
            _ => None,
        }
    }
}

/// Every backup, oldest sentinel first; equal times by name.
pub async fn list(storage: &dyn Storage) -> Result<Vec<BackupEntry>, Error> {
    let listing = storage::list_all(storage, &names::backups_prefix(), Depth::Children).await?;
    let mut backups: Vec<BackupEntry> = listing
        .objects
        .iter()
        .filter_map(|object| {
            let name = names::backup_of_sentinel(&object.key)?;
            Some(BackupEntry { name, modified: object.modified })
        })
        .collect();
    backups.sort_by_key(|backup| (backup.modified, backup.name));
    Ok(backups)
}

/// The backup `LATEST` means: the one whose sentinel was written last.
pub async fn latest(storage: &dyn Storage) -> Result<BackupEntry, Error> {
    list(storage).await?.pop().ok_or_else(|| Error::NoBackups { location: storage.location().clone() })
}

/// What the documents of a backup say; [`Error::NoSuchBackup`] without a sentinel.
pub async fn describe(storage: &dyn Storage, name: BackupName) -> Result<Backup, Error> {
    let sentinel_key = names::sentinel_key(name);
    let metadata_key = names::metadata_key(name);
    let (sentinel, metadata) = futures_util::try_join!(
        storage::get_bytes(storage, &sentinel_key),
        storage::get_bytes(storage, &metadata_key)
    )?;
    let Some((_, sentinel)) = sentinel else {
        return Err(Error::NoSuchBackup { name, location: storage.location().clone() });
    };
    let sentinel = Sentinel::from_json(&sentinel).map_err(at(&sentinel_key))?;
    let metadata = match metadata {
        Some((_, json)) => Some(Metadata::from_json(&json).map_err(at(&metadata_key))?),
        None => None,
    };
    Backup::from_documents(name, sentinel, metadata).map_err(at(&sentinel_key))
}

/// What a backup builds on, `None` for a full one; [`Error::NoSuchBackup`] without a sentinel.
pub async fn parent(storage: &dyn Storage, name: BackupName) -> Result<Option<BackupName>, Error> {
    let key = names::sentinel_key(name);
    let Some((_, sentinel)) = storage::get_bytes(storage, &key).await? else {
        return Err(Error::NoSuchBackup { name, location: storage.location().clone() });
    };
    let sentinel = Sentinel::from_json(&sentinel).map_err(at(&key))?;
    let backup = Backup::from_documents(name, sentinel, None).map_err(at(&key))?;
    Ok(backup.delta.map(|delta| delta.parent))
}

/// A backup and what it builds on, as far as that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Ancestry {
    /// The backup.
    pub backup: Backup,
    /// Its parent, the parent's parent, and so on; with nothing missing, the last one is a full backup.
    pub ancestors: Vec<Backup>,
    /// The parent of the last of them, when it does not exist.
    pub missing_parent: Option<BackupName>,
}

impl Ancestry {
    /// The backup, then its ancestors.
    pub fn newest_first(&self) -> impl Iterator<Item = &Backup> {
        std::iter::once(&self.backup).chain(&self.ancestors)
    }

    /// The oldest backup that exists.
    pub fn oldest(&self) -> &Backup {
        self.ancestors.last().unwrap_or(&self.backup)
    }
}

/// A backup and all it builds on that exists.
pub async fn ancestry(storage: &dyn Storage, name: BackupName) -> Result<Ancestry, Error> {
    let backup = describe(storage, name).await?;
    let mut chain = Ancestry { backup, ancestors: Vec::new(), missing_parent: None };
    while let Some(delta) = &chain.oldest().delta {
        let parent = delta.parent;
        if chain.newest_first().any(|backup| backup.name == parent) {
            return Err(Error::EndlessChain { name });
        }
        match describe(storage, parent).await {
            Ok(backup) => chain.ancestors.push(backup),
            Err(Error::NoSuchBackup { .. }) => {
                chain.missing_parent = Some(parent);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(chain)
}

/// A backup and all it builds on, the full backup first.
///
/// A chain with a missing link is [`Error::MissingParent`]: nothing has been changed anywhere then.
pub async fn chain(storage: &dyn Storage, name: BackupName) -> Result<Vec<Backup>, Error> {
    let chain = ancestry(storage, name).await?;
    if let Some(parent) = chain.missing_parent {
        return Err(Error::MissingParent { name: chain.oldest().name, parent });
    }
    let mut backups = chain.ancestors;
    backups.reverse();
    backups.push(chain.backup);
    Ok(backups)
}

/// The sizes and hashes of a backup's objects; `None` when they were not recorded.
///
/// Nor are they when they are of another backup: wal-g, which does not know the document, may have taken one under the same
/// name since (of a standby that has come no further).
pub async fn checksums(storage: &dyn Storage, backup: &Backup) -> Result<Option<Checksums>, Error> {
    let key = names::checksums_key(backup.name);
    let Some((_, json)) = storage::get_bytes(storage, &key).await? else { return Ok(None) };
    let checksums = Checksums::from_json(&json).map_err(at(&key))?;
    if !checksums.are_of(backup) {
        tracing::warn!(
            "`{key}` is of a backup that was replaced by another one of this name; it is not used"
        );
        return Ok(None);
    }
    Ok(Some(checksums))
}

/// What the list of a backup's files has at the most, in bytes: of more than ten million files.
const FILES_METADATA_BYTES: u64 = 2 << 30;

/// The list of a backup's files, checked against what was recorded of it. [`Error::MissingDocument`] when there is none,
/// not in the sentinel either, where wal-g kept it before its 2.0.
pub async fn files_metadata(
    storage: &dyn Storage,
    name: BackupName,
    checksums: Option<&Checksums>,
) -> Result<FilesMetadata, Error> {
    let key = names::files_metadata_key(name);
    let Some((_, json)) = storage::get_at_most(storage, &key, FILES_METADATA_BYTES).await? else {
        return files_in_sentinel(storage, name).await?.ok_or(Error::MissingDocument { name, key });
    };
    if let Some(recorded) = checksums.and_then(|checksums| checksums.of(name, &key)) {
        let checked = recorded.check(Checksum::of(&json));
        checked.map_err(|source| Error::Spoiled { key: key.clone(), source })?;
    }
    FilesMetadata::from_json(&json).map_err(at(&key))
}

async fn files_in_sentinel(storage: &dyn Storage, name: BackupName) -> Result<Option<FilesMetadata>, Error> {
    let key = names::sentinel_key(name);
    let Some((_, json)) = storage::get_bytes(storage, &key).await? else { return Ok(None) };
    let files = FilesMetadata::from_json(&json).map_err(at(&key))?;
    Ok((!files.files.is_empty()).then_some(files))
}

/// The `metadata.json` of a backup, `None` when it has none.
pub async fn metadata(storage: &dyn Storage, name: BackupName) -> Result<Option<Metadata>, Error> {
    let key = names::metadata_key(name);
    match storage::get_bytes(storage, &key).await? {
        Some((_, json)) => Ok(Some(Metadata::from_json(&json).map_err(at(&key))?)),
        None => Ok(None),
    }
}

/// Rewrites the `metadata.json` of a backup. Durable on return.
pub async fn put_metadata(storage: &dyn Storage, name: BackupName, metadata: &Metadata) -> Result<(), Error> {
    let key = names::metadata_key(name);
    let json = metadata.to_json().map_err(at(&key))?;
    storage.put(&key, json.into(), PutMode::Overwrite).await?;
    Ok(())
}

fn at(key: &Key) -> impl FnOnce(DocumentError) -> Error {
    let key = key.clone();
    move |source| Error::Document { key, source }
}
