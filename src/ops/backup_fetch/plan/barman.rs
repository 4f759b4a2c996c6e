//! What to take of a backup in barman's layout.
//!
//! Its tars come in sequences, one for the data directory and one for each tablespace: a first tar, and others that
//! continue it. All that they hold is wanted, labels and `pg_control` included, which are in the last tar of the data
//! directory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::codec::{self, Method};
use crate::layout::barman::names::{self, Stem, TarName};
use crate::layout::barman::{BackupId, BackupInfo, Status, Tablespace};
use crate::ops::backup_fetch::incomplete::{Incomplete, Missing};
use crate::ops::backup_fetch::shared_files::SharedFiles;
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Key, ObjectMeta, Prefix};

use super::{Level, Plan, Source, Tar, Wanted};

/// A tablespace that goes elsewhere than where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTablespace {
    /// Its name in SQL.
    pub name: String,
    /// Where it goes; relative to the working directory.
    pub location: PathBuf,
}

impl Plan {
    /// Plans the restore of a backup of barman's layout, which `info` describes; the tablespaces in `moved` go elsewhere
    /// than where they were. Lists; changes nothing.
    ///
    /// [`Error::Incomplete`] with all the tars that are missing.
    pub async fn barman(
        ctx: &Context,
        backup: BackupId,
        info: &BackupInfo,
        moved: &[MovedTablespace],
    ) -> Result<Plan, Error> {
        let source = Source { name: backup.into(), folder: names::backup_prefix(backup) };
        if info.snapshots_info.is_some() {
            return Err(RequestError::Snapshots(source.name).into());
        }
        if let Some(parent) = info.parent_backup_id {
            return Err(RequestError::Incremental(source.name, parent).into());
        }
        if info.status != Status::Done {
            tracing::warn!("the status of backup {backup} is {}, it may be incomplete", info.status);
        }
        let tablespaces = locations(info, moved)?;
        let listing = storage::list_all(ctx.storage.as_ref(), &source.folder, Depth::Children).await?;
        let mut stored = by_name(listing.objects)?;
        let stems = info.tablespaces.iter().map(|tablespace| Stem::Tablespace(tablespace.oid));
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for stem in std::iter::once(Stem::Data).chain(stems) {
            take_sequence(stem, &mut stored, &source.folder, &mut found, &mut missing);
        }
        if !missing.is_empty() {
            return Err(Incomplete { backup: source.name, missing }.into());
        }
        for (key, _) in stored.values() {
            tracing::warn!("`{key}` is not restored: `backup.info` has no tablespace with this OID");
        }
        let level = Arc::new(Level {
            source: source.clone(),
            is_newest: true,
            wanted: Wanted::unlisted(),
            tars_left: AtomicUsize::new(found.len()),
        });
        let tars = found.into_iter().enumerate().map(|(order, (stem, key, method))| {
            let method = method.map_err(|error| Error::content(&key)(error.into()))?;
            let (below, level) = (below(stem), Arc::clone(&level));
            Ok(Tar { key, method, recorded: None, is_tail: false, below, order, level })
        });
        Ok(Plan {
            backup: source,
            cluster: info.systemid,
            tablespaces,
            takes_tablespace_map: false,
            tars: tars.collect::<Result<_, Error>>()?,
            tails: Vec::new(),
            levels: vec![level],
            shared: SharedFiles::default(),
        })
    }
}

/// Where each tablespace goes, by OID. One that was made inside the data directory (`allow_in_place_tablespaces`) is a
/// directory there and no link, unless it is moved.
fn locations(info: &BackupInfo, moved: &[MovedTablespace]) -> Result<BTreeMap<String, PathBuf>, Error> {
    for rule in moved {
        if !info.tablespaces.iter().any(|tablespace| tablespace.name == rule.name) {
            tracing::warn!("the backup has no tablespace `{}`, its new location is not used", rule.name);
        }
    }
    let mut locations = BTreeMap::new();
    for Tablespace { name, oid, location } in &info.tablespaces {
        // Of several rules the last one counts.
        let location = match moved.iter().rfind(|rule| rule.name == *name) {
            Some(rule) => std::path::absolute(&rule.location).map_err(Error::file("open", &rule.location))?,
            None if Path::new(location) == below(Stem::Tablespace(*oid)) => continue,
            None if location.starts_with('/') => PathBuf::from(location),
            None => return Err(RequestError::TablespaceWithoutPlace { oid: oid.to_string() }.into()),
        };
        locations.insert(oid.to_string(), location);
    }
    Ok(locations)
}

/// What the members of a sequence are relative to, below the data directory.
fn below(stem: Stem) -> PathBuf {
    match stem {
        Stem::Data => PathBuf::new(),
        Stem::Tablespace(oid) => Path::new("pg_tblspc").join(oid.to_string()),
    }
}

/// The tars of a backup, in the order in which they are unpacked; each can be decompressed, or it cannot and why.
type Stored = BTreeMap<TarName, (Key, Result<Method, codec::Error>)>;

/// Of a backup's objects, the tars.
fn by_name(objects: Vec<ObjectMeta>) -> Result<Stored, Error> {
    let mut stored = Stored::new();
    for ObjectMeta { key, .. } in objects {
        let Some((name, method)) = names::parse_tar_name(key.file_name()) else { continue };
        if let Some((other, _)) = stored.insert(name, (key.clone(), method)) {
            return Err(Error::content(&key)(io::Error::new(io::ErrorKind::InvalidData, Twice { other })));
        }
    }
    Ok(stored)
}

/// Nothing tells which of the two is the backup's own.
#[derive(Debug, thiserror::Error)]
#[error("the backup has the same tar as `{other}`")]
struct Twice {
    other: Key,
}

/// How many tars in a row are named as missing; no tool writes as many.
const NAMED_TARS: usize = 1000;

/// Moves the tars of a sequence from `stored` to `found`; those that it lacks between its first and its last one, to
/// `missing`.
fn take_sequence(
    stem: Stem,
    stored: &mut Stored,
    folder: &Prefix,
    found: &mut Vec<(Stem, Key, Result<Method, codec::Error>)>,
    missing: &mut Vec<Missing>,
) {
    let mut next = 0;
    for (name, (key, method)) in stored.extract_if(.., |name, _| name.stem == stem) {
        let gap = (next..name.number).take(NAMED_TARS);
        missing.extend(gap.map(|number| lacking(folder, TarName { stem, number })));
        next = name.number.saturating_add(1);
        found.push((stem, key, method));
    }
    if next == 0 {
        missing.push(lacking(folder, TarName { stem, number: 0 }));
    }
}

fn lacking(folder: &Prefix, tar: TarName) -> Missing {
    Missing::Tar { folder: folder.clone(), name: tar.object_name(Method::None) }
}
