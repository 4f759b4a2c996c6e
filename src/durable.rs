//! Files and directories that survive a power cut.
//!
//! A file is written under a temporary name in its own directory, synced, given its final name, and then the
//! directory is synced. So at every moment, and after any crash, the final name is either what it was before or
//! the whole new file; once a commit has returned, it is the new file for good. A crash may leave the temporary
//! file, `.<name>.<process>-<number>.seawall-tmp`; [`remove_leftovers`] clears such files away.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A temporary file to which nothing was written for so long has lost its writer.
pub const LEFTOVER_AGE: Duration = Duration::from_secs(10 * 60);

/// How names of temporary files end.
const SUFFIX: &str = ".seawall-tmp";

/// A file being written; dropped without a commit it leaves nothing behind.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    temporary: TemporaryName,
    destination: PathBuf,
}

/// A step that failed, and on which path.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}", path = path.display())]
pub struct Error {
    /// What was attempted.
    action: &'static str,
    /// The file or directory.
    path: PathBuf,
    /// The system's error.
    source: io::Error,
}

impl Error {
    /// The system's error kind, for callers that treat a full disk or missing directory apart.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl DurableFile {
    /// Starts a file that is to become `destination`, with the permission bits `mode` (less the umask).
    ///
    /// # Errors
    /// The directory is missing or not writable.
    pub fn create(destination: &Path, mode: u32) -> Result<DurableFile, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        loop {
            let temporary = temporary_name(destination);
            match options.open(&temporary) {
                Ok(file) => {
                    return Ok(DurableFile {
                        file,
                        temporary: TemporaryName(Some(temporary)),
                        destination: destination.to_owned(),
                    });
                }
                // Left by a crash; the next name is another one.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed("create", &temporary)(e)),
            }
        }
    }

    /// The file under its temporary name, for what [`Write`] cannot do.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Durably makes this the file at the destination, replacing one that is there.
    ///
    /// # Errors
    /// On an error before the replacement the old file stays; after a failed sync of the directory it is open which
    /// of the two a crash would leave.
    pub fn commit(mut self) -> Result<(), Error> {
        self.sync()?;
        if let Some(temporary) = self.temporary.0.take() {
            fs::rename(&temporary, &self.destination).map_err(|e| {
                self.temporary.0 = Some(temporary);
                failed("rename a temporary file to", &self.destination)(e)
            })?;
        }
        sync_dir(parent(&self.destination))
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(failed("sync", &self.destination))
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Durably creates a directory and its missing parents, each with the permission bits `mode` (less the umask).
///
/// A directory that exists already keeps its permissions and is not synced.
///
/// # Errors
/// A parent cannot be written, or a part of the path is no directory.
pub fn create_dir_all(path: &Path, mode: u32) -> Result<(), Error> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    create_dir_all(parent(path), mode)?;
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_dir(parent(path)),
        // Someone else was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(failed("create directory", path)(e)),
    }
}

/// Makes the names in a directory durable: files created, renamed or removed in it before stay so after a crash.
///
/// # Errors
/// The directory is missing or its file system fails.
pub fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync directory", path))
}

/// Whether `name` is the name of a file that was never finished; nobody needs it once its writer is gone.
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix('.')
        .and_then(|name| name.strip_suffix(SUFFIX))
        .and_then(|name| name.rsplit_once('.'))
        .and_then(|(_, writer)| writer.split_once('-'))
        .is_some_and(|(process, number)| digits(process) && digits(number))
}

/// Removes what writers that were killed have left in a directory: temporary files to which nothing was written for
/// `age`. One that cannot be removed only takes space.
pub fn remove_leftovers(directory: &Path, age: Duration) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_old = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            modified.is_ok_and(|time| time.elapsed().is_ok_and(|passed| passed > age))
        };
        if entry.file_name().to_str().is_some_and(is_temporary) && is_old() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the file unless the name was taken out of it.
#[derive(Debug)]
struct TemporaryName(Option<PathBuf>);

impl Drop for TemporaryName {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // A leftover does no harm, and there is nobody to tell.
            let _ = fs::remove_file(path);
        }
    }
}

fn temporary_name(destination: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(destination.file_name().unwrap_or_default());
    name.push(format!(".{}-{number}{SUFFIX}", std::process::id()));
    parent(destination).join(name)
}

/// The directory a path is in; `.` for a bare name.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_destination_changes_only_at_commit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        fs::write(&path, "old").unwrap();
        let mut file = DurableFile::create(&path, 0o600).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(directory.path()), ["segment"]);
    }

    #[test]
    fn dropping_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let mut file = DurableFile::create(&path, 0o600).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(directory.path()).len(), 1);
        drop(file);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn only_old_leftovers_of_ours_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let old = SystemTime::now() - 2 * hour;
        for name in [
            ".RECOVERYXLOG.4711-0.seawall-tmp",
            ".RECOVERYXLOG.4711-0.seawall-tmp.bak",
            ".RECOVERYXLOG.x-0.seawall-tmp",
            "000000010000000000000001",
            "RECOVERYXLOG.4711-0.seawall-tmp",
        ] {
            File::create(directory.path().join(name)).unwrap().set_modified(old).unwrap();
        }
        let young = DurableFile::create(&directory.path().join("RECOVERYXLOG"), 0o600).unwrap();
        let before = names(directory.path());
        remove_leftovers(directory.path(), hour);
        let left = names(directory.path());
        assert_eq!(
            left,
            before.into_iter().filter(|name| name != ".RECOVERYXLOG.4711-0.seawall-tmp").collect::<Vec<_>>()
        );
        young.commit().unwrap();
        remove_leftovers(&directory.path().join("missing"), hour);
    }

    #[test]
    fn a_failed_rename_leaves_nothing_and_names_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        let error = DurableFile::create(&path, 0o600).unwrap().commit().unwrap_err();
        let expected = format!("cannot rename a temporary file to {}: ", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(names(directory.path()), ["taken"]);

        let error = DurableFile::create(&directory.path().join("missing/file"), 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn directories_are_created_with_their_parents() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/c");
        create_dir_all(&path, 0o700).unwrap();
        create_dir_all(&path, 0o755).unwrap();
        for path in [path.as_path(), path.parent().unwrap()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        fs::write(directory.path().join("file"), "").unwrap();
        let error = create_dir_all(&directory.path().join("file/below"), 0o700).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
