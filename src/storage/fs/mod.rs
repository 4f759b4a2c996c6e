//! A directory as a bucket, durable: `WALG_FILE_PREFIX`.
//!
//! The root must exist already: an archive that is not mounted must not be filled up under its mount point, nor be
//! taken for an empty one. Objects are plain files. A file is written beside its final place and renamed:
//!
//! | step | why |
//! |---|---|
//! | create `<name>.tmp.<YYYYMMDDTHHMMSSZ>-<16 hex>` | the suffix of wal-g (`folder.go`), so both tools skip such files in listings |
//! | write, fsync | the content is on disk before the name is |
//! | rename, or link when nothing may be replaced | a reader sees the whole file or none |
//! | fsync the directory, and once in a process those above it | the name is on disk too |
//!
//! File modes follow the umask, new directories have mode 0755 as with wal-g. Reading never creates a directory.
//! A process that is killed leaves its temporary file; [`Storage::unfinished_page`] finds those.
//! Deleting removes parent directories that became empty, up to the root. Blocking calls run on tokio's blocking
//! threads.

mod check;
mod look;
mod new_file;
mod unfinished;
mod upload;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};

pub use self::check::DirectoryCheck;
use self::new_file::{NewFile, Wanted, is_temporary, sync_directory};
use self::upload::FileUpload;
use super::{
    Body, DeleteReport, Depth, ETag, Error, ErrorKind, Key, Limits, ListPage, Location, ObjectMeta,
    PART_BYTES, PageToken, Prefix, PutMode, PutOutcome, Result, Storage, Unfinished, UnfinishedPage, Upload,
};

/// Bytes of one chunk of a body.
const CHUNK_BYTES: usize = 256 * 1024;
/// A page of a listing is full when it has this many entries; the directory being read is still finished.
const PAGE_ENTRIES: usize = 1000;

/// A directory that keeps objects as files.
#[derive(Debug, Clone)]
pub struct Directory {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    /// Must exist; is created only when asked for, and never removed.
    root: PathBuf,
    /// Below the root, ends in a slash or is empty.
    prefix: Prefix,
    location: Location,
    /// Directories that this process knows to be there after a crash.
    durable: Mutex<BTreeSet<PathBuf>>,
}

/// What was being done, for messages.
#[derive(Clone, Copy)]
struct Step<'a> {
    action: &'static str,
    key: Option<&'a Key>,
}

impl Directory {
    /// The objects below `prefix` in the directory `root`. Touches nothing yet.
    pub fn new(root: impl Into<PathBuf>, prefix: Prefix) -> Directory {
        let root = root.into();
        let shown = root.join(prefix.as_str()).display().to_string();
        let location = Location::new(shown.trim_end_matches('/'));
        let durable = Mutex::default();
        Directory { place: Arc::new(Place { root, prefix, location, durable }) }
    }
}

impl Storage for Directory {
    fn location(&self) -> &Location {
        &self.place.location
    }

    fn limits(&self) -> Limits {
        Limits {
            part_bytes: PART_BYTES,
            max_parts: 10_000,
            delete_batch: 1000,
            conditional_put: true,
            shares_parts: false,
        }
    }

    fn exists(&self) -> BoxFuture<'_, Result<bool>> {
        let place = self.place.clone();
        blocking(move || place.root_exists()).boxed()
    }

    fn create(&self) -> BoxFuture<'_, Result<()>> {
        let place = self.place.clone();
        blocking(move || place.create_root()).boxed()
    }

    fn head<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ObjectMeta>>> {
        let (place, key) = (self.place.clone(), key.clone());
        blocking(move || place.head(&key)).boxed()
    }

    fn get<'a>(
        &'a self,
        key: &'a Key,
        from: u64,
        if_match: Option<&'a ETag>,
    ) -> BoxFuture<'a, Result<Option<Body>>> {
        let (place, key, if_match) = (self.place.clone(), key.clone(), if_match.cloned());
        async move {
            let opening = place.clone();
            let opened = blocking(move || opening.open(&key, from, if_match.as_ref())).await?;
            Ok(opened.map(|(meta, file)| body(place, meta, file, from)))
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, body: Bytes, mode: PutMode) -> BoxFuture<'a, Result<PutOutcome>> {
        let (place, key) = (self.place.clone(), key.clone());
        publishing(move |wanted| {
            let mut new = NewFile::create(place, key, "put")?;
            new.write(&body)?;
            new.publish(mode, wanted)
        })
        .boxed()
    }

    fn start_upload<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Box<dyn Upload>>> {
        let (place, key) = (self.place.clone(), key.clone());
        blocking(move || {
            let upload = FileUpload::start(place, key)?;
            Ok(Box::new(upload) as Box<dyn Upload>)
        })
        .boxed()
    }

    fn list_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        depth: Depth,
        from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<ListPage>> {
        let (place, prefix, from) = (self.place.clone(), prefix.clone(), from.cloned());
        blocking(move || place.list_page(&prefix, depth, from)).boxed()
    }

    fn settle<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<()>> {
        let (place, key) = (self.place.clone(), key.clone());
        blocking(move || place.settle(&key)).boxed()
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<DeleteReport>> {
        let (place, keys) = (self.place.clone(), keys.to_vec());
        blocking(move || place.delete(&keys)).boxed()
    }

    fn unfinished_page<'a>(
        &'a self,
        prefix: &'a Prefix,
        _from: Option<&'a PageToken>,
    ) -> BoxFuture<'a, Result<UnfinishedPage>> {
        let (place, prefix) = (self.place.clone(), prefix.clone());
        blocking(move || place.unfinished(&prefix)).boxed()
    }

    fn remove_unfinished<'a>(&'a self, unfinished: &'a Unfinished) -> BoxFuture<'a, Result<()>> {
        let (place, unfinished) = (self.place.clone(), unfinished.clone());
        blocking(move || place.remove_unfinished(&unfinished)).boxed()
    }
}

/// Runs blocking file calls beside the async world.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being torn down drops a task that has not begun.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs what ends in giving a file its name. Once the future is dropped, the file has its name or never gets it.
async fn publishing(work: impl FnOnce(&Wanted) -> Result<PutOutcome> + Send + 'static) -> Result<PutOutcome> {
    let asked = WhileAwaited(Arc::default());
    let wanted = asked.0.clone();
    blocking(move || work(&wanted)).await
}

/// Takes the wish back when it is dropped.
struct WhileAwaited(Arc<Wanted>);

impl Drop for WhileAwaited {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// The rest of an open file, chunk by chunk.
fn body(place: Arc<Place>, meta: ObjectMeta, file: File, from: u64) -> Body {
    let key = meta.key.clone();
    let left = meta.size.saturating_sub(from);
    let stream = stream::try_unfold((file, left), move |(mut file, left)| {
        let (place, key) = (place.clone(), key.clone());
        async move {
            if left == 0 {
                return Ok(None);
            }
            let step = Step { action: "get", key: Some(&key) };
            let read = blocking(move || {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                Read::by_ref(&mut file).take(left.min(CHUNK_BYTES as u64)).read_to_end(&mut chunk)?;
                Ok((file, chunk))
            })
            .await;
            let (file, chunk) =
                read.map_err(|error: io::Error| place.failed(step, &place.path(&key), &error))?;
            if chunk.is_empty() {
                let detail = format!("the file ended {left} bytes early: it was cut while it was being read");
                return Err(Error::new(ErrorKind::Changed, "get", Some(&key), &place.location, detail));
            }
            let left = left.saturating_sub(chunk.len() as u64);
            Ok(Some((Bytes::from(chunk), (file, left))))
        }
    });
    Body { meta, stream: stream.boxed() }
}

impl Place {
    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(format!("{}{key}", self.prefix))
    }

    /// The path of a key that can be a file here.
    fn checked_path(&self, step: Step<'_>, key: &Key) -> Result<PathBuf> {
        let refuse = |reason: &str| {
            Err(Error::new(ErrorKind::Invalid, step.action, Some(key), &self.location, reason))
        };
        if key.as_str().contains("//") {
            return refuse("a directory cannot keep a name with an empty component");
        }
        if is_temporary(key.file_name()) {
            return refuse("the name looks like that of an unfinished file, which listings skip");
        }
        Ok(self.path(key))
    }

    fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let step = Step { action: "head", key: Some(key) };
        let path = self.checked_path(step, key)?;
        match self.find(step, &path, || std::fs::metadata(&path))? {
            Some(metadata) if metadata.is_file() => Ok(Some(meta(key.clone(), &metadata))),
            Some(_) => Err(self.no_file(step, &path)),
            None => Ok(None),
        }
    }

    /// Syncs a file and all directories from it up to the root.
    fn settle(&self, key: &Key) -> Result<()> {
        let step = Step { action: "sync", key: Some(key) };
        let path = self.checked_path(step, key)?;
        let sync = || {
            File::open(&path)?.sync_all()?;
            let directories =
                path.ancestors().skip(1).take_while(|directory| directory.starts_with(&self.root));
            directories.into_iter().try_for_each(sync_directory)
        };
        sync().map_err(|error| self.failed(step, &path, &error))
    }

    fn open(&self, key: &Key, from: u64, if_match: Option<&ETag>) -> Result<Option<(ObjectMeta, File)>> {
        let step = Step { action: "get", key: Some(key) };
        let path = self.checked_path(step, key)?;
        let failed = |error| self.failed(step, &path, &error);
        // To open a FIFO is to wait for its writer.
        let open = || std::fs::metadata(&path)?.is_file().then(|| File::open(&path)).transpose();
        let mut file = match self.find(step, &path, open)? {
            Some(Some(file)) => file,
            Some(None) => return Err(self.no_file(step, &path)),
            None => return Ok(None),
        };
        let metadata = file.metadata().map_err(failed)?;
        let meta = meta(key.clone(), &metadata);
        if if_match.is_some() && if_match != meta.etag.as_ref() {
            let detail = "the file was replaced while it was being read";
            return Err(Error::new(ErrorKind::Changed, "get", Some(key), &self.location, detail));
        }
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        Ok(Some((meta, file)))
    }

    fn list_page(&self, prefix: &Prefix, depth: Depth, from: Option<PageToken>) -> Result<ListPage> {
        let key = Key::parse(prefix.as_str().trim_end_matches('/')).ok();
        let step = Step { action: "list", key: key.as_ref() };
        let mut pending = from.map_or_else(|| vec![prefix.as_str().to_owned()], |token| token.0);
        let mut page = ListPage::default();
        while let Some(directory) = pending.pop() {
            let found = self.read_directory(step, &directory, &mut page.objects)?;
            match depth {
                Depth::Children => page.prefixes = found,
                Depth::All => pending.extend(found.iter().rev().map(|child| child.as_str().to_owned())),
            }
            if page.objects.len() >= PAGE_ENTRIES && !pending.is_empty() {
                page.next = Some(PageToken(pending));
                break;
            }
        }
        Ok(page)
    }

    /// Adds the files of one directory, or those in it that begin with a stem, to `objects`; returns its
    /// subdirectories, sorted.
    fn read_directory(
        &self,
        step: Step<'_>,
        name: &str,
        objects: &mut Vec<ObjectMeta>,
    ) -> Result<Vec<Prefix>> {
        let (folder, stem) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
        let path = self.root.join(format!("{}{folder}", self.prefix));
        let failed = |error| self.failed(step, &path, &error);
        let Some(entries) = self.find(step, &path, || std::fs::read_dir(&path))? else {
            return Ok(Vec::new());
        };
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 is no key, so nobody stored it as one.
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            if is_temporary(&file_name) || !file_name.starts_with(stem) {
                continue;
            }
            // Links are followed: a part of an archive may live on another disk.
            let path = entry.path();
            let Some(metadata) = self.find(step, &path, || std::fs::metadata(&path))? else { continue };
            let full = format!("{folder}{file_name}");
            if metadata.is_dir() {
                children.extend(Prefix::parse(&full).ok());
            } else if metadata.is_file() {
                objects.extend(Key::parse(&full).ok().map(|key| meta(key, &metadata)));
            } else {
                return Err(self.no_file(step, &path));
            }
        }
        children.sort();
        Ok(children)
    }

    /// Removes files, then the directories that became empty, and makes that durable.
    fn delete(&self, keys: &[Key]) -> Result<DeleteReport> {
        self.check_root(Step { action: "delete", key: keys.first() })?;
        let mut report = DeleteReport::default();
        let mut touched = BTreeSet::new();
        for key in keys {
            let step = Step { action: "delete", key: Some(key) };
            let removed = self.checked_path(step, key).and_then(|path| {
                let remove = || match std::fs::remove_file(&path) {
                    Err(_) if path.is_dir() => Ok(false),
                    removed => removed.map(|()| true),
                };
                let removed = self.find(step, &path, remove)?.unwrap_or(false);
                Ok(removed.then_some(path))
            });
            match removed {
                Ok(path) => touched.extend(path.as_deref().and_then(Path::parent).map(Path::to_owned)),
                Err(error) => report.failed.push((key.clone(), error)),
            }
        }
        let left: BTreeSet<&Path> = touched.iter().filter_map(|directory| self.prune(directory)).collect();
        for directory in left {
            let synced = sync_directory(directory);
            synced.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) }).map_err(
                |error| self.failed(Step { action: "delete", key: keys.first() }, directory, &error),
            )?;
        }
        Ok(report)
    }

    /// Removes `directory` and its parents below the root as long as they are empty; the first one that stays.
    fn prune<'a>(&self, directory: &'a Path) -> Option<&'a Path> {
        directory.ancestors().find(|ancestor| {
            *ancestor == self.root || std::fs::remove_dir(ancestor).is_err_and(|e| !is_missing(&e))
        })
    }

    /// Creates the directories of `path` below the root; returns those whose entry must be made durable, from the
    /// deepest up. One that was there may be of a process that has not synced it yet.
    fn create_parents(&self, step: Step<'_>, path: &Path) -> Result<Vec<PathBuf>> {
        let below = path.parent().and_then(|parent| parent.strip_prefix(&self.root).ok());
        let mut unsynced = Vec::new();
        let mut directory = self.root.clone();
        for component in below.into_iter().flat_map(Path::components) {
            directory.push(component);
            if directory.is_dir() {
                if !self.durable_directories().contains(&directory) {
                    unsynced.push(directory.clone());
                }
                continue;
            }
            match DirBuilder::new().mode(0o755).create(&directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.failed_or_no_root(step, &directory, &error)),
            }
            unsynced.push(directory.clone());
        }
        unsynced.reverse();
        Ok(unsynced)
    }

    /// Makes the entry of a directory durable.
    fn sync_entry(&self, directory: &Path) -> io::Result<()> {
        directory.parent().map_or(Ok(()), sync_directory)?;
        self.durable_directories().insert(directory.to_owned());
        Ok(())
    }

    fn durable_directories(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root_exists(&self) -> Result<bool> {
        match self.check_root(Step { action: "look for", key: None }) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NoBucket => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes the root, but not its parent: that may be a file system which is not mounted.
    fn create_root(&self) -> Result<()> {
        let step = Step { action: "create", key: None };
        match DirBuilder::new().mode(0o755).create(&self.root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.check_root(step),
            Err(error) => return Err(self.failed(step, &self.root, &error)),
        }
        let parent = self.root.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        sync_directory(parent).map_err(|error| self.failed(step, parent, &error))
    }

    /// That the root exists, so that what was not found below it is missing indeed.
    fn check_root(&self, step: Step<'_>) -> Result<()> {
        match std::fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(self.no_root(step, "is not a directory")),
            Err(error) if is_missing(&error) => Err(self.no_root(step, "does not exist")),
            Err(error) => Err(self.failed(step, &self.root, &error)),
        }
    }

    fn no_root(&self, step: Step<'_>, why: &str) -> Error {
        let detail = format!("the directory `{}` {why}", self.root.display());
        Error::new(ErrorKind::NoBucket, step.action, step.key, &self.location, detail).with_hint(
            "create the directory, or mount it, or correct WALG_FILE_PREFIX; it is never created by itself",
        )
    }

    fn failed_or_no_root(&self, step: Step<'_>, path: &Path, error: &io::Error) -> Error {
        match self.check_root(step) {
            Err(no_root) if is_missing(error) => no_root,
            _ => self.failed(step, path, error),
        }
    }

    fn failed(&self, step: Step<'_>, path: &Path, error: &io::Error) -> Error {
        let detail = format!("`{}`: {error}", path.display());
        let failed = Error::new(ErrorKind::FileSystem, step.action, step.key, &self.location, detail);
        match hint(error, &self.root) {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }
}

fn hint(error: &io::Error, root: &Path) -> Option<String> {
    let root = root.display();
    match error.kind() {
        io::ErrorKind::StorageFull => Some(format!("free space on the file system of `{root}`")),
        io::ErrorKind::QuotaExceeded => Some(format!("raise the disk quota of this user for `{root}`")),
        io::ErrorKind::PermissionDenied => {
            Some(format!("this operating system user needs to read, write and search below `{root}`"))
        }
        io::ErrorKind::ReadOnlyFilesystem => Some(format!("mount the file system of `{root}` writable")),
        io::ErrorKind::InvalidFilename => Some("a file name has at most 255 bytes here".to_owned()),
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            Some(format!("see the kernel's log: the disk of `{root}` reported an error"))
        }
        _ => None,
    }
}

/// Nothing has that name; also when a component of the path is a file.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn meta(key: Key, metadata: &Metadata) -> ObjectMeta {
    let nanos = i32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    let modified = jiff::Timestamp::new(metadata.mtime(), nanos).unwrap_or_default();
    // A file is replaced by rename, so another content has another inode, or at least another time.
    let etag = format!("{}-{}-{}", metadata.ino(), metadata.size(), modified.as_nanosecond());
    ObjectMeta { key, size: metadata.size(), modified, etag: Some(ETag(etag)) }
}

#[cfg(test)]
mod tests;
