//! `backup-list`: the backups of a repository, oldest first.
//!
//! A storage that could not be asked is an error, never an empty list.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::catalog::{self, DOCUMENTS_AT_ONCE, walg::BackupEntry};
use crate::layout::walg::{BackupName, Metadata};
use crate::storage::Storage;

use super::base_backups::{self, WalAlone};
use super::{Context, Error};

/// What to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How much of each backup.
    pub detail: Detail,
}

/// How much to tell of each backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What a listing of the storage tells: one request for all backups.
    Names,
    /// What the documents of each backup tell as well.
    Documents,
}

/// The backups of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupList {
    /// Oldest first: by the time of the sentinel, with details by the start of the backup when all tell it.
    pub backups: Vec<ListedBackup>,
    /// That there is WAL but no backup, so that nothing can be restored.
    pub wal_alone: Option<WalAlone>,
}

/// A backup in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedBackup {
    /// Its name, and when its sentinel was written.
    pub entry: BackupEntry,
    /// What its `metadata.json` says or, when it has none, the sentinel; only with [`Detail::Documents`].
    pub metadata: Option<Metadata>,
    /// What a delta builds on, as its sentinel says, if that can be told; only with [`Detail::Documents`].
    pub delta_from: Option<BackupName>,
}

/// Lists the backups.
pub async fn run(ctx: &Context, options: Options) -> Result<BackupList, Error> {
    let storage = ctx.storage.as_ref();
    let entries = catalog::walg::list(storage).await?;
    if entries.is_empty() {
        return Ok(BackupList { backups: Vec::new(), wal_alone: base_backups::wal_alone(ctx).await? });
    }
    let backups = match options.detail {
        Detail::Names => entries.into_iter().map(ListedBackup::of_entry).collect(),
        Detail::Documents => with_parents(storage, with_documents(storage, entries).await?).await?,
    };
    Ok(BackupList { backups, wal_alone: None })
}

impl ListedBackup {
    fn of_entry(entry: BackupEntry) -> ListedBackup {
        ListedBackup { entry, metadata: None, delta_from: None }
    }
}

/// Every backup with its metadata, but without what it builds on.
pub(super) async fn with_documents(
    storage: &dyn Storage,
    entries: Vec<BackupEntry>,
) -> Result<Vec<ListedBackup>, Error> {
    let mut backups: Vec<ListedBackup> = stream::iter(entries)
        .map(async |entry| {
            let metadata = match catalog::walg::metadata(storage, entry.name).await? {
                Some(metadata) => metadata,
                None => catalog::walg::describe(storage, entry.name).await?.metadata(),
            };
            Ok::<_, Error>(ListedBackup { metadata: Some(metadata), ..ListedBackup::of_entry(entry) })
        })
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect()
        .await?;
    if backups.iter().all(|backup| start_time(backup).is_some()) {
        backups.sort_by_key(|backup| (start_time(backup), backup.entry.name));
    }
    Ok(backups)
}

/// The same backups with what each delta builds on. That stands in its sentinel: the name has the parent's segment
/// only.
async fn with_parents(storage: &dyn Storage, backups: Vec<ListedBackup>) -> Result<Vec<ListedBackup>, Error> {
    stream::iter(backups)
        .map(async |backup| {
            let delta_from = parent(storage, backup.entry.name).await?;
            Ok(ListedBackup { delta_from, ..backup })
        })
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect()
        .await
}

/// What a delta builds on. One that cannot be followed is a backup of the list all the same.
async fn parent(storage: &dyn Storage, name: BackupName) -> Result<Option<BackupName>, Error> {
    if !name.is_delta() {
        return Ok(None);
    }
    match catalog::walg::parent(storage, name).await {
        Err(error @ catalog::walg::Error::Document { .. }) => {
            tracing::warn!("what backup `{name}` builds on cannot be told: {error}");
            Ok(None)
        }
        parent => Ok(parent?),
    }
}

/// When the backup was started; a document without that field reads as the epoch.
fn start_time(backup: &ListedBackup) -> Option<Timestamp> {
    backup.metadata.as_ref().map(|metadata| metadata.start_time).filter(|time| *time > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::codec::{Cipher, Compression};
    use crate::layout::walg::{Backup, DeltaOrigin, WalG, names};
    use crate::pg::Lsn;
    use crate::progress::Progress;
    use crate::storage::memory::Memory;

    /// A full backup and a delta on it, whose sentinel is changed so.
    fn listed(change: impl Fn(String) -> String) -> Result<Vec<Option<BackupName>>, Error> {
        let memory = Memory::new();
        let segment = |number| format!("00000001000000000000000{number}").parse().unwrap();
        let full = BackupName::full(segment(2));
        let mut backup = Backup::for_test(full, Lsn::new(0x0200_0028));
        for name in [full, BackupName::delta(segment(4), full)] {
            backup.delta = (name != full).then(|| DeltaOrigin {
                parent: full,
                full,
                count: 1,
                lsn: Lsn::new(0x0200_0028),
                source: None,
            });
            memory.set(&names::metadata_key(name), backup.metadata().to_json().unwrap());
            memory.set(&names::sentinel_key(name), change(backup.sentinel().to_json().unwrap()));
        }
        let ctx = Context {
            storage: Arc::new(memory),
            layout: &WalG,
            compression: Compression::None,
            cipher: Cipher::None,
            cancel: CancellationToken::new(),
            progress: Progress::new(),
        };
        let list = run(&ctx, Options { detail: Detail::Documents }).now_or_never().unwrap()?;
        Ok(list.backups.into_iter().map(|backup| backup.delta_from).collect())
    }

    #[test]
    fn what_a_delta_builds_on_is_shown_where_it_can_be_told() {
        let full: BackupName = "base_000000010000000000000002".parse().unwrap();
        assert_eq!(listed(|sentinel| sentinel).unwrap(), [None, Some(full)]);
        let old = |sentinel: String| sentinel.replace("DeltaLSN", "DeltaFromLSN");
        assert_eq!(listed(old).unwrap(), [None, Some(full)]);
        let broken = |sentinel: String| sentinel.replace("DeltaFullName", "Other");
        assert_eq!(listed(broken).unwrap(), [None, None]);
    }
}
