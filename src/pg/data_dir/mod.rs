//! The walk of a data directory for a base backup: what is copied, what stays behind, under which name.
//!
//! | found | copied as |
//! |---|---|
//! | what `rules` keep empty | an empty directory, also when a symlink leads to it |
//! | what `rules` leave out | nothing |
//! | `pg_tblspc/<oid>` | the tablespace's content as `/pg_tblspc/<oid>/…`; the link and its target have no member |
//! | other symlinks | symlink |
//! | sockets, pipes, devices | nothing, with a warning |
//!
//! The order is depth first, by name within a directory, a directory before its content. Names start with a slash, as in
//! wal-g's backups.

mod rules;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::{fmt, vec};

use jiff::Timestamp;

use self::rules::{Place, UnloggedRelations};
use super::Oid;

/// What one walk leaves out beyond the rules above.
#[derive(Debug, Clone, Default)]
pub struct WalkRules {
    /// Directories and files not to be copied, with all they hold: an archive that lies inside the data directory.
    pub exclude: Vec<PathBuf>,
    /// The one directory of a tablespace that is this cluster's, such as `PG_15_202209061`
    /// ([`ControlFile::tablespace_directory`](super::ControlFile::tablespace_directory)); others are left by, or kept
    /// for, another major version. `None` copies them all.
    pub tablespace_directory: Option<String>,
    /// Of a directory that is a backup, and no server's: where the content of each tablespace is. Its label and its manifest
    /// are copied, and its links to tablespaces are passed over, since they need not lead anywhere.
    pub backup: Option<Vec<Tablespace>>,
}

/// Starts a walk.
///
/// The items come lazily; an item's error names the path and ends nothing, the caller decides. What disappears
/// between listing and looking is passed over, as a running server removes files at any time.
/// Fails if `data_dir` itself cannot be read, or a tablespace of a backup.
pub fn walk(data_dir: &Path, rules: &WalkRules) -> Result<Walk, Error> {
    let root = fs::canonicalize(data_dir).map_err(|source| Error::io("resolve", data_dir, source))?;
    let metadata = fs::metadata(&root).map_err(|source| Error::io("look at", &root, source))?;
    let first = Member::new(MemberName(String::from("/")), &root, MemberKind::Directory, None, &metadata)?;
    let tablespaces = rules.backup.as_deref().unwrap_or_default();
    let mut levels: Vec<Level> =
        tablespaces.iter().rev().map(Level::of_tablespace).collect::<Result<_, _>>()?;
    levels.push(Level::open(Place::Top, None, String::new(), root)?);
    let tablespaces_first = tablespaces.iter().cloned().map(Found::Tablespace);
    let first: Vec<Found> = tablespaces_first.chain([Found::Member(first)]).collect();
    Ok(Walk {
        first: first.into_iter(),
        levels,
        exclude: rules
            .exclude
            .iter()
            .map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
            .collect(),
        tablespace_directory: rules.tablespace_directory.clone(),
        backup: rules.backup.clone(),
    })
}

/// One thing a walk comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Something to copy.
    Member(Member),
    /// A tablespace behind a symlink; its members follow.
    Tablespace(Tablespace),
}

/// Something to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the backup.
    pub name: MemberName,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: MemberKind,
    /// The tablespace it lies in; `None` in the data directory.
    pub tablespace: Option<Oid>,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Last change of the content, in nanoseconds.
    pub mtime: Timestamp,
}

impl Member {
    fn new(
        name: MemberName,
        path: &Path,
        kind: MemberKind,
        tablespace: Option<Oid>,
        metadata: &Metadata,
    ) -> Result<Member, Error> {
        let mtime = i32::try_from(metadata.mtime_nsec())
            .ok()
            .and_then(|nanoseconds| Timestamp::new(metadata.mtime(), nanoseconds).ok())
            .ok_or_else(|| Error::Mtime { path: path.to_owned() })?;
        Ok(Member {
            name,
            path: path.to_owned(),
            kind,
            tablespace,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime,
        })
    }

    /// Bytes of a file at the time of the walk; 0 for anything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            MemberKind::File { size } => size,
            MemberKind::Directory | MemberKind::Symlink { .. } => 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(name: &str, kind: MemberKind, mtime: Timestamp) -> Member {
        let path = PathBuf::from(name);
        let name = MemberName(name.to_owned());
        Member { name, path, kind, tablespace: None, mode: 0o600, uid: 0, gid: 0, mtime }
    }
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory; what is copied of its content has members of its own.
    Directory,
    /// A regular file.
    File {
        /// Bytes at the time of the walk.
        size: u64,
    },
    /// A symlink that is no tablespace.
    Symlink {
        /// Where it leads, as written in it.
        target: PathBuf,
        /// Whether a directory is there.
        is_directory: bool,
    },
}

/// The name of a member: a path below the data directory that starts with a slash, `/` for the directory itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName(String);

impl MemberName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> String {
        name.0
    }
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    /// Its OID, the name of its symlink.
    pub oid: Oid,
    /// Where the symlink leads, as written in it; of a backup, where the content is.
    pub target: PathBuf,
}

/// A walk under way, an iterator of what it finds.
#[derive(Debug)]
pub struct Walk {
    first: vec::IntoIter<Found>,
    levels: Vec<Level>,
    exclude: Vec<PathBuf>,
    tablespace_directory: Option<String>,
    backup: Option<Vec<Tablespace>>,
}

impl Iterator for Walk {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(found) = self.first.next() {
            return Some(Ok(found));
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let entry = Entry {
                path: level.path.join(&name),
                member: format!("{}/{name}", level.member),
                place: level.place,
                tablespace: level.tablespace,
                is_unlogged: level.unlogged.own(&name),
                name,
            };
            match self.visit(entry) {
                Ok(None) => continue,
                Ok(Some(found)) => return Some(Ok(found)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Walk {
    fn visit(&mut self, entry: Entry) -> Result<Option<Found>, Error> {
        if self.exclude.contains(&entry.path)
            || (entry.is_unlogged || self.leaves_out(&entry))
            || self.is_foreign_version(&entry)
        {
            tracing::debug!(path = %entry.path.display(), "left out of the backup");
            return Ok(None);
        }
        let Some(metadata) = unless_gone(fs::symlink_metadata(&entry.path), "look at", &entry.path)? else {
            return Ok(None);
        };
        let file_type = metadata.file_type();
        let kind = if entry.place.keeps_empty(&entry.name) && (file_type.is_dir() || file_type.is_symlink()) {
            let behind = fs::metadata(&entry.path).unwrap_or(metadata);
            let mut directory = entry.into_member(MemberKind::Directory, &behind)?;
            if !behind.is_dir() {
                directory.mode = 0o700;
            }
            return Ok(Some(Found::Member(directory)));
        } else if file_type.is_symlink() {
            let link = fs::read_link(&entry.path);
            let Some(target) = unless_gone(link, "read symlink", &entry.path)? else { return Ok(None) };
            if let (Place::Tablespaces, Some(oid)) = (entry.place, Oid::parse(&entry.name)) {
                return self.enter_tablespace(entry, oid, target);
            }
            tracing::warn!(path = %entry.path.display(), "a symlink: what it leads to is not in the backup");
            let is_directory = fs::metadata(&entry.path).is_ok_and(|behind| behind.is_dir());
            MemberKind::Symlink { target, is_directory }
        } else if file_type.is_dir() {
            let place = entry.place.below(&entry.name);
            let (member, path) = (entry.member.clone(), entry.path.clone());
            self.levels.push(Level::open(place, entry.tablespace, member, path)?);
            MemberKind::Directory
        } else if file_type.is_file() {
            MemberKind::File { size: metadata.len() }
        } else {
            let kind = if file_type.is_socket() { "socket" } else { "pipe or device" };
            tracing::warn!(path = %entry.path.display(), kind, "left out of the backup: not a file");
            return Ok(None);
        };
        entry.into_member(kind, &metadata).map(|member| Some(Found::Member(member)))
    }

    fn enter_tablespace(&mut self, entry: Entry, oid: Oid, target: PathBuf) -> Result<Option<Found>, Error> {
        let Some(path) = unless_gone(fs::canonicalize(&entry.path), "resolve tablespace", &entry.path)?
        else {
            tracing::warn!(tablespace = %oid, target = %target.display(), "left out of the backup: no such directory");
            return Ok(None);
        };
        self.levels.push(Level::open(Place::Tablespace, Some(oid), entry.member, path)?);
        Ok(Some(Found::Tablespace(Tablespace { oid, target })))
    }

    fn leaves_out(&self, entry: &Entry) -> bool {
        let Some(tablespaces) = &self.backup else { return entry.place.leaves_out(&entry.name) };
        if entry.place == Place::Tablespaces
            && let Some(oid) = Oid::parse(&entry.name)
        {
            return entry.path.is_symlink() || tablespaces.iter().any(|tablespace| tablespace.oid == oid);
        }
        entry.place.leaves_out(&entry.name) && !entry.place.is_of_a_backup(&entry.name)
    }

    fn is_foreign_version(&self, entry: &Entry) -> bool {
        let own = self.tablespace_directory.as_ref();
        entry.place == Place::Tablespace && own.is_some_and(|own| *own != entry.name)
    }
}

/// A directory being walked.
#[derive(Debug)]
struct Level {
    place: Place,
    tablespace: Option<Oid>,
    /// The directory's name in the backup, empty for the data directory itself.
    member: String,
    path: PathBuf,
    entries: vec::IntoIter<String>,
    unlogged: UnloggedRelations,
}

impl Level {
    /// Lists a directory; one that is gone by now is empty.
    fn open(place: Place, tablespace: Option<Oid>, member: String, path: PathBuf) -> Result<Level, Error> {
        let mut entries = Vec::new();
        for entry in unless_gone(fs::read_dir(&path), "list directory", &path)?.into_iter().flatten() {
            let name = entry.map_err(|source| Error::io("list directory", &path, source))?.file_name();
            match name.into_string() {
                Ok(name) => entries.push(name),
                // Documents of backups are JSON.
                Err(name) => {
                    let path = path.join(name);
                    tracing::warn!(path = %path.display(), "left out of the backup: its name is not UTF-8, so it is none of PostgreSQL's");
                }
            }
        }
        entries.sort_unstable();
        let unlogged = UnloggedRelations::in_directory(place, &entries);
        Ok(Level { place, tablespace, member, path, entries: entries.into_iter(), unlogged })
    }

    /// The content of a tablespace that no link leads to.
    fn of_tablespace(tablespace: &Tablespace) -> Result<Level, Error> {
        let Tablespace { oid, target } = tablespace;
        let path =
            fs::canonicalize(target).map_err(|source| Error::io("resolve tablespace", target, source))?;
        Level::open(Place::Tablespace, Some(*oid), format!("/pg_tblspc/{oid}"), path)
    }
}

fn unless_gone<T>(result: io::Result<T>, action: &'static str, path: &Path) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), "gone before it could be copied");
            Ok(None)
        }
        Err(source) => Err(Error::io(action, path, source)),
    }
}

/// One name in a directory being walked.
struct Entry {
    name: String,
    member: String,
    path: PathBuf,
    place: Place,
    tablespace: Option<Oid>,
    is_unlogged: bool,
}

impl Entry {
    fn into_member(self, kind: MemberKind, metadata: &Metadata) -> Result<Member, Error> {
        Member::new(MemberName(self.member), &self.path, kind, self.tablespace, metadata)
    }
}

/// Why a data directory cannot be walked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filesystem refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file's time of change is outside the years -9999 to 9999.
    #[error("time of last change of {}: out of range", path.display())]
    Mtime {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { action, path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
