//! What to take from each backup of a chain, in wal-g's layout.
//!
//! The newest backup lists every file of the cluster. Each file is taken whole from the newest backup that has it whole,
//! and with the increments of all later backups; a backup's other files, which a later one replaced or which are gone,
//! are not taken at all, and tars that hold only such files are not fetched.
//!
//! The backups are looked at from the newest to the oldest, since each tells what is needed of its parent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::catalog::{self, walg::Ancestry};
use crate::checksum::Checksum;
use crate::layout::walg::names::{self, StoredTar, TarContent};
use crate::layout::walg::{Backup, BackupName, Checksums, FilesMetadata, TablespaceSpec};
use crate::ops::backup_choice::{BackupChoice, choose};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Key, ObjectMeta};

use super::{Form, Level, Plan, Source, Tar, Wanted, WantedFile, sorted};
use crate::ops::backup_fetch::incomplete::{Incomplete, Missing};
use crate::ops::backup_fetch::shared_files::{Holder, SharedFiles};

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

/// What a backup says of its files and objects.
struct Documents {
    list: List,
    /// The sizes and hashes of its objects, where they were recorded.
    checksums: Option<Checksums>,
}

/// The list of a backup's files.
enum List {
    Known(FilesMetadata),
    /// A full backup, which is complete without one.
    None,
    Missing(Missing),
}

impl Plan {
    /// Plans the restore of a backup of wal-g's layout and of the chain it builds on; with `restore_spec` its
    /// tablespaces go elsewhere than where they were. Reads documents and lists; changes nothing.
    ///
    /// [`Error::Incomplete`] with all that is missing.
    pub async fn walg(
        ctx: &Context,
        choice: &BackupChoice,
        restore_spec: Option<&TablespaceSpec>,
    ) -> Result<Plan, Error> {
        let name = choose(ctx, choice).await?;
        let chain = catalog::walg::ancestry(ctx.storage.as_ref(), name).await?;
        let mut planning = Planning::of(name);
        let mut needed = Needed::All;
        for backup in chain.newest_first() {
            let (stored, objects) =
                futures_util::try_join!(read_documents(ctx, backup), list_tars(ctx, backup))?;
            needed = planning.add(backup, stored, objects, needed)?;
        }
        if let Some(parent) = chain.missing_parent {
            planning.missing.push(Missing::Parent(names::sentinel_key(parent)));
            planning.missing.extend(missing_full(ctx, &chain, parent).await?);
        }
        let backup = source(name);
        if !planning.missing.is_empty() {
            return Err(Incomplete { backup: backup.name, missing: planning.missing }.into());
        }
        Ok(Plan {
            backup,
            cluster: chain.backup.system_identifier,
            tablespaces: locations(&chain.backup, restore_spec)?,
            takes_tablespace_map: restore_spec.is_none(),
            tars: planning.tars,
            tails: planning.tails,
            levels: planning.levels,
            shared: planning.shared,
        })
    }
}

/// Where each tablespace of a backup goes.
fn locations(
    backup: &Backup,
    restore_spec: Option<&TablespaceSpec>,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let spec = restore_spec.or(backup.tablespaces.as_ref());
    let locations = spec.map_or_else(BTreeMap::new, |spec| spec.locations.clone());
    let mut placed = backup.tablespaces.iter().flat_map(|spec| spec.locations.keys());
    match placed.find(|oid| !locations.contains_key(*oid)) {
        Some(oid) => Err(RequestError::TablespaceWithoutPlace { oid: oid.clone() }.into()),
        None => Ok(locations),
    }
}

fn source(backup: BackupName) -> Source {
    Source { name: backup.into(), folder: names::tars_prefix(backup) }
}

/// The full backup at the root of a chain that breaks off before it, when that is gone as well.
async fn missing_full(ctx: &Context, chain: &Ancestry, parent: BackupName) -> Result<Option<Missing>, Error> {
    let delta = chain.oldest().delta.as_ref();
    match delta.map(|delta| delta.full).filter(|full| *full != parent) {
        Some(full) if ctx.storage.head(&names::sentinel_key(full)).await?.is_none() => {
            Ok(Some(Missing::Parent(names::sentinel_key(full))))
        }
        _ => Ok(None),
    }
}

async fn read_documents(ctx: &Context, backup: &Backup) -> Result<Documents, Error> {
    let checksums = catalog::walg::checksums(ctx.storage.as_ref(), backup).await?;
    Ok(Documents { list: read_list(ctx, backup, checksums.as_ref()).await?, checksums })
}

async fn read_list(ctx: &Context, backup: &Backup, checksums: Option<&Checksums>) -> Result<List, Error> {
    let is_delta = backup.delta.is_some();
    if backup.files_metadata_disabled && !is_delta {
        return Ok(List::None);
    }
    match catalog::walg::files_metadata(ctx.storage.as_ref(), backup.name, checksums).await {
        Ok(files) if files.files.is_empty() && is_delta => {
            Ok(List::Missing(Missing::Entries(names::files_metadata_key(backup.name))))
        }
        Ok(files) => Ok(List::Known(files)),
        Err(catalog::walg::Error::MissingDocument { key, .. }) if is_delta => {
            Ok(List::Missing(Missing::List(key)))
        }
        Err(catalog::walg::Error::MissingDocument { key, .. }) => {
            if checksums.is_none() {
                tracing::warn!("`{key}` is missing; whether all tars are there cannot be checked");
            }
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
    tars: Vec<Tar>,
    tails: Vec<Tar>,
    levels: Vec<Arc<Level>>,
    shared: SharedFiles,
    missing: Vec<Missing>,
}

impl Planning {
    fn of(newest: BackupName) -> Planning {
        Planning {
            newest,
            tars: Vec::new(),
            tails: Vec::new(),
            levels: Vec::new(),
            shared: SharedFiles::default(),
            missing: Vec::new(),
        }
    }

    /// Adds the next older backup; returns what is needed of its parent.
    fn add(
        &mut self,
        backup: &Backup,
        Documents { list, checksums }: Documents,
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
        self.check_tars(backup, wanted.as_ref(), files.as_ref(), checksums.as_ref(), &objects);
        self.check_held(backup, wanted.as_ref(), files.as_ref(), &objects);
        self.add_tars(backup, wanted, files.as_ref(), checksums.as_ref(), objects)?;
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
                Needed::All => Some(everything(files)),
                Needed::Files(needed) => Some(Wanted::Files(
                    needed.into_iter().map(|(name, holder)| (name, WantedFile::new(whole(holder)))).collect(),
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
                let holder = holder.unwrap_or_else(|| self.shared.add());
                taken.insert(Arc::clone(&name), WantedFile::new(Form::Increment(holder)));
                of_parent.insert(name, Some(holder.older()));
            } else if description.is_skipped {
                of_parent.insert(name, holder);
            } else {
                taken.insert(name, WantedFile::new(whole(holder)));
            }
        }
        if !unlisted.is_empty() {
            let files = sorted(unlisted.iter().map(|name| &**name));
            self.missing.push(Missing::Listed { list: names::files_metadata_key(backup.name), files });
        }
        (Some(Wanted::Files(taken)), Needed::Files(of_parent))
    }

    /// Notes the tars that are wanted and are not there as they were stored. Without a record of them and without the
    /// lists of wal-g that is found out only as tars are read.
    fn check_tars(
        &mut self,
        backup: &Backup,
        wanted: Option<&Wanted>,
        files: Option<&FilesMetadata>,
        checksums: Option<&Checksums>,
        objects: &[ObjectMeta],
    ) {
        let is_newest = backup.name == self.newest;
        let stored: HashMap<&str, u64> =
            objects.iter().map(|object| (object.key.file_name(), object.size)).collect();
        let recorded: HashMap<&str, Checksum> = checksums.into_iter().flat_map(Checksums::tars).collect();
        let sets = files.map(|files| &files.tar_file_sets);
        let listed = sets.into_iter().flat_map(|sets| sets.keys().map(String::as_str));
        let folder = names::tars_prefix(backup.name);
        for tar in listed.chain(recorded.keys().copied()).collect::<BTreeSet<_>>() {
            let missing = match (stored.get(tar), recorded.get(tar)) {
                (None, _) => Missing::Tar { folder: folder.clone(), name: tar.to_owned() },
                (Some(size), Some(recorded)) if *size != recorded.size => Missing::Resized {
                    folder: folder.clone(),
                    name: tar.to_owned(),
                    recorded: recorded.size,
                    found: *size,
                },
                _ => continue,
            };
            let members = sets.and_then(|sets| sets.get(tar));
            let is_needed = match TarContent::of(tar).is_tail() {
                true => is_newest,
                false => is_newest || wanted.is_none_or(|wanted| needs(wanted, members)),
            };
            match is_needed {
                true => self.missing.push(missing),
                false => tracing::warn!("{missing} is missing; this restore does not need it"),
            }
        }
        let is_control = |tar: &str| TarContent::of(tar) == TarContent::Control;
        if is_newest && !stored.keys().chain(recorded.keys()).any(|tar| is_control(tar)) {
            self.missing.push(Missing::ControlTar(folder));
        }
    }

    /// Notes the files that are wanted and that no tar holds, as far as the lists of wal-g tell.
    fn check_held(
        &mut self,
        backup: &Backup,
        wanted: Option<&Wanted>,
        files: Option<&FilesMetadata>,
        objects: &[ObjectMeta],
    ) {
        if let Some(Wanted::Files(wanted)) = wanted {
            let held: HashSet<&str> = match files {
                Some(files) if !files.tar_file_sets.is_empty() => {
                    let sets = files.tar_file_sets.iter().filter(|(tar, _)| !TarContent::of(tar).is_tail());
                    sets.flat_map(|(_, members)| members).map(|member| relative(member)).collect()
                }
                _ if objects.iter().all(|tar| TarContent::of(tar.key.file_name()).is_tail()) => {
                    HashSet::new()
                }
                Some(files) if !files.files.is_empty() => {
                    files.files.keys().map(|name| relative(name)).collect()
                }
                _ => return,
            };
            let files = sorted(wanted.keys().map(|name| &**name).filter(|name| !held.contains(name)));
            if !files.is_empty() {
                self.missing.push(Missing::Held { folder: names::tars_prefix(backup.name), files });
            }
        }
    }

    /// Adds the tars that hold anything wanted.
    fn add_tars(
        &mut self,
        backup: &Backup,
        wanted: Option<Wanted>,
        files: Option<&FilesMetadata>,
        checksums: Option<&Checksums>,
        objects: Vec<ObjectMeta>,
    ) -> Result<(), Error> {
        let is_newest = backup.name == self.newest;
        let wanted = wanted.unwrap_or_else(|| Wanted::Files(HashMap::new()));
        let sets = files.map(|files| &files.tar_file_sets);
        let (mut tars, mut tails) = (Vec::new(), Vec::new());
        for object in objects {
            let name = object.key.file_name();
            let recorded = checksums.and_then(|checksums| checksums.of(backup.name, &object.key));
            if checksums.is_some() && recorded.is_none() {
                tracing::warn!("`{}` is not restored: it was not stored with this backup", object.key);
                continue;
            }
            let stored =
                names::parse_tar_name(name).map_err(|error| Error::content(&object.key)(error.into()))?;
            if stored.content.is_tail() {
                // Those of older backups describe a state that is no more.
                if is_newest {
                    tails.push((object.key, stored, recorded));
                }
                continue;
            }
            let members = sets.and_then(|sets| sets.get(name));
            if needs(&wanted, members) || is_newest && members.is_some_and(|members| holds_labels(members)) {
                tars.push((object.key, stored, recorded));
            }
        }
        let tars_left = AtomicUsize::new(tars.len());
        let level = Arc::new(Level { source: source(backup.name), is_newest, wanted, tars_left });
        let tar = |(key, stored, recorded): (Key, StoredTar, Option<Checksum>)| Tar {
            key,
            method: stored.method,
            recorded,
            is_tail: stored.content.is_tail(),
            below: PathBuf::new(),
            order: usize::from(stored.content.is_tail()),
            level: Arc::clone(&level),
        };
        self.tars.extend(tars.into_iter().map(&tar));
        self.tails.extend(tails.into_iter().map(&tar));
        self.levels.push(level);
        Ok(())
    }
}

/// Whether a tar has to be fetched: one that holds something wanted, or of which nobody says what it holds.
fn needs(wanted: &Wanted, members: Option<&Vec<String>>) -> bool {
    match (wanted, members) {
        (Wanted::Everything { .. }, _) => true,
        (Wanted::Files(files), None) => !files.is_empty(),
        (Wanted::Files(files), Some(members)) => {
            members.iter().any(|member| files.contains_key(relative(member)))
        }
    }
}

/// Whether a tar of data holds the labels too: an old wal-g put them into one more part.
fn holds_labels(members: &[String]) -> bool {
    members.iter().any(|member| TAKEN_ANYWAY.contains(&relative(member)))
}

/// The form of a file that a backup has whole, under the increments of `holder`'s newer ones.
fn whole(holder: Option<Holder>) -> Form {
    holder.map_or(Form::Whole, Form::Base)
}

/// All of a full backup, whose tars have to hold what it lists. wal-g lists a file when it has opened it to store it, and
/// so does seawall; a name that is not UTF-8 cannot be listed as it is.
fn everything(files: Option<&FilesMetadata>) -> Wanted {
    let Some(files) = files.filter(|files| !files.files.is_empty()) else { return Wanted::unlisted() };
    let stored = files.files.iter().filter(|(_, file)| !file.is_skipped && !file.is_incremented);
    let names = stored.map(|(name, _)| relative(name));
    Wanted::listed(
        names.filter(|name| !name.contains(char::REPLACEMENT_CHARACTER) && !TAKEN_ANYWAY.contains(name)),
    )
}

/// A member's name without the leading slash that local backups have and remote ones have not, and without the one at
/// the end that directories may have.
fn relative(name: &str) -> &str {
    name.trim_matches('/')
}
