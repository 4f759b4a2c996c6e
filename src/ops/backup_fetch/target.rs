//! The directory that a backup is restored into.
//!
//! While tars are extracted there is no symbolic link below it that was not there before, and it was empty: so a checked
//! relative path cannot lead out. Links are made when everything else is in place, none of them behind another one, and
//! nothing is written through them: `pg_control` goes into a directory that was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::durable::{self, DurableFile};
use crate::layout::walg::TablespaceSpec;
use crate::ops::Error;
use crate::ops::error::RequestError;

use super::SyncFiles;
use super::extract::Control;
use super::recipient::Recipient;
use super::unfinished::{Unfinished, mark, remove_content, unmark};

/// Permissions of a data directory and of those in it (`PG_DIR_MODE_OWNER`, `common/file_perm.h`).
const DIRECTORY_MODE: u32 = 0o700;

/// An empty data directory, and empty places for its tablespaces.
#[derive(Debug)]
pub(super) struct Target {
    root: PathBuf,
    /// By OID.
    tablespaces: BTreeMap<String, PathBuf>,
    /// Links to make at the end.
    links: Mutex<BTreeMap<PathBuf, PathBuf>>,
    /// Tells others that this restore is under way.
    _lock: File,
}

impl Target {
    /// Makes sure that the directory and the places of the tablespaces are there and empty, but for what a restore that was
    /// killed has left in them, which is removed. Nothing is changed when one of them is not empty, or when two of them
    /// are one.
    pub fn prepare(root: &Path, tablespaces: BTreeMap<String, PathBuf>) -> Result<Target, Error> {
        let root = std::path::absolute(root).map_err(Error::file("open", root))?;
        let unfinished = Unfinished::look(&root)?;
        if unfinished.is_none() && !is_empty_or_absent(&root)? {
            return Err(Error::TargetNotEmpty { path: root });
        }
        let mut taken = BTreeMap::from([(real_path(&root)?, None)]);
        for (oid, location) in &tablespaces {
            if let Some(other) = taken.insert(real_path(location)?, Some(oid.clone())) {
                let (oid, location) = (oid.clone(), location.clone());
                return Err(RequestError::TablespacePlaceTaken { oid, location, other }.into());
            }
            let is_ours = match &unfinished {
                Some(unfinished) => unfinished.has(location, &root)?,
                None => false,
            };
            if !is_ours && !is_empty_or_absent(location)? {
                let (oid, location) = (oid.clone(), location.clone());
                return Err(RequestError::TablespaceNotEmpty { oid, location }.into());
            }
        }
        for directory in std::iter::once(&root).chain(tablespaces.values()) {
            durable::create_dir_all(directory, DIRECTORY_MODE)?;
            // PostgreSQL refuses a directory that others may enter.
            fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
                .map_err(Error::file("set the permissions of", directory))?;
        }
        if unfinished.is_some() {
            tracing::warn!("removing what an interrupted restore has left in {}", root.display());
            // The mark of the data directory goes last.
            for directory in tablespaces.values().chain([&root]) {
                remove_content(directory).map_err(Error::file("empty", directory))?;
            }
        }
        let Some(lock) = mark(&root, &root)? else {
            return Err(Error::TargetNotEmpty { path: root });
        };
        let target = Target { root, tablespaces, links: Mutex::default(), _lock: lock };
        target.mark_tablespaces()?;
        Ok(target)
    }

    /// Leaves no mark when it fails, that of the data directory included.
    fn mark_tablespaces(&self) -> Result<(), Error> {
        let mut marked = vec![&self.root];
        for (oid, location) in &self.tablespaces {
            let refused = match mark(location, &self.root) {
                Ok(Some(_)) => {
                    marked.push(location);
                    continue;
                }
                Ok(None) => {
                    let (oid, location) = (oid.clone(), location.clone());
                    RequestError::TablespaceNotEmpty { oid, location }.into()
                }
                Err(error) => error,
            };
            for directory in marked.into_iter().rev() {
                if let Err(error) = unmark(directory) {
                    tracing::warn!("{error}");
                }
            }
            return Err(refused);
        }
        Ok(())
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a member with this checked relative path goes.
    pub fn place(&self, path: &Path) -> PathBuf {
        let in_tablespace = path.strip_prefix("pg_tblspc").ok().and_then(|rest| {
            let oid = rest.iter().next()?.to_str()?;
            Some(self.tablespaces.get(oid)?.join(rest.strip_prefix(oid).ok()?))
        });
        in_tablespace.unwrap_or_else(|| self.root.join(path))
    }

    /// Remembers a link.
    pub fn link(&self, path: &Path, to: PathBuf) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), to);
    }

    /// Makes the links, gives everything to its owner if we are root, syncs it and writes `pg_control`, last and durably.
    ///
    /// [`RequestError::LinkBehindLink`] when a link lies where another one of the backup leads.
    pub fn complete(&self, control: &Control, sync: SyncFiles) -> Result<(), Error> {
        // No link can take its place any more.
        durable::create_dir_all(&self.root.join("global"), DIRECTORY_MODE)?;
        self.make_links()?;
        // wal-g omits it when it was a link to another volume.
        for needed in ["pg_wal", "pg_tblspc"] {
            let path = self.root.join(needed);
            durable::create_dir_all(&path, DIRECTORY_MODE)?;
        }
        let recipient = control.owner.as_ref().and_then(Recipient::of).filter(|it| self.give_to(*it));
        if sync == SyncFiles::Yes {
            self.sync_file_systems()?;
        }
        let path = self.root.join("global/pg_control");
        let mut file = DurableFile::create(&path, 0o600)?;
        file.write_all(&control.content).map_err(Error::file("write", &path))?;
        if let Some(recipient) = recipient {
            recipient.give_open(file.file()).map_err(Error::file("give away", &path))?;
        }
        file.commit()?;
        for directory in self.tablespaces.values().chain([&self.root]) {
            unmark(directory)?;
        }
        Ok(())
    }

    /// Whether all went. It may not: root of a container without `CAP_CHOWN`, file systems that know no owners.
    fn give_to(&self, recipient: Recipient) -> bool {
        let mut directories = self.tablespaces.values().chain([&self.root]);
        let given = directories.try_for_each(|directory| recipient.give(directory));
        if let Err(error) = &given {
            let root = self.root.display();
            tracing::warn!(
                "what was restored into {root} stays root's, PostgreSQL will not start on it: {error}"
            );
        }
        given.is_ok()
    }

    fn make_links(&self) -> Result<(), Error> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        for link in links.keys() {
            if let Some(other) = link.ancestors().skip(1).find(|above| links.contains_key(*above)) {
                let (link, other) = (link.clone(), other.to_owned());
                return Err(RequestError::LinkBehindLink { link, other }.into());
            }
        }
        for (oid, location) in &self.tablespaces {
            let link = self.root.join(TablespaceSpec::link(oid));
            durable::create_dir_all(&self.root.join("pg_tblspc"), DIRECTORY_MODE)?;
            symlink(location, &link).map_err(Error::file("link", &link))?;
        }
        for (path, to) in &*links {
            let link = self.place(path);
            // wal-g stores a link's own name for its target: where it led is lost.
            if Some(to.as_os_str()) == path.file_name() {
                tracing::warn!(link = %path.display(), "not restored: the backup does not tell where the link led");
                continue;
            }
            match symlink(to, &link) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    tracing::warn!(link = %path.display(), "not restored: something else is there");
                }
                Err(error) => return Err(Error::file("link", &link)(error)),
            }
        }
        Ok(())
    }

    /// Writes everything back to disk, one call for each file system.
    fn sync_file_systems(&self) -> Result<(), Error> {
        use std::os::unix::fs::MetadataExt;
        let mut synced = BTreeSet::new();
        for directory in std::iter::once(&self.root).chain(self.tablespaces.values()) {
            let file = fs::File::open(directory).map_err(Error::file("open", directory))?;
            let device = file.metadata().map_err(Error::file("read", directory))?.dev();
            if synced.insert(device) {
                rustix::fs::syncfs(&file)
                    .map_err(io::Error::from)
                    .map_err(Error::file("sync the file system of", directory))?;
            }
        }
        Ok(())
    }

    /// Leaves the directory and the places of the tablespaces empty, as they were found.
    pub fn remove_everything(&self) {
        for directory in self.tablespaces.values().chain([&self.root]) {
            if let Err(error) = remove_content(directory) {
                tracing::warn!("cannot remove what was restored into {}: {error}", directory.display());
            }
        }
    }
}

/// The path without symbolic links, as far as it exists.
fn real_path(path: &Path) -> Result<PathBuf, Error> {
    for existing in path.ancestors() {
        match existing.canonicalize() {
            Ok(real) => return Ok(path.strip_prefix(existing).map_or(real.clone(), |rest| real.join(rest))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("open", path)(error)),
        }
    }
    Ok(path.to_owned())
}

fn is_empty_or_absent(directory: &Path) -> Result<bool, Error> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::file("read", directory)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Class;

    fn control() -> Control {
        Control { order: 0, content: b"control".to_vec(), owner: None }
    }

    #[test]
    fn members_of_tablespaces_go_to_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let (root, space) = (dir.path().join("data"), dir.path().join("space"));
        let target = Target::prepare(&root, BTreeMap::from([("16384".to_owned(), space.clone())])).unwrap();
        for (path, place) in [
            ("base/1/2", root.join("base/1/2")),
            ("pg_tblspc/16384/PG_15/5/1", space.join("PG_15/5/1")),
            ("pg_tblspc/16384", space.join("")),
            ("pg_tblspc/16385/PG_15/5/1", root.join("pg_tblspc/16385/PG_15/5/1")),
            ("pg_tblspc", root.join("pg_tblspc")),
        ] {
            assert_eq!(target.place(Path::new(path)), place, "{path}");
        }
    }

    #[test]
    fn no_link_leads_anything_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let at = |place: &str| dir.path().join(place);
        let victim = at("victim");
        fs::create_dir(&victim).unwrap();
        let links = |target: &Target, paths: &[&str]| {
            for path in paths {
                target.link(Path::new(path), victim.clone());
            }
        };
        let prepare = |name: &str| {
            Target::prepare(&at(name), BTreeMap::from([("16384".to_owned(), at(&format!("{name}.space")))]))
                .unwrap()
        };
        let target = prepare("data");
        links(&target, &["global", "pg_tblspc", "pg_wal", "base.link", "pg_tblspc/16384/link"]);
        let error = target.complete(&control(), SyncFiles::No).unwrap_err();
        assert_eq!(error.class(), Class::Integrity);
        assert_eq!(
            error.to_string(),
            "the backup has the link `pg_tblspc/16384/link` behind the link `pg_tblspc`, which leads elsewhere"
        );
        let target = prepare("again");
        links(&target, &["global", "pg_wal", "base.link", "pg_tblspc/16384/link"]);
        target.complete(&control(), SyncFiles::No).unwrap();
        assert_eq!(fs::read(at("again/global/pg_control")).unwrap(), b"control");
        assert!(!at("again/global").is_symlink());
        for link in ["again/pg_wal", "again/base.link", "again.space/link"] {
            assert_eq!(fs::read_link(at(link)).unwrap(), victim, "{link}");
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_restore_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, space) = (dir.path().join("data"), dir.path().join("space"));
        let prepare = || Target::prepare(&root, BTreeMap::from([("16384".to_owned(), space.clone())]));
        let restored = || {
            fs::create_dir_all(root.join("base/1")).unwrap();
            fs::write(root.join("base/1/2"), b"half").unwrap();
            fs::write(space.join("3"), b"half").unwrap();
        };
        let target = prepare().unwrap();
        restored();
        assert!(matches!(prepare(), Err(Error::TargetNotEmpty { .. })), "it is under way");
        drop(target);
        let target = prepare().unwrap();
        assert!(!root.join("base").exists() && !space.join("3").exists());
        restored();
        target.complete(&control(), SyncFiles::No).unwrap();
        assert!(fs::read_dir(&root).unwrap().all(|entry| entry.unwrap().file_type().unwrap().is_dir()));
        assert!(matches!(prepare(), Err(Error::TargetNotEmpty { .. })));

        // A cluster is never taken for an unfinished restore, nor is a place that the restore did not use.
        drop(mark(&root, &root).unwrap());
        assert!(matches!(prepare(), Err(Error::TargetNotEmpty { .. })));
        fs::remove_file(root.join("global/pg_control")).unwrap();
        let refused = || {
            assert!(matches!(prepare(), Err(Error::Request(RequestError::TablespaceNotEmpty { .. }))));
            assert_eq!(fs::read(space.join("3")).unwrap(), b"half");
            assert_eq!(fs::read(root.join("base/1/2")).unwrap(), b"half");
        };
        refused();
        drop(mark(&space, &dir.path().join("another")).unwrap());
        refused();
        unmark(&space).unwrap();
        drop(mark(&space, &root).unwrap());
        assert!(mark(&space, &root).unwrap().is_none(), "one is there");
        drop(prepare().unwrap());
        assert!(!space.join("3").exists());
    }

    #[test]
    fn what_is_not_empty_is_refused_and_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let (root, space) = (dir.path().join("data"), dir.path().join("space"));
        fs::create_dir(&space).unwrap();
        fs::write(space.join("file"), b"x").unwrap();
        let tablespaces = BTreeMap::from([("16384".to_owned(), space.clone())]);
        assert!(matches!(
            Target::prepare(&root, tablespaces),
            Err(Error::Request(RequestError::TablespaceNotEmpty { .. }))
        ));
        assert!(!root.exists());
        assert!(matches!(Target::prepare(&space, BTreeMap::new()), Err(Error::TargetNotEmpty { .. })));
        assert_eq!(fs::read(space.join("file")).unwrap(), b"x");
    }

    #[test]
    fn what_is_no_directory_is_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let (file, dangling) = (dir.path().join("file"), dir.path().join("dangling"));
        fs::write(&file, b"x").unwrap();
        symlink("nowhere", &dangling).unwrap();
        for place in [&file, &dangling, &file.join("data")] {
            let error = Target::prepare(place, BTreeMap::new()).unwrap_err();
            assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("name another place")), "{error}");
        }
        assert_eq!(fs::read(file).unwrap(), b"x");
    }

    #[test]
    fn two_things_in_one_place_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("linked")).unwrap();
        let (root, at) = (dir.path().join("data"), |place: &str| dir.path().join(place));
        for (places, refused, occupant) in [
            ([at("space"), at("space/")], "16385", "tablespace 16384"),
            ([at("real/space"), at("linked/space")], "16385", "tablespace 16384"),
            ([at("real"), at("./linked")], "16385", "tablespace 16384"),
            ([at("data"), at("space")], "16384", "the data directory"),
        ] {
            let [first, second] = places;
            let tablespaces = BTreeMap::from([("16384".to_owned(), first), ("16385".to_owned(), second)]);
            let error = Target::prepare(&root, tablespaces).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(&format!("tablespace {refused} cannot be restored to")), "{text}");
            assert!(text.ends_with(&format!("{occupant} goes there")), "{text}");
            assert!(error.hint().is_some());
            assert!(!root.exists() && !dir.path().join("space").exists());
        }
    }

    #[test]
    fn a_failed_restore_leaves_the_directory_empty() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::prepare(dir.path(), BTreeMap::new()).unwrap();
        fs::create_dir_all(dir.path().join("base/1")).unwrap();
        fs::write(dir.path().join("base/1/2"), b"x").unwrap();
        target.remove_everything();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
