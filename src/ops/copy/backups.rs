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
use crate::layout::barman::{BackupId, Keep};
use crate::layout::{Name, NewBackup};
use crate::ops::backup_choice::{self, BackupChoice};
use crate::ops::backup_fetch::{self, SyncFiles};
use crate::ops::backup_push::{StoppedCluster, remove_remains};
use crate::ops::error::{NamedBy, RequestError};
use crate::ops::{Class, Context, Error, lock_file};
use crate::pg::WalFileName;

use super::facts::{Facts, Source, barman_backups, walg_backups};
use super::{Backups as Asked, Direction, LeftOut, Options};

/// What the source has of what is asked for.
#[derive(Default)]
pub(super) struct Backups {
    /// The finished backups, the oldest first.
    pub backups: Vec<Facts>,
    /// Those whose documents cannot be read.
    pub undescribed: Vec<Name>,
}

/// The backups of the source that are asked for.
pub(super) async fn of_source(
    from: &Context,
    annotations: &Annotations,
    options: &Options,
) -> Result<Backups, Error> {
    let asked = match &options.backups {
        Asked::None => return Ok(Backups::default()),
        Asked::All => None,
        Asked::Named(text) => Some((text, named(from, options.direction, text).await?)),
    };
    let mut found = match options.direction {
        Direction::ToBarman => walg_backups(from).await?,
        Direction::ToWalG => barman_backups(from, annotations).await?,
    };
    if let Some((text, asked)) = asked {
        found.backups.retain(|facts| Some(facts.name()) == asked);
        found.undescribed.retain(|name| Some(name) == asked.as_ref());
        if found.backups.is_empty() && found.undescribed.is_empty() {
            return Err(RequestError::NoBackupToCopy { name: text.clone() }.into());
        }
    }
    for name in &found.undescribed {
        tracing::error!("backup {name} is not copied: its documents cannot be read");
    }
    Ok(found)
}

/// The backup that `text` means in the source; `None` when it is no name there.
async fn named(from: &Context, direction: Direction, text: &str) -> Result<Option<Name>, Error> {
    Ok(match direction {
        Direction::ToBarman => {
            let choice = match text {
                "LATEST" => Some(BackupChoice::Latest),
                _ => text.parse().ok().map(BackupChoice::Name),
            };
            match choice {
                Some(choice) => Some(backup_choice::choose(from, &choice).await?.into()),
                None => None,
            }
        }
        Direction::ToWalG => Some(catalog::barman::resolve(from.storage.as_ref(), text).await?.into()),
    })
}

/// A copy of backups.
pub(super) struct Copying<'a> {
    pub from: &'a Context,
    pub to: &'a Context,
    /// Those of the side that has barman's layout.
    pub annotations: &'a Annotations,
    /// What is archived in `to`.
    pub archived: &'a BTreeSet<WalFileName>,
    pub options: &'a Options,
}

impl Copying<'_> {
    /// Copies those of `backups` that the target does not have, in their order; their names here and there. Those that
    /// cannot be copied are told in `left_out`.
    pub async fn run(&self, backups: Vec<Facts>, left_out: &mut LeftOut) -> Result<Vec<(Name, Name)>, Error> {
        let theirs = match self.options.direction {
            Direction::ToBarman => catalog::barman::list(self.to.storage.as_ref()).await?.backups,
            Direction::ToWalG => Vec::new(),
        };
        // Also when there is nothing to copy any more.
        Scratch::remove_abandoned(&self.options.scratch);
        let mut copied = Vec::new();
        for facts in backups {
            let name = facts.name();
            let is_there = theirs.iter().any(|entry| facts.is_copied_as(&entry.info))
                || self.has_sentinel(&facts).await?;
            if is_there {
                tracing::info!("backup {name} is there already");
                continue;
            }
            if let Some(segment) = facts.missing_wal(self.archived) {
                tracing::error!("backup {name} is not copied: WAL segment {segment} is not archived");
                left_out.without_wal.push(name);
                continue;
            }
            let scratch = Scratch::create(&self.options.scratch)?;
            match self.restore(&facts, &scratch).await {
                Ok(cluster) => {
                    let target = self.store(&facts, &cluster).await?;
                    tracing::info!("copied backup {name} as {target}");
                    copied.push((name, target));
                }
                Err(error) if is_of_the_backup(&error) => {
                    tracing::error!("backup {name} is not copied: {error}");
                    left_out.unrestorable.push(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(copied)
    }

    /// Restores a backup of the source into `scratch`.
    async fn restore(&self, facts: &Facts, scratch: &Scratch) -> Result<StoppedCluster, Error> {
        let plan = facts.plan(self.from, scratch.path()).await?;
        let restore = backup_fetch::Options {
            target: scratch.path().join("data"),
            concurrency: self.options.downloads,
            cores: self.options.packing.workers,
            network_rate: None,
            sync: SyncFiles::No,
        };
        backup_fetch::run(self.from, plan, restore).await?;
        facts.cluster(scratch.path().join("data"))
    }

    /// Stores a restored backup in the target; its name there.
    async fn store(&self, facts: &Facts, cluster: &StoppedCluster) -> Result<Name, Error> {
        let (backup, id): (Arc<dyn NewBackup>, _) = match &facts.source {
            Source::WalG(_) => {
                let id = self.free_id(facts).await?;
                (Arc::new(facts.barman_copy(cluster, id)), Some(id))
            }
            Source::Barman { .. } => (Arc::new(facts.walg_copy(cluster)), None),
        };
        remove_remains(self.to, backup.as_ref()).await?;
        cluster.store(self.to, Arc::clone(&backup), self.options.packing).await?;
        if let (Some(id), true) = (id, facts.is_kept) {
            self.annotations.put(id, Keep::Full).await?;
        }
        Ok(backup.name())
    }

    /// Whether a target of wal-g's layout has the backup.
    async fn has_sentinel(&self, facts: &Facts) -> Result<bool, Error> {
        match facts.source {
            Source::Barman { .. } => Ok(self.to.storage.head(&facts.sentinel()).await?.is_some()),
            Source::WalG(_) => Ok(false),
        }
    }

    /// The id of a copy in barman's layout: the second in which the backup began, or the next one that is no other
    /// backup's. What a copy that was killed has left there is no other's.
    async fn free_id(&self, facts: &Facts) -> Result<BackupId, Error> {
        for id in facts.ids() {
            match catalog::barman::describe(self.to.storage.as_ref(), id).await {
                Err(catalog::barman::Error::NoSuchBackup { .. }) => return Ok(id),
                Ok(entry) if facts.is_of_same_start(&entry.info) => return Ok(id),
                Ok(_) | Err(catalog::barman::Error::Info { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RequestError::BackupExists(facts.name(), NamedBy::Second).into())
    }
}

/// Whether it is the backup that cannot be restored, and not the storage that cannot answer, nor this machine.
fn is_of_the_backup(error: &Error) -> bool {
    match error {
        Error::Control { .. } => true,
        Error::Request(RequestError::Snapshots(_) | RequestError::Label { .. }) => true,
        // One that has just been deleted.
        _ => matches!(error.class(), Class::Integrity | Class::Missing),
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
        // Links to tablespaces lead here, and a link is not read from the working directory.
        let parent = std::path::absolute(parent).map_err(Error::file("open", parent))?;
        // Another process, in another container, may have the same id.
        let random = getrandom::u64().map_err(io::Error::from).map_err(Error::file("name", &parent))?;
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
