//! `wal-prefetch`: fetches the segments that recovery will ask for next.
//!
//! Started by `wal-fetch`, in a session of its own. The place is wal-g's: `<pg_wal>/.wal-g/prefetch/<segment>` for whole
//! segments, an empty `…/prefetch/running/<segment>` for each on its way. One prefetcher works at a time; it stops at the
//! first segment that is not archived yet.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use rustix::fs::{FlockOperation, flock};

use crate::pg::{SegmentName, WalSegmentSize};

use super::segment_check::{SegmentCheck, check_segment_file, cluster_of_wal_file};
use super::{Context, Error, wal_fetch};

/// How `wal-prefetch` works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Segments to have ready (`WALG_DOWNLOAD_CONCURRENCY`).
    pub segments: usize,
    /// Whether segments are checked.
    pub check: SegmentCheck,
    /// `WALG_PREFETCH_DIR`.
    pub parent: Option<PathBuf>,
    /// The cluster's segment size, where the requested segment does not tell.
    pub segment_size: WalSegmentSize,
    /// Fetches at once.
    pub concurrency: usize,
}

/// Fetches the segments after `current`, which was just brought to `destination`.
///
/// Returns at once when another prefetcher is at work in the same place.
pub async fn run(
    ctx: &Context,
    current: SegmentName,
    destination: &Path,
    options: Options,
) -> Result<(), Error> {
    let directory = PrefetchDir::of(destination, options.parent.as_deref());
    let running = directory.path.join("running");
    fs::create_dir_all(&running).map_err(Error::file("create", &running))?;
    let Some(_lock) = directory.lock().map_err(Error::file("lock", &directory.path))? else { return Ok(()) };
    directory.remove_up_to(current);

    let size = check_segment_file(destination, current, None).unwrap_or(options.segment_size);
    let next = std::iter::successors(current.next(size), |segment| segment.next(size));
    let fetches = next
        .take(options.segments)
        .filter(|segment| !directory.ready(*segment).exists())
        .map(|segment| prefetch(ctx, &directory, segment, destination, options.check));
    let mut fetches = stream::iter(fetches).buffered(options.concurrency.max(1));
    while let Some(fetched) = fetches.next().await {
        match fetched {
            Ok(()) => {}
            // What follows a missing segment is not archived yet either.
            Err(Error::NotArchived { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn prefetch(
    ctx: &Context,
    directory: &PrefetchDir,
    segment: SegmentName,
    destination: &Path,
    check: SegmentCheck,
) -> Result<(), Error> {
    let check = match check {
        SegmentCheck::Verify => Some(cluster_of_wal_file(destination)),
        SegmentCheck::Skip => None,
    };
    let running = directory.running(segment);
    File::create(&running).map_err(Error::file("create", &running))?;
    let fetched =
        wal_fetch::fetch(ctx, &segment.to_string(), &directory.ready(segment), Some(segment), check).await;
    fs::remove_file(&running).map_err(Error::file("remove", running))?;
    fetched
}

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

    /// Says that a segment is on its way.
    fn running(&self, segment: SegmentName) -> PathBuf {
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

    /// The right to work here; `None` while another process has it. Given back when dropped.
    fn lock(&self) -> io::Result<Option<File>> {
        let file = File::create(self.path.join(".lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what recovery has passed: segments of older timelines, and earlier ones of this; and what an
    /// interrupted prefetcher left.
    fn remove_up_to(&self, current: SegmentName) {
        for (directory, all) in [(self.path.clone(), false), (self.path.join("running"), true)] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap_or_default();
                let passed = name.parse::<SegmentName>().is_ok_and(|segment| segment <= current);
                if (all || passed) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    // One that stays is only disk space until the next call.
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}
