//! `backup-show`: what the `backup.info` of one backup says.

use crate::catalog::barman::{self as catalog, BackupEntry};
use crate::ops::{Context, Error};

/// Shows the backup that is meant by an id, a name or a word ([`catalog::resolve`]).
pub async fn run(ctx: &Context, backup: &str) -> Result<BackupEntry, Error> {
    ctx.until_cancelled(async {
        let storage = ctx.storage.as_ref();
        let id = catalog::resolve(storage, backup).await?;
        Ok::<_, Error>(catalog::describe(storage, id).await?)
    })
    .await
}
