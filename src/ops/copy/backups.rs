//! Base backups from one layout to the other, by way of a scratch directory.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use crate::catalog::barman::Annotations;
use crate::layout::Name;
use crate::layout::barman::{BackupInfo, Keep};
use crate::ops::backup_fetch::{self, SyncFiles};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};
use crate::storage;

use super::facts::{Facts, Source, barman_backups, walg_backups};
use super::{Backups, Direction, Options};

/// Copies the backups that `to` does not have, the oldest first; their names here and there.
pub(super) async fn copy(
    from: &Context,
    to: &Context,
    options: &Options,
) -> Result<Vec<(Name, Name)>, Error> {
    let backups = match options.direction {
        Direction::ToBarman => walg_backups(from).await?,
        Direction::ToWalG => barman_backups(from).await?,
    };
    let mut wanted = backups.into_iter().filter(|facts| options.backups.contains(&facts.name())).peekable();
    if let (Backups::Named(name), None) = (&options.backups, wanted.peek()) {
        return Err(RequestError::NoBackupToCopy { name: name.clone() }.into());
    }
    let mut copied = Vec::new();
    for facts in wanted {
        match copy_one(from, to, &facts, options).await? {
            Some(target) => {
                tracing::info!("copied backup {} as {target}", facts.name());
                copied.push((facts.name(), target));
            }
            None => tracing::info!("backup {} is there already", facts.name()),
        }
    }
    Ok(copied)
}

/// Copies one backup; `None` when the target has it.
async fn copy_one(
    from: &Context,
    to: &Context,
    facts: &Facts,
    options: &Options,
) -> Result<Option<Name>, Error> {
    if is_there(to, facts).await? {
        return Ok(None);
    }
    let scratch = Scratch::create(&options.scratch)?;
    let plan = facts.plan(from, scratch.path()).await?;
    let restore = backup_fetch::Options {
        target: scratch.path().join("data"),
        concurrency: options.downloads,
        network_rate: None,
        sync: SyncFiles::No,
    };
    backup_fetch::run(from, plan, restore).await?;

    let cluster = facts.cluster(scratch.path().join("data"))?;
    let backup = facts.copy(&cluster);
    let lists_files = matches!(facts.source, Source::Barman { .. });
    cluster.store(to, Arc::clone(&backup), options.packing, lists_files).await?;
    if let (Source::WalG(_), true) = (&facts.source, facts.is_kept) {
        let annotations = Annotations { place: Arc::clone(&to.storage), other: None };
        annotations.put(facts.id(), Keep::Full).await?;
    }
    Ok(Some(backup.name()))
}

/// Whether the target has the backup. A marker of barman's may also say that it was not finished: it is copied again.
async fn is_there(to: &Context, facts: &Facts) -> Result<bool, Error> {
    let marker = storage::get_bytes(to.storage.as_ref(), &facts.marker()).await?;
    Ok(marker.is_some_and(|(_, content)| match &facts.source {
        Source::Barman { .. } => true,
        Source::WalG(_) => BackupInfo::says_done(&content),
    }))
}

/// A directory of our own that is removed with all that is in it.
struct Scratch(PathBuf);

impl Scratch {
    fn create(parent: &Path) -> Result<Scratch, Error> {
        let path = parent.join(format!("seawall-copy-{}", process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::file("create", &path))?;
        Ok(Scratch(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}
