//! The place where prefetched segments wait for recovery to ask for them.
//!
//! It is wal-g's: `<pg_wal>/.wal-g/prefetch/<segment>` for whole segments; an empty `…/prefetch/running/<segment>` says
//! that one is on its way. Whoever holds the lock on `…/prefetch/.lock` is the prefetcher.
//!
//! A place may be shared, on purpose or not, by clones of one cluster that archive to different storages: their segments
//! have the same names and the same system identifier. So `…/prefetch/<segment>.from`, which is ours, says of a segment
//! where it was fetched from, and which file that is; one of which it says nothing is not taken.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::pg::SegmentName;
use crate::storage::Location;

use super::lock_file;

/// Where prefetched segments wait.
#[derive(Debug, Clone)]
pub(super) struct PrefetchDir {
    path: PathBuf,
    /// Where they are fetched from.
    location: Location,
}

/// How the names of the files end that say where a segment was fetched from.
const ORIGIN: &str = ".from";

impl PrefetchDir {
    /// The place for recovery that fetches from `location` to `destination`.
    pub fn of(destination: &Path, parent: Option<&Path>, location: &Location) -> PrefetchDir {
        let parent = parent.unwrap_or_else(|| destination.parent().unwrap_or(Path::new("")));
        PrefetchDir { path: parent.join(".wal-g/prefetch"), location: location.clone() }
    }

    /// A whole segment.
    pub fn ready(&self, segment: SegmentName) -> PathBuf {
        self.path.join(segment.to_string())
    }

    /// Says that the segment that is ready was fetched from our storage. Without that it is only fetched once more.
    pub fn leave_origin(&self, segment: SegmentName) -> io::Result<()> {
        fs::write(self.origin(segment), self.identity(&self.ready(segment))?)
    }

    /// Whether a segment from our storage is ready.
    pub fn has(&self, segment: SegmentName) -> bool {
        self.origin_of_ours(segment).is_some()
    }

    /// Moves a segment that is ready to `destination`; whether there was one from our storage. Not yet durable.
    pub fn take(&self, segment: SegmentName, destination: &Path) -> io::Result<bool> {
        let Some(origin) = self.origin_of_ours(segment) else { return Ok(false) };
        fs::rename(self.ready(segment), destination)?;
        // The prefetcher of another storage may have replaced it just now.
        if self.identity(destination)? != origin {
            fs::remove_file(destination)?;
            return Ok(false);
        }
        // What is left says nothing of any other file.
        let _ = fs::remove_file(self.origin(segment));
        Ok(true)
    }

    fn origin(&self, segment: SegmentName) -> PathBuf {
        self.path.join(format!("{segment}{ORIGIN}"))
    }

    /// What is said of the segment that is ready, if it is from our storage.
    fn origin_of_ours(&self, segment: SegmentName) -> Option<String> {
        let origin = fs::read_to_string(self.origin(segment)).ok()?;
        (self.identity(&self.ready(segment)).ok()? == origin).then_some(origin)
    }

    /// Whether the segment that is ready is from another storage.
    fn is_of_others(&self, segment: SegmentName) -> bool {
        let origin = fs::read_to_string(self.origin(segment)).unwrap_or_default();
        version(&self.ready(segment)).is_ok_and(|version| origin.starts_with(&version)) && !self.has(segment)
    }

    /// What says that this very file was fetched from our storage.
    fn identity(&self, file: &Path) -> io::Result<String> {
        Ok(format!("{} from {}\n", version(file)?, self.location))
    }

    /// Whether a prefetcher is at work and this segment on its way.
    pub fn is_fetching(&self, segment: SegmentName) -> bool {
        // When the lock can be had, the prefetcher that left the file is gone.
        self.running(segment).exists() && matches!(self.lock(), Ok(None))
    }

    /// Whether no segment waits.
    pub fn is_empty(&self) -> bool {
        self.segments().next().is_none()
    }

    fn segments(&self) -> impl Iterator<Item = SegmentName> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Says that a segment is on its way.
    pub fn running(&self, segment: SegmentName) -> PathBuf {
        self.path.join("running").join(segment.to_string())
    }

    /// Removes everything but what is from another storage, unless a prefetcher is at work.
    pub fn clean(&self) {
        if !self.path.exists() {
            return;
        }
        if let Ok(Some(_lock)) = self.lock()
            && let Err(error) = self.remove_ours()
        {
            tracing::debug!("cannot remove prefetched segments: {error}");
        }
        // wal-g may keep other things there.
        let _ = self.path.parent().map(fs::remove_dir);
    }

    fn remove_ours(&self) -> io::Result<()> {
        let (theirs, ours): (Vec<_>, Vec<_>) =
            self.segments().partition(|segment| self.is_of_others(*segment));
        if theirs.is_empty() {
            return fs::remove_dir_all(&self.path);
        }
        for segment in ours {
            fs::remove_file(self.ready(segment))?;
            let _ = fs::remove_file(self.origin(segment));
        }
        Ok(())
    }

    /// Makes the place.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.path.join("running"))
    }

    /// The place itself, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The right to work here; `None` while another process has it. Given back when dropped.
    pub fn lock(&self) -> io::Result<Option<File>> {
        lock_file::try_lock(&self.path.join(".lock"))
    }

    /// Removes what recovery has passed: segments of older timelines, and earlier ones of this; and what an
    /// interrupted prefetcher left. For whoever holds the lock only: no other one is writing here.
    pub fn remove_up_to(&self, current: SegmentName) {
        for (directory, all) in [(self.path.clone(), false), (self.path.join("running"), true)] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap_or_default();
                let segment = name.strip_suffix(ORIGIN).unwrap_or(&name);
                let passed = segment.parse::<SegmentName>().is_ok_and(|segment| segment <= current);
                let unfinished = durable::is_temporary(&name);
                if (all || passed || unfinished) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    // One that stays is only disk space until the next call.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// What tells a file from any other by its name.
fn version(file: &Path) -> io::Result<String> {
    let metadata = fs::metadata(file)?;
    let (inode, size, seconds, nanoseconds) =
        (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
    Ok(format!("{inode} {size} {seconds}.{nanoseconds:09}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_from_the_same_storage_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let destination = dir.path().join("RECOVERYXLOG");
        let of = |location: &str| PrefetchDir::of(&destination, None, &Location::new(location));
        let (ours, theirs) = (of("s3://bucket/ours"), of("s3://bucket/theirs"));
        let [first, second] =
            ["000000010000000000000001", "000000010000000000000002"].map(|name| name.parse().unwrap());
        ours.create().unwrap();
        fs::write(ours.ready(first), "ours").unwrap();
        assert!(!ours.has(first), "nobody knows where it came from: wal-g's");
        ours.leave_origin(first).unwrap();
        assert!(ours.has(first) && !theirs.has(first));
        assert!(!theirs.take(first, &destination).unwrap() && !destination.exists());
        assert!(ours.take(first, &destination).unwrap());
        assert_eq!(fs::read(&destination).unwrap(), b"ours");
        assert!(!ours.has(first));

        // Another prefetcher replaces the file, and has not yet said so.
        for segment in [first, second] {
            fs::write(ours.ready(segment), "ours").unwrap();
            ours.leave_origin(segment).unwrap();
        }
        fs::write(dir.path().join("new"), "they").unwrap();
        fs::rename(dir.path().join("new"), ours.ready(first)).unwrap();
        assert!(!ours.has(first) && !theirs.has(first));
        ours.remove_up_to(first);
        assert!(!ours.origin(first).exists() && ours.has(second));
        theirs.clean();
        assert!(ours.has(second));
        ours.clean();
        assert!(!ours.path().exists());
    }
}
