//! `backup-mark`: makes a backup permanent, so that no retention removes it, or impermanent again.
//!
//! The flag is in `metadata.json`, which is rewritten; the sentinel keeps the value at creation. A permanent delta
//! needs all it builds on, so those are marked too, the full backup first.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::catalog::{self, DOCUMENTS_AT_ONCE};
use crate::layout::walg::{Backup, BackupName, names};

use super::backup_choice::{BackupChoice, choose};
use super::error::RequestError;
use super::{Context, Error};

/// What to mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which backup.
    pub backup: BackupChoice,
    /// As what.
    pub mark: Mark,
}

/// What a backup is marked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Never deleted by retention.
    Permanent,
    /// Deleted when its time has come.
    Impermanent,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The backup that was meant.
    pub name: BackupName,
    /// The backups whose mark has changed, what they build on first; empty when it was so already.
    pub changed: Vec<BackupName>,
}

/// Marks a backup. Durable on return.
pub async fn run(ctx: &Context, options: Options) -> Result<Marked, Error> {
    let storage = ctx.storage.as_ref();
    let name = choose(ctx, &options.backup).await?;
    tracing::info!(
        "Retrieving previous related backups to be marked: toPermanent={}",
        options.mark.is_permanent()
    );
    let backups = match options.mark {
        Mark::Permanent => catalog::walg::chain(storage, name).await?,
        Mark::Impermanent => {
            let backup = catalog::walg::describe(storage, name).await?;
            refuse_if_needed(ctx, name).await?;
            vec![backup]
        }
    };
    if backups.last().is_some_and(|backup| backup.is_permanent == options.mark.is_permanent()) {
        tracing::warn!("Backup {name} is already marked as {}, ignoring...", options.mark.word());
    }
    let changed = mark_all(ctx, &backups, options.mark).await?;
    Ok(Marked { name, changed })
}

/// Marks those backups that are not marked so yet, in this order; returns them. Durable on return.
pub(super) async fn mark_all(
    ctx: &Context,
    backups: &[Backup],
    as_what: Mark,
) -> Result<Vec<BackupName>, Error> {
    let mut changed = Vec::new();
    for backup in backups.iter().filter(|backup| backup.is_permanent != as_what.is_permanent()) {
        mark(ctx, backup, as_what).await?;
        changed.push(backup.name);
    }
    if as_what == Mark::Permanent {
        check_left(ctx, backups).await?;
    }
    Ok(changed)
}

/// A deletion that was under way may not have seen the marks.
async fn check_left(ctx: &Context, backups: &[Backup]) -> Result<(), Error> {
    for backup in backups {
        if ctx.storage.head(&names::sentinel_key(backup.name)).await?.is_none() {
            let location = ctx.storage.location().clone();
            return Err(catalog::walg::Error::NoSuchBackup { name: backup.name, location }.into());
        }
    }
    Ok(())
}

/// Refuses when a permanent delta builds on the backup.
async fn refuse_if_needed(ctx: &Context, name: BackupName) -> Result<(), Error> {
    let storage = ctx.storage.as_ref();
    let deltas = catalog::walg::list(storage).await?.into_iter().filter(|entry| entry.name.is_delta());
    let described: Vec<Backup> = stream::iter(deltas)
        .map(|entry| catalog::walg::describe(storage, entry.name))
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect()
        .await?;
    let builds_on = |backup: &&Backup| backup.delta.as_ref().is_some_and(|delta| delta.parent == name);
    match described.iter().filter(builds_on).find(|backup| backup.is_permanent) {
        Some(child) => Err(RequestError::PermanentChild { name, child: child.name }.into()),
        None => Ok(()),
    }
}

/// Rewrites `metadata.json` with the mark and whatever else it holds; writes one for a backup that has none.
async fn mark(ctx: &Context, backup: &Backup, mark: Mark) -> Result<(), Error> {
    let storage = ctx.storage.as_ref();
    let mut metadata =
        catalog::walg::metadata(storage, backup.name).await?.unwrap_or_else(|| backup.metadata());
    metadata.is_permanent = mark.is_permanent();
    catalog::walg::put_metadata(storage, backup.name, &metadata).await?;
    tracing::info!("marked {} as {}", backup.name, mark.word());
    Ok(())
}

impl Mark {
    fn is_permanent(self) -> bool {
        self == Mark::Permanent
    }

    fn word(self) -> &'static str {
        match self {
            Mark::Permanent => "permanent",
            Mark::Impermanent => "impermanent",
        }
    }
}
