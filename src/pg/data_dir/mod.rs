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
}

/// Starts a walk.
///
/// The items come lazily; an item's error names the path and ends nothing, the caller decides. What disappears
/// between listing and looking is passed over, as a running server removes files at any time.
/// Fails if `data_dir` itself cannot be read.
pub fn walk(data_dir: &Path, rules: &WalkRules) -> Result<Walk, Error> {
    let root = fs::canonicalize(data_dir).map_err(|source| Error::io("resolve", data_dir, source))?;
    let metadata = fs::metadata(&root).map_err(|source| Error::io("look at", &root, source))?;
    let first = Member::new(MemberName(String::from("/")), &root, MemberKind::Directory, None, &metadata)?;
    let top = Level::open(Place::Top, None, String::new(), root)?;
    Ok(Walk {
        first: Some(first),
        levels: vec![top],
        exclude: rules
            .exclude
            .iter()
            .map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
            .collect(),
        tablespace_directory: rules.tablespace_directory.clone(),
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
    /// Where the symlink leads, as written in it.
    pub target: PathBuf,
}

/// A walk under way, an iterator of what it finds.
#[derive(Debug)]
pub struct Walk {
    first: Option<Member>,
    levels: Vec<Level>,
    exclude: Vec<PathBuf>,
    tablespace_directory: Option<String>,
}

impl Iterator for Walk {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.first.take() {
            return Some(Ok(Found::Member(root)));
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
            || (entry.is_unlogged || entry.place.leaves_out(&entry.name))
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
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::rules::{KEPT_EMPTY, LEFT_OUT};
    use super::*;

    /// Creates empty files below `root`, with their directories; a name that ends in a slash is a directory.
    fn plant(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "x").unwrap();
            }
        }
    }

    fn names(data_dir: &Path, rules: &WalkRules) -> Vec<String> {
        let describe = |found: Found| match found {
            Found::Tablespace(tablespace) => format!("tablespace {}", tablespace.oid),
            Found::Member(Member { name, kind, .. }) => match kind {
                MemberKind::Directory if name.as_str() == "/" => String::from("/"),
                MemberKind::Directory => format!("{name}/"),
                MemberKind::File { .. } => name.into(),
                MemberKind::Symlink { target, .. } => format!("{name} -> {}", target.display()),
            },
        };
        walk(data_dir, rules).unwrap().map(|found| describe(found.unwrap())).collect()
    }

    #[test]
    fn order_and_left_out_files() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        plant(
            top,
            &["PG_VERSION", "base/1/112", "base/1/113", "base/4/1", "global/1262", "global/pg_control"],
        );
        plant(top, &["base/1/pg_internal.init", "global/pg_internal.init.77", "pg_xact/0000"]);
        plant(top, &LEFT_OUT);
        for kept_empty in KEPT_EMPTY {
            plant(top, &[&format!("{kept_empty}/content/deep")]);
        }
        plant(
            top,
            &["base/pgsql_tmp/pgsql_tmp1.0", "base/pgsql_tmp2/x", "pgsql_tmp9", "ext/log/standby.signal"],
        );

        let mut expected = vec![
            "/",
            "/PG_VERSION",
            "/base/",
            "/base/1/",
            "/base/1/112",
            "/base/1/113",
            "/base/4/",
            "/base/4/1",
            "/base/pgsql_tmp/",
            "/ext/",
            "/ext/log/",
            "/ext/log/standby.signal",
            "/global/",
            "/global/1262",
        ];
        let kept_empty = KEPT_EMPTY.map(|name| format!("/{name}/"));
        expected.extend(kept_empty.iter().map(String::as_str));
        expected.extend(["/pg_xact/", "/pg_xact/0000"]);
        expected.sort_unstable();
        assert_eq!(names(top, &WalkRules::default()), expected);
    }

    #[test]
    fn unlogged_and_temporary_relations() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), &["base/5/10", "base/5/10.1", "base/5/10_fsm", "base/5/10_vm", "base/5/10_init"]);
        plant(
            dir.path(),
            &["base/5/11", "base/5/11_fsm", "base/5/t3_12", "base/5/t3_12_fsm.1", "base/5/t_x"],
        );
        plant(dir.path(), &["other/10", "other/10_init", "other/t3_12"]);
        assert_eq!(
            names(dir.path(), &WalkRules::default()),
            [
                "/",
                "/base/",
                "/base/5/",
                "/base/5/10_init",
                "/base/5/11",
                "/base/5/11_fsm",
                "/base/5/t_x",
                "/other/",
                "/other/10",
                "/other/10_init",
                "/other/t3_12"
            ]
        );
    }

    #[test]
    fn symlinks_and_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let (data, elsewhere) = (dir.path().join("data"), dir.path().join("wal"));
        plant(&data, &["PG_VERSION"]);
        plant(&elsewhere, &["000000010000000000000001"]);
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o750)).unwrap();
        symlink(&elsewhere, data.join("pg_wal")).unwrap();
        symlink("nowhere", data.join("pg_stat_tmp")).unwrap();
        symlink("/etc/pg_hba.conf", data.join("pg_hba.conf")).unwrap();
        let _listener = UnixListener::bind(data.join(".s.PGSQL.5432")).unwrap();
        assert_eq!(
            names(&data, &WalkRules::default()),
            ["/", "/PG_VERSION", "/pg_hba.conf -> /etc/pg_hba.conf", "/pg_stat_tmp/", "/pg_wal/"]
        );
        let modes: Vec<u32> = walk(&data, &WalkRules::default())
            .unwrap()
            .filter_map(|found| match found.unwrap() {
                Found::Member(member) if member.name.as_str().starts_with("/pg_") => Some(member.mode),
                _ => None,
            })
            .collect();
        assert_eq!(modes, [0o777, 0o700, 0o750]);
    }

    #[test]
    fn tablespaces() {
        let dir = tempfile::tempdir().unwrap();
        let (data, fast) = (dir.path().join("data"), dir.path().join("fast"));
        plant(&data, &["pg_tblspc/17000/PG_15_202209061/5/17001"]);
        plant(
            &fast,
            &["PG_15_202209061/5/16390", "PG_15_202209061/5/t1_2", "PG_15_202209061/pgsql_tmp/pgsql_tmp1.0"],
        );
        plant(&fast, &["PG_14_202107181/5/16390", "stray"]);
        symlink(&fast, data.join("pg_tblspc/16384")).unwrap();
        symlink(dir.path().join("gone"), data.join("pg_tblspc/16385")).unwrap();

        let every_version = names(&data, &WalkRules::default());
        let own = WalkRules { tablespace_directory: Some("PG_15_202209061".into()), ..WalkRules::default() };
        let own_version = names(&data, &own);
        assert_eq!(
            own_version,
            [
                "/",
                "/pg_tblspc/",
                "tablespace 16384",
                "/pg_tblspc/16384/PG_15_202209061/",
                "/pg_tblspc/16384/PG_15_202209061/5/",
                "/pg_tblspc/16384/PG_15_202209061/5/16390",
                "/pg_tblspc/16384/PG_15_202209061/pgsql_tmp/",
                "/pg_tblspc/17000/",
                "/pg_tblspc/17000/PG_15_202209061/",
                "/pg_tblspc/17000/PG_15_202209061/5/",
                "/pg_tblspc/17000/PG_15_202209061/5/17001",
            ]
        );
        assert_eq!(every_version.len(), own_version.len() + 4);

        let found: Vec<Found> = walk(&data, &own).unwrap().map(Result::unwrap).collect();
        let target = Tablespace { oid: Oid::new(16384).unwrap(), target: fast.clone() };
        assert!(found.contains(&Found::Tablespace(target)));
        let path = fast.canonicalize().unwrap().join("PG_15_202209061/5/16390");
        assert!(found.iter().any(|found| matches!(found, Found::Member(member) if member.path == path)));
    }

    #[test]
    fn an_archive_inside_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), &["archive/wal_005/x", "archived", "deep/archive/y"]);
        let rules = WalkRules {
            exclude: vec![dir.path().join("archive"), dir.path().join("absent")],
            ..WalkRules::default()
        };
        assert_eq!(
            names(dir.path(), &rules),
            ["/", "/archived", "/deep/", "/deep/archive/", "/deep/archive/y"]
        );
    }

    #[test]
    fn size_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("PG_VERSION");
        fs::write(&path, "15\n").unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let Some(Ok(Found::Member(member))) = walk(dir.path(), &WalkRules::default()).unwrap().nth(1) else {
            panic!("a member")
        };
        assert_eq!(member.kind, MemberKind::File { size: 3 });
        assert_eq!(member.mtime, Timestamp::new(1_700_000_000, 123_456_789).unwrap());
    }

    #[test]
    fn names_that_are_not_utf8_are_left_out_and_failures_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("odd")).unwrap();
        let odd = dir.path().canonicalize().unwrap().join("odd").join(OsStr::from_bytes(b"\xFF"));
        fs::write(&odd, "").unwrap();
        assert!(walk(dir.path(), &WalkRules::default()).unwrap().all(|found| found.is_ok()));

        let missing = dir.path().join("missing");
        let error = walk(&missing, &WalkRules::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("resolve {}: No such file", missing.display())), "{error}");
    }
}
