//! `wal-prefetch`: fetches the segments that recovery will ask for next.
//!
//! Started by `wal-fetch`, in a session of its own. One prefetcher works at a time in a place
//! (`prefetch_dir`); it stops at the first segment that is not archived yet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};

use crate::pg::{SegmentName, WalSegmentSize};

use super::prefetch_dir::PrefetchDir;
use super::segment_check::{SegmentCheck, check_segment_file};
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
    let directory = PrefetchDir::of(destination, options.parent.as_deref(), ctx.storage.location());
    directory.create().map_err(Error::file("create", directory.path()))?;
    let Some(lock) = directory.lock().map_err(Error::file("lock", directory.path()))? else { return Ok(()) };
    directory.remove_up_to(current);

    let header = check_segment_file(destination, current, None);
    let size = header.map_or(options.segment_size, |header| header.segment_size);
    let next = std::iter::successors(current.next(size), |segment| segment.next(size));
    let fetches = next
        .take(options.segments)
        .filter(|segment| !directory.has(*segment))
        .map(|segment| prefetch(ctx, &directory, segment, destination, options.check));
    let mut fetches = stream::iter(fetches).buffered(options.concurrency.max(1));
    while let Some(fetched) = fetches.next().await {
        match fetched {
            Ok(()) => {}
            // What follows a missing segment is not archived yet either. Recovery may have come to its end meanwhile, and
            // cleans up only where no prefetcher is at work.
            Err(Error::NotArchived { .. }) => {
                drop((fetches, lock));
                if directory.is_empty() {
                    directory.clean();
                }
                return Ok(());
            }
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
    let check = check.of_fetch(destination);
    let running = Running(directory.running(segment));
    File::create(&running.0).map_err(Error::file("create", &running.0))?;
    let ready = directory.ready(segment);
    wal_fetch::fetch(ctx, &segment.to_string(), &ready, Some(segment), check).await?;
    directory.leave_origin(segment).map_err(Error::file("note the origin of", ready))
}

/// The file that says that a segment is on its way; removed when it came, and when it is given up.
struct Running(PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        // One that is left tells nothing once the lock is free.
        let _ = fs::remove_file(&self.0);
    }
}
