//! What to take from each backup of a chain.
//!
//! The newest backup lists every file of the cluster. Each file is taken whole from the newest backup that has it whole,
//! and the increments of all later backups are applied to it; a backup's other files, which a later one replaced or
//! which are gone, are not written at all.

use std::collections::{HashMap, HashSet};

use crate::catalog;
use crate::codec::Method;
use crate::layout::walg::{Backup, BackupName, FilesMetadata, names};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Key};

/// One backup of the chain.
#[derive(Debug)]
pub(super) struct Level {
    pub name: BackupName,
    pub is_newest: bool,
    pub wanted: Wanted,
    /// Tars to extract first, in any order.
    pub tars: Vec<Tar>,
    /// Tars to extract when all of those are done: labels and `pg_control`.
    pub tails: Vec<Tar>,
}

/// A tar to extract.
#[derive(Debug)]
pub(super) struct Tar {
    pub key: Key,
    pub method: Method,
    /// Whether it holds labels or `pg_control`, not data.
    pub is_tail: bool,
}

/// Which files of a backup are wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    /// All of them, whole.
    Everything,
    /// Those named, without a leading slash.
    Files(HashMap<String, Form>),
}

impl Wanted {
    /// The names of the files that the tars must hold; none when that is not known.
    pub fn names(&self) -> HashSet<String> {
        match self {
            Wanted::Everything => HashSet::new(),
            Wanted::Files(files) => files.keys().cloned().collect(),
        }
    }
}

/// How a backup holds a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its content.
    Whole,
    /// The pages that changed since the parent.
    Increment,
}

/// Plans the restore of a chain, the full backup first. Reads documents and lists; changes nothing.
pub(super) async fn plan(ctx: &Context, chain: &[Backup]) -> Result<Vec<Level>, Error> {
    let mut levels = Vec::new();
    let mut needed = None;
    for (steps, backup) in chain.iter().rev().enumerate() {
        let is_newest = steps == 0;
        let files = read_files(ctx, backup).await?;
        let wanted = match (&files, needed.take()) {
            // The newest backup of a chain: it lists everything.
            (Some(files), None) if backup.delta.is_some() => {
                let all = files.files.keys().map(|name| relative(name).to_owned()).collect();
                choose_files(backup, files, all, &mut needed)?
            }
            // A full backup by itself.
            (_, None) => Wanted::Everything,
            (Some(files), Some(names)) if backup.delta.is_some() => {
                choose_files(backup, files, names, &mut needed)?
            }
            // The full backup at the root of a chain.
            (_, Some(names)) => Wanted::Files(names.into_iter().map(|name| (name, Form::Whole)).collect()),
        };
        levels.push(level(ctx, backup, is_newest, wanted, files.as_ref()).await?);
    }
    levels.reverse();
    Ok(levels)
}

/// The list of a backup's files; `None` when a full backup has none, which is complete without it.
async fn read_files(ctx: &Context, backup: &Backup) -> Result<Option<FilesMetadata>, Error> {
    let is_delta = backup.delta.is_some();
    if backup.files_metadata_disabled && !is_delta {
        return Ok(None);
    }
    match catalog::files_metadata(ctx.storage.as_ref(), backup.name).await {
        Ok(files) if files.files.is_empty() && is_delta => {
            Err(RequestError::DeltaWithoutFiles(backup.name).into())
        }
        Ok(files) => Ok(Some(files)),
        Err(catalog::Error::MissingDocument { .. }) if is_delta => {
            Err(RequestError::DeltaWithoutFiles(backup.name).into())
        }
        Err(catalog::Error::MissingDocument { key, .. }) => {
            tracing::warn!("`{key}` is missing; whether all tars are there cannot be checked");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Of the files `names`, those to take from this delta; the ones that its parent must provide go to `needed`.
fn choose_files(
    backup: &Backup,
    files: &FilesMetadata,
    names: HashSet<String>,
    needed: &mut Option<HashSet<String>>,
) -> Result<Wanted, Error> {
    let described: HashMap<&str, _> =
        files.files.iter().map(|(name, description)| (relative(name), description)).collect();
    let mut wanted = HashMap::new();
    let mut from_parent = HashSet::new();
    for name in names {
        let Some(description) = described.get(name.as_str()) else {
            return Err(RequestError::BrokenChain { backup: backup.name, file: name }.into());
        };
        if description.is_skipped || description.is_incremented {
            from_parent.insert(name.clone());
        }
        if description.is_incremented {
            wanted.insert(name, Form::Increment);
        } else if !description.is_skipped {
            wanted.insert(name, Form::Whole);
        }
    }
    *needed = Some(from_parent);
    Ok(Wanted::Files(wanted))
}

/// The tars of a backup that hold anything wanted. Every tar that its documents name must be there.
async fn level(
    ctx: &Context,
    backup: &Backup,
    is_newest: bool,
    wanted: Wanted,
    files: Option<&FilesMetadata>,
) -> Result<Level, Error> {
    let prefix = names::tars_prefix(backup.name);
    let listing = storage::list_all(ctx.storage.as_ref(), &prefix, Depth::Children).await?;
    let contents = files.map(|files| &files.tar_file_sets);
    let listed: HashSet<&str> = listing.objects.iter().map(|object| object.key.file_name()).collect();
    if let Some(missing) =
        contents.into_iter().flat_map(|sets| sets.keys()).find(|tar| !listed.contains(tar.as_str()))
    {
        let key = prefix.key(missing).map_err(|_| RequestError::NoControlTar(backup.name))?;
        return Err(Error::MissingTar { key });
    }
    let mut level = Level { name: backup.name, is_newest, wanted, tars: Vec::new(), tails: Vec::new() };
    for object in listing.objects {
        let stored = names::parse_tar_name(object.key.file_name())
            .map_err(|error| Error::content(&object.key)(error.into()))?;
        let tar = Tar { key: object.key, method: stored.method, is_tail: stored.is_tail };
        if stored.is_tail {
            // Those of older backups describe a state that is no more.
            if is_newest {
                level.tails.push(tar);
            }
        } else if contents.is_none_or(|sets| holds_anything(&level.wanted, sets.get(tar.key.file_name()))) {
            level.tars.push(tar);
        }
    }
    let has_control = level.tails.iter().any(|tar| tar.key.file_name().contains("pg_control.tar"));
    if is_newest && !has_control {
        return Err(RequestError::NoControlTar(backup.name).into());
    }
    Ok(level)
}

fn holds_anything(wanted: &Wanted, members: Option<&Vec<String>>) -> bool {
    match (wanted, members) {
        (Wanted::Files(wanted), Some(members)) => {
            members.iter().any(|member| wanted.contains_key(relative(member)))
        }
        _ => true,
    }
}

/// A member's name without the leading slash that local backups have and remote ones have not, and without the one at
/// the end that directories may have.
pub(super) fn relative(name: &str) -> &str {
    name.trim_matches('/')
}
