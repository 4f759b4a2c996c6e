//! The place where prefetched segments wait for recovery to ask for them.
//!
//! It is wal-g's: `<pg_wal>/.wal-g/prefetch/<segment>` for whole segments; an empty `…/prefetch/running/<segment>` says
//! that one is on its way. Whoever holds the lock on `…/prefetch/.lock` is the prefetcher.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::pg::SegmentName;

use super::lock_file;

/// Where prefetched segments wait.
#[derive(Debug, Clone)]
pub(super) struct PrefetchDir {
    path: PathBuf,
}

impl PrefetchDir {
    /// The place for recovery that fetches to `destination`.
    pub fn of(destination: &Path, parent: Option<&Path>) -> PrefetchDir {
        let parent = parent.unwrap_or_else(|| destination.parent().unwrap_or(Path::new("")));
        PrefetchDir { path: parent.join(".wal-g/prefetch") }
    }

    /// A whole segment.
    pub fn ready(&self, segment: SegmentName) -> PathBuf {
        self.path.join(segment.to_string())
    }

    /// Whether a prefetcher is at work and this segment on its way.
    pub fn is_fetching(&self, segment: SegmentName) -> bool {
        // When the lock can be had, the prefetcher that left the file is gone.
        self.running(segment).exists() && matches!(self.lock(), Ok(None))
    }

    /// Whether any segment waits.
    pub fn is_empty(&self) -> bool {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        !entries
            .into_iter()
            .any(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<SegmentName>().is_ok()))
    }

    /// Says that a segment is on its way.
    pub fn running(&self, segment: SegmentName) -> PathBuf {
        self.path.join("running").join(segment.to_string())
    }

    /// Removes everything, unless a prefetcher is at work.
    pub fn clean(&self) {
        if !self.path.exists() {
            return;
        }
        if let Ok(Some(_lock)) = self.lock()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::debug!("cannot remove prefetched segments: {error}");
        }
        // wal-g may keep other things there.
        let _ = self.path.parent().map(fs::remove_dir);
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
                let passed = name.parse::<SegmentName>().is_ok_and(|segment| segment <= current);
                let unfinished = durable::is_temporary(&name);
                if (all || passed || unfinished) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    // One that stays is only disk space until the next call.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}
