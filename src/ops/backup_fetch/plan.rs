//! What to take from each backup of a chain.
//!
//! The newest backup lists every file of the cluster. Each file is taken whole from the newest backup that has it whole,
//! and with the increments of all later backups; a backup's other files, which a later one replaced or which are gone,
//! are not taken at all, and tars that hold only such files are not fetched.
//!
//! The backups are looked at from the newest to the oldest, since each tells what is needed of its parent. Whatever is
//! missing is collected on the way, and is one error at the end.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::catalog::{self, walg::Ancestry};
use crate::codec::Method;
use crate::layout::walg::{Backup, BackupName, FilesMetadata, names};
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Key, ObjectMeta};

use super::incomplete::{Incomplete, Missing};
use super::shared_files::{Holder, SharedFiles};

/// A restore that can begin: everything that its documents name is there.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Tars of data, newest backup first. They are extracted several at once and have to be *started* in this order.
    ///
    /// Then no wait for a newer holder of a file ([`SharedFiles::wait`]) is for ever. Of the tars that are not done,
    /// the first of the list is under way, because those behind it are started later and those before it are done; it
    /// keeps its place while its object is opened, opened once more, or waited for. It waits for nobody: all tars of
    /// newer backups lie before it, so they are done, and when the last tar of a backup is done, each of its shared
    /// files was met ([`Level::tar_done`]). So the first can always be done, then the next.
    pub tars: Vec<Tar>,
    /// Labels and `pg_control` of the newest backup, to be extracted when all others are done: they may replace what is
    /// in those.
    pub tails: Vec<Tar>,
    /// The backups, newest first.
    pub levels: Vec<Arc<Level>>,
    /// The files that several backups hold.
    pub shared: SharedFiles,
}

/// One backup of the chain.
#[derive(Debug)]
pub(super) struct Level {
    pub name: BackupName,
    /// Whether it is the backup to restore: its directories, links, labels and `pg_control` count.
    pub is_newest: bool,
    pub wanted: Wanted,
    /// Tars of data not done yet.
    tars_left: AtomicUsize,
}

impl Level {
    /// One of its tars of data is done. When it was the last one, every file that older backups hold too has been met:
    /// else they would wait for it for ever.
    pub fn tar_done(&self) -> Result<(), Incomplete> {
        match self.tars_left.fetch_sub(1, Ordering::AcqRel) {
            1 => self.all_met(Form::is_shared),
            _ => Ok(()),
        }
    }

    /// All of its tars are done, so every wanted file has been met.
    pub fn done(&self) -> Result<(), Incomplete> {
        self.all_met(|_| true)
    }

    fn all_met(&self, which: impl Fn(Form) -> bool) -> Result<(), Incomplete> {
        let Wanted::Files(files) = &self.wanted else { return Ok(()) };
        let unmet = files.iter().filter(|(_, file)| which(file.form) && !file.met.load(Ordering::Acquire));
        match sorted(unmet.map(|(name, _)| &**name)) {
            files if files.is_empty() => Ok(()),
            files => Err(Incomplete {
                backup: self.name,
                missing: vec![Missing::Held { backup: self.name, files }],
            }),
        }
    }
}

/// A tar to extract.
#[derive(Debug)]
pub(super) struct Tar {
    pub key: Key,
    pub method: Method,
    /// Whether it holds labels or `pg_control`, not data.
    pub is_tail: bool,
    /// The backup that it is of.
    pub level: Arc<Level>,
}

/// Which files of a backup are wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    /// All of them, whole.
    Everything,
    /// Those named, without a leading slash.
    Files(HashMap<Arc<str>, WantedFile>),
}

/// A file that one of the backup's tars has to hold.
#[derive(Debug)]
pub(super) struct WantedFile {
    form: Form,
    /// Whether a tar held it.
    met: AtomicBool,
}

/// How a backup holds a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its content, and no other backup is needed for it.
    Whole,
    /// Its content, of which newer backups replace pages.
    Base(Holder),
    /// The pages that changed since the parent.
    Increment(Holder),
}

impl Form {
    /// Whether another backup holds something of the file too.
    pub fn is_shared(self) -> bool {
        self != Form::Whole
    }
}

impl Wanted {
    /// How the member with this checked relative path is wanted. It counts as met.
    pub fn meet(&self, path: &Path) -> Option<Form> {
        match self {
            Wanted::Everything => Some(Form::Whole),
            Wanted::Files(files) => {
                let file = files.get(path.to_str()?)?;
                file.met.store(true, Ordering::Release);
                Some(file.form)
            }
        }
    }

    /// Whether a tar has to be fetched: one that holds something wanted, or of which nobody says what it holds.
    fn needs(&self, members: Option<&Vec<String>>) -> bool {
        match (self, members) {
            (Wanted::Everything, _) => true,
            (Wanted::Files(files), None) => !files.is_empty(),
            (Wanted::Files(files), Some(members)) => {
                members.iter().any(|member| files.contains_key(relative(member)))
            }
        }
    }
}

/// What a tar of the newest backup may hold, listed or not, and what is never taken from another backup.
const TAKEN_ANYWAY: [&str; 3] = ["backup_label", "tablespace_map", "global/pg_control"];

/// What newer backups need of an older one.
enum Needed {
    /// There is no newer one: all that it lists, or has.
    All,
    /// These files, with the place of this backup among the holders of each that a newer backup has an increment of.
    Files(HashMap<Arc<str>, Option<Holder>>),
    /// It cannot be told, since a list of files is missing. The restore is going to be refused.
    Unknown,
}

/// The list of a backup's files.
enum List {
    Known(FilesMetadata),
    /// A full backup, which is complete without one.
    None,
    Missing(Missing),
}

/// Plans the restore of a chain. Reads documents and lists; changes nothing.
///
/// [`Error::Incomplete`] with all that is missing.
pub(super) async fn plan(ctx: &Context, chain: &Ancestry) -> Result<Plan, Error> {
    let newest = chain.backup.name;
    let mut planning = Planning { newest, plan: Plan::default(), missing: Vec::new() };
    let mut needed = Needed::All;
    for backup in chain.newest_first() {
        let (list, objects) = futures_util::try_join!(read_list(ctx, backup), list_tars(ctx, backup))?;
        needed = planning.add(backup, list, objects, needed)?;
    }
    if let Some(parent) = chain.missing_parent {
        planning.missing.push(Missing::Parent(parent));
        planning.missing.extend(missing_full(ctx, chain, parent).await?);
    }
    match planning.missing {
        missing if missing.is_empty() => Ok(planning.plan),
        missing => Err(Incomplete { backup: newest, missing }.into()),
    }
}

/// The full backup at the root of a chain that breaks off before it, when that is gone as well.
async fn missing_full(ctx: &Context, chain: &Ancestry, parent: BackupName) -> Result<Option<Missing>, Error> {
    let delta = chain.oldest().delta.as_ref();
    match delta.map(|delta| delta.full).filter(|full| *full != parent) {
        Some(full) if ctx.storage.head(&names::sentinel_key(full)).await?.is_none() => {
            Ok(Some(Missing::Parent(full)))
        }
        _ => Ok(None),
    }
}

async fn read_list(ctx: &Context, backup: &Backup) -> Result<List, Error> {
    let is_delta = backup.delta.is_some();
    if backup.files_metadata_disabled && !is_delta {
        return Ok(List::None);
    }
    match catalog::walg::files_metadata(ctx.storage.as_ref(), backup.name).await {
        Ok(files) if files.files.is_empty() && is_delta => Ok(List::Missing(Missing::Entries(backup.name))),
        Ok(files) => Ok(List::Known(files)),
        Err(catalog::walg::Error::MissingDocument { .. }) if is_delta => {
            Ok(List::Missing(Missing::List(backup.name)))
        }
        Err(catalog::walg::Error::MissingDocument { key, .. }) => {
            tracing::warn!("`{key}` is missing; whether all tars are there cannot be checked");
            Ok(List::None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn list_tars(ctx: &Context, backup: &Backup) -> Result<Vec<ObjectMeta>, Error> {
    let prefix = names::tars_prefix(backup.name);
    Ok(storage::list_all(ctx.storage.as_ref(), &prefix, Depth::Children).await?.objects)
}

struct Planning {
    newest: BackupName,
    plan: Plan,
    missing: Vec<Missing>,
}

impl Planning {
    /// Adds the next older backup; returns what is needed of its parent.
    fn add(
        &mut self,
        backup: &Backup,
        list: List,
        objects: Vec<ObjectMeta>,
        needed: Needed,
    ) -> Result<Needed, Error> {
        let files = match list {
            List::Known(files) => Some(files),
            List::None => None,
            List::Missing(missing) => {
                self.missing.push(missing);
                None
            }
        };
        let (wanted, of_parent) = self.choose(backup, files.as_ref(), needed);
        self.check(backup, &wanted, files.as_ref(), &objects);
        self.add_tars(backup, wanted, files.as_ref(), objects)?;
        Ok(of_parent)
    }

    /// Of what is needed, the files to take from this backup, and what its parent has to provide. `None` when nobody
    /// knows.
    fn choose(
        &mut self,
        backup: &Backup,
        files: Option<&FilesMetadata>,
        needed: Needed,
    ) -> (Option<Wanted>, Needed) {
        if backup.delta.is_none() {
            let wanted = match needed {
                Needed::All => Some(Wanted::Everything),
                Needed::Files(needed) => Some(Wanted::Files(
                    needed.into_iter().map(|(name, holder)| (name, wanted(whole(holder)))).collect(),
                )),
                Needed::Unknown => None,
            };
            return (wanted, Needed::Files(HashMap::new()));
        }
        let Some(files) = files else { return (None, Needed::Unknown) };
        let listed: HashMap<&str, _> =
            files.files.iter().map(|(name, description)| (relative(name), description)).collect();
        let needed = match needed {
            Needed::All => {
                let names = listed.keys().filter(|name| !TAKEN_ANYWAY.contains(name));
                names.map(|name| (Arc::from(*name), None)).collect()
            }
            Needed::Files(needed) => needed,
            Needed::Unknown => return (None, Needed::Unknown),
        };
        let (mut taken, mut of_parent, mut unlisted) = (HashMap::new(), HashMap::new(), Vec::new());
        for (name, holder) in needed {
            let Some(description) = listed.get(&*name) else {
                unlisted.push(name);
                continue;
            };
            if description.is_incremented {
                let holder = holder.unwrap_or_else(|| self.plan.shared.add());
                taken.insert(Arc::clone(&name), wanted(Form::Increment(holder)));
                of_parent.insert(name, Some(holder.older()));
            } else if description.is_skipped {
                of_parent.insert(name, holder);
            } else {
                taken.insert(name, wanted(whole(holder)));
            }
        }
        if !unlisted.is_empty() {
            let files = sorted(unlisted.iter().map(|name| &**name));
            self.missing.push(Missing::Listed { backup: backup.name, files });
        }
        (Some(Wanted::Files(taken)), Needed::Files(of_parent))
    }

    /// Notes what is wanted and is not there. Without the lists of wal-g that is found out only as tars are read.
    fn check(
        &mut self,
        backup: &Backup,
        wanted: &Option<Wanted>,
        files: Option<&FilesMetadata>,
        objects: &[ObjectMeta],
    ) {
        let is_newest = backup.name == self.newest;
        let stored: HashSet<&str> = objects.iter().map(|object| object.key.file_name()).collect();
        let sets = files.map(|files| &files.tar_file_sets);
        for (tar, members) in sets.into_iter().flatten().filter(|(tar, _)| !stored.contains(tar.as_str())) {
            let folder = names::tars_prefix(backup.name);
            if is_newest || wanted.as_ref().is_none_or(|wanted| wanted.needs(Some(members))) {
                self.missing.push(Missing::Tar { folder, name: tar.clone() });
            } else {
                tracing::warn!("`{folder}{tar}` is missing; this restore does not need it");
            }
        }
        if is_newest && !stored.iter().any(|tar| is_tail(tar) && tar.contains("pg_control.tar")) {
            self.missing.push(Missing::ControlTar(backup.name));
        }
        if let Some(Wanted::Files(wanted)) = wanted {
            let held: HashSet<&str> = match files {
                Some(files) if !files.tar_file_sets.is_empty() => {
                    let sets = files.tar_file_sets.iter().filter(|(tar, _)| !is_tail(tar));
                    sets.flat_map(|(_, members)| members).map(|member| relative(member)).collect()
                }
                _ if stored.iter().all(|tar| is_tail(tar)) => HashSet::new(),
                Some(files) if !files.files.is_empty() => {
                    files.files.keys().map(|name| relative(name)).collect()
                }
                _ => return,
            };
            let files = sorted(wanted.keys().map(|name| &**name).filter(|name| !held.contains(name)));
            if !files.is_empty() {
                self.missing.push(Missing::Held { backup: backup.name, files });
            }
        }
    }

    /// Adds the tars that hold anything wanted.
    fn add_tars(
        &mut self,
        backup: &Backup,
        wanted: Option<Wanted>,
        files: Option<&FilesMetadata>,
        objects: Vec<ObjectMeta>,
    ) -> Result<(), Error> {
        let is_newest = backup.name == self.newest;
        let wanted = wanted.unwrap_or_else(|| Wanted::Files(HashMap::new()));
        let sets = files.map(|files| &files.tar_file_sets);
        let (mut tars, mut tails) = (Vec::new(), Vec::new());
        for object in objects {
            let name = object.key.file_name();
            let stored =
                names::parse_tar_name(name).map_err(|error| Error::content(&object.key)(error.into()))?;
            if stored.is_tail {
                // Those of older backups describe a state that is no more.
                if is_newest {
                    tails.push((object.key, stored));
                }
            } else if wanted.needs(sets.and_then(|sets| sets.get(name))) {
                tars.push((object.key, stored));
            }
        }
        let level =
            Arc::new(Level { name: backup.name, is_newest, wanted, tars_left: AtomicUsize::new(tars.len()) });
        let tar = |(key, stored): (Key, names::StoredTar)| Tar {
            key,
            method: stored.method,
            is_tail: stored.is_tail,
            level: Arc::clone(&level),
        };
        self.plan.tars.extend(tars.into_iter().map(&tar));
        self.plan.tails.extend(tails.into_iter().map(&tar));
        self.plan.levels.push(level);
        Ok(())
    }
}

/// The form of a file that a backup has whole, under the increments of `holder`'s newer ones.
fn whole(holder: Option<Holder>) -> Form {
    holder.map_or(Form::Whole, Form::Base)
}

fn wanted(form: Form) -> WantedFile {
    WantedFile { form, met: AtomicBool::new(false) }
}

fn is_tail(tar: &str) -> bool {
    names::parse_tar_name(tar).is_ok_and(|stored| stored.is_tail)
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// A member's name without the leading slash that local backups have and remote ones have not, and without the one at
/// the end that directories may have.
fn relative(name: &str) -> &str {
    name.trim_matches('/')
}
