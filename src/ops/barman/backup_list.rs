//! `backup-list`: the backups of a server, in the order of their ids.
//!
//! A storage that could not be asked is an error, never a shorter list. A backup whose `backup.info` cannot be read is
//! logged and passed over.

use std::collections::BTreeMap;

use crate::catalog::barman::{self as catalog, Annotations, BackupEntry};
use crate::layout::barman::{Keep, Status};
use crate::ops::base_backups::{self, WalAlone};
use crate::ops::{Context, Error};

/// The backups of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupList {
    /// In the order of their ids.
    pub backups: Vec<ListedBackup>,
    /// That there is WAL but no complete backup, so that nothing can be restored.
    pub wal_alone: Option<WalAlone>,
}

/// A backup in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedBackup {
    /// The backup.
    pub entry: BackupEntry,
    /// For what it is kept; `None` also when nobody asked.
    pub keep: Option<Keep>,
}

/// Lists the backups; with `annotations`, also which of them are kept.
pub async fn run(ctx: &Context, annotations: Option<&Annotations>) -> Result<BackupList, Error> {
    ctx.until_cancelled(async {
        let backups = catalog::list(ctx.storage.as_ref()).await?.backups;
        let keeps = match annotations {
            Some(annotations) if !backups.is_empty() => annotations.keeps().await?,
            _ => BTreeMap::new(),
        };
        let listed = |entry: BackupEntry| ListedBackup { keep: keeps.get(&entry.id).copied(), entry };
        let backups: Vec<ListedBackup> = backups.into_iter().map(listed).collect();
        let wal_alone = match backups.iter().any(|backup| backup.entry.info.status == Status::Done) {
            true => None,
            false => base_backups::wal_alone(ctx).await?,
        };
        Ok::<_, Error>(BackupList { backups, wal_alone })
    })
    .await
}
