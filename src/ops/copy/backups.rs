//! Base backups from one layout to the other, by way of a scratch directory.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use crate::catalog;
use crate::catalog::barman::Annotations;
use crate::layout::barman::{BackupInfo, Keep};
use crate::layout::{Name, NewBackup};
use crate::ops::backup_fetch::{self, SyncFiles};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error, lock_file};
use crate::pg::WalFileName;
use crate::storage::{self, Depth, Key};

use super::facts::{Facts, Source, barman_backups, walg_backups};
use super::{Backups, Direction, Options};

/// The finished backups of the source that are asked for, the oldest first.
pub(super) async fn of_source(
    from: &Context,
    annotations: &Annotations,
    options: &Options,
) -> Result<Vec<Facts>, Error> {
    let mut backups = match options.direction {
        Direction::ToBarman => walg_backups(from).await?,
        Direction::ToWalG => barman_backups(from, annotations).await?,
    };
    backups.retain(|facts| options.backups.contains(&facts.name()));
    match &options.backups {
        Backups::Named(name) if backups.is_empty() => {
            Err(RequestError::NoBackupToCopy { name: name.clone() }.into())
        }
        _ => Ok(backups),
    }
}

/// Copies those of `backups` that `to` does not have, in their order; their names here and there. `archived` is what is
/// archived in `to`.
pub(super) async fn copy(
    from: &Context,
    to: &Context,
    annotations: &Annotations,
    backups: Vec<Facts>,
    archived: &BTreeSet<WalFileName>,
    options: &Options,
) -> Result<Vec<(Name, Name)>, Error> {
    let theirs = match options.direction {
        Direction::ToBarman => catalog::barman::list(to.storage.as_ref()).await?.backups,
        Direction::ToWalG => Vec::new(),
    };
    // Also when there is nothing to copy any more.
    Scratch::remove_abandoned(&options.scratch);
    let (mut copied, mut without_wal) = (Vec::new(), Vec::new());
    for facts in backups {
        let is_there =
            theirs.iter().any(|entry| facts.is_copied_as(&entry.info)) || is_there(to, &facts).await?;
        if is_there {
            tracing::info!("backup {} is there already", facts.name());
            continue;
        }
        if let Some(segment) = facts.missing_wal(archived) {
            tracing::error!("backup {} is not copied: WAL segment {segment} is not archived", facts.name());
            without_wal.push(facts.name());
            continue;
        }
        let target = copy_one(from, to, annotations, &facts, options).await?;
        tracing::info!("copied backup {} as {target}", facts.name());
        copied.push((facts.name(), target));
    }
    match without_wal.is_empty() {
        true => Ok(copied),
        false => Err(RequestError::NoWalToCopy { backups: without_wal }.into()),
    }
}

/// Copies one backup; its name in the target.
async fn copy_one(
    from: &Context,
    to: &Context,
    annotations: &Annotations,
    facts: &Facts,
    options: &Options,
) -> Result<Name, Error> {
    let scratch = Scratch::create(&options.scratch)?;
    let plan = facts.plan(from, scratch.path()).await?;
    let restore = backup_fetch::Options {
        target: scratch.path().join("data"),
        concurrency: options.downloads,
        cores: options.packing.workers,
        network_rate: None,
        sync: SyncFiles::No,
    };
    backup_fetch::run(from, plan, restore).await?;

    let cluster = facts.cluster(scratch.path().join("data"))?;
    let backup = facts.copy(&cluster);
    remove_remains(to, backup.as_ref()).await?;
    cluster.store(to, Arc::clone(&backup), options.packing).await?;
    if let (Source::WalG(_), true) = (&facts.source, facts.is_kept) {
        annotations.put(facts.id(), Keep::Full).await?;
    }
    Ok(backup.name())
}

/// Whether the target has the backup. A marker of barman's may also say that it was not finished: it is copied again.
async fn is_there(to: &Context, facts: &Facts) -> Result<bool, Error> {
    let marker = storage::get_bytes(to.storage.as_ref(), &facts.marker()).await?;
    Ok(marker.is_some_and(|(_, content)| match &facts.source {
        Source::Barman { .. } => true,
        Source::WalG(_) => BackupInfo::says_done(&content),
    }))
}

/// Removes what a copy that was killed has stored: a restore would take its tars for those of the backup.
async fn remove_remains(to: &Context, backup: &dyn NewBackup) -> Result<(), Error> {
    let listing = storage::list_all(to.storage.as_ref(), &backup.folder(), Depth::All).await?;
    let keys: Vec<Key> = listing.objects.into_iter().map(|object| object.key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    tracing::info!("removing what is there of backup {}, which was not finished", backup.name());
    match to.storage.delete(&keys).await?.failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error.into()),
    }
}

/// A directory of our own that is removed with all that is in it.
struct Scratch {
    path: PathBuf,
    /// Tells others that it is in use; it lies beside the directory.
    _lock: File,
}

/// How the names of such directories begin, and end those of their locks.
const SCRATCH: &str = "seawall-copy-";
const LOCK: &str = ".lock";

impl Scratch {
    fn create(parent: &Path) -> Result<Scratch, Error> {
        // Another process, in another container, may have the same id.
        let random = getrandom::u64().map_err(io::Error::from).map_err(Error::file("name", parent))?;
        let path = parent.join(format!("{SCRATCH}{}-{random:016x}", process::id()));
        let lock = path.with_added_extension("lock");
        let locked = lock_file::try_lock(&lock).and_then(|lock| lock.ok_or(io::ErrorKind::WouldBlock.into()));
        let locked = locked.map_err(Error::file("lock", &lock))?;
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::file("create", &path))?;
        Ok(Scratch { path, _lock: locked })
    }

    /// Removes those that killed processes have left. One that cannot be removed only takes space.
    fn remove_abandoned(parent: &Path) {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let directory = name.to_str().filter(|name| name.starts_with(SCRATCH));
            let Some(directory) = directory.and_then(|name| name.strip_suffix(LOCK)) else { continue };
            if let Ok(Some(_lock)) = lock_file::try_lock(&entry.path()) {
                let _ = fs::remove_dir_all(parent.join(directory));
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
        let _ = fs::remove_file(self.path.with_added_extension("lock"));
    }
}
