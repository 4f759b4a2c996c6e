//! `backup-show`: everything the documents of one backup say. wal-g has no such command for PostgreSQL.

use crate::catalog::{self, walg::BackupEntry};
use crate::layout::walg::Backup;

use super::backup_choice::{BackupChoice, choose};
use super::{Context, Error};

/// What to show.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which backup.
    pub backup: BackupChoice,
}

/// A backup and its place in the repository.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownBackup {
    /// Its name, and when its sentinel was written.
    pub entry: BackupEntry,
    /// What its documents say.
    pub backup: Backup,
}

/// Reads the documents of a backup.
pub async fn run(ctx: &Context, options: Options) -> Result<ShownBackup, Error> {
    let storage = ctx.storage.as_ref();
    let name = choose(ctx, &options.backup).await?;
    let entry =
        catalog::walg::list(storage).await?.into_iter().find(|entry| entry.name == name).ok_or_else(
            || catalog::walg::Error::NoSuchBackup { name, location: storage.location().clone() },
        )?;
    let backup = catalog::walg::describe(storage, name).await?;
    Ok(ShownBackup { entry, backup })
}
