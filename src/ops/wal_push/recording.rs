//! Recording which blocks the archived WAL changes (`WALG_USE_WAL_DELTA`).
//!
//! After a segment was archived it is read, and what it says by itself kept ([`Records`]). Whoever finds a group of 16
//! segments recorded, and the segment before it, whose last record may end in the group, joins them and stores the
//! `_delta` object. Segments may be archived by several processes and in any order.
//!
//! Delta backups read WAL itself where nothing is recorded. So whatever goes wrong here is a warning, and never a
//! reason for a segment not to be archived.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::OnceLock;

use crate::durable::{self, DurableFile};
use crate::layout::walg::{WalDelta, names};
use crate::ops::Error;
use crate::pg::wal::{SegmentChanges, WalError, join};
use crate::pg::{BlockMap, Lsn, SegmentName, WalSegmentSize};
use crate::pipeline::run_blocking;

use super::Pusher;
use super::records::{Group, Records};
use super::segment_record;

/// Permissions of the directory and files: PostgreSQL's for its own.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The recording of one call of wal-push.
#[derive(Debug)]
pub(super) struct Recording {
    records: Records,
    /// Of the segments recorded in this call, once there is one.
    segment_size: OnceLock<WalSegmentSize>,
}

/// Why something was not recorded.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Failed(#[from] Error),
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("`{}`: {source}", path.display())]
    Record { path: std::path::PathBuf, source: segment_record::Error },
}

impl Recording {
    /// Recording beside the WAL file at `path`.
    pub fn beside(path: &Path) -> Recording {
        Recording { records: Records::beside(path), segment_size: OnceLock::new() }
    }

    /// Records the segment in the file at `path`.
    pub async fn record(&self, segment: SegmentName, path: &Path) {
        let (records, path) = (self.records.clone(), path.to_owned());
        let recorded =
            run_blocking("seawall-wal-0".to_owned(), move || record(&records, segment, &path)).await;
        match recorded.map_err(|panicked| Problem::Failed(panicked.into())).flatten() {
            // All segments of a cluster have one size.
            Ok(size) => drop(self.segment_size.set(size)),
            Err(problem) => {
                tracing::warn!(%segment, "the blocks it changes are not recorded: {problem}");
                // What an earlier call recorded may be of another content.
                if let Err(error) = self.records.forget(segment) {
                    tracing::warn!("{error}");
                }
            }
        }
    }

    /// Stores the groups that are whole, if something was recorded in this call.
    pub async fn join_groups(&self, pusher: &Pusher<'_>) {
        let Some(size) = self.segment_size.get() else { return };
        if let Err(problem) = self.join_under_lock(pusher, *size).await {
            tracing::warn!("recorded blocks are not stored: {problem}");
        }
    }

    async fn join_under_lock(&self, pusher: &Pusher<'_>, size: WalSegmentSize) -> Result<(), Problem> {
        // Another process has it: what it does not see yet, the next call will.
        let Some(_lock) = self.records.lock()? else { return Ok(()) };
        let recorded = self.records.list()?;
        for group in recorded.whole_groups(size) {
            self.store(pusher, group).await?;
        }
        for segment in recorded.leftovers(size) {
            self.records.forget(segment)?;
        }
        durable::remove_leftovers(self.records.directory(), durable::LEFTOVER_AGE);
        Ok(())
    }

    /// Stores a group's object, and forgets its records.
    async fn store(&self, pusher: &Pusher<'_>, group: Group) -> Result<(), Problem> {
        let Some(first) = group.segments.first() else { return Ok(()) };
        let file = names::wal_delta_file(*first);
        let (records, of_thread) = (self.records.clone(), group.clone());
        let joined = run_blocking("seawall-wal-0".to_owned(), move || join_group(&records, &of_thread)).await;
        match joined.map_err(Error::from)? {
            Ok(delta) => {
                let write = move |out: &mut dyn Write| {
                    let mut out = BufWriter::new(out);
                    delta.write(&mut out)?;
                    out.flush()
                };
                let bytes = pusher.store(&file, self.records.directory(), write).await?;
                tracing::info!(file, bytes, "stored the blocks that 16 segments changed");
            }
            // They will not get better.
            Err(problem) => tracing::warn!(file, "16 segments are not recorded: {problem}"),
        }
        Ok(self.records.forget_group(&group)?)
    }
}

/// Records a segment; its size.
fn record(records: &Records, segment: SegmentName, path: &Path) -> Result<WalSegmentSize, Problem> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let changes = SegmentChanges::read(&mut file, Lsn::INVALID)?;
    let (lsn, size) = (changes.header.page_address, changes.header.segment_size);
    changes.header.check(segment, size.bytes()).map_err(|source| WalError::Segment { lsn, source })?;
    durable::create_dir_all(records.directory(), DIRECTORY_MODE).map_err(Error::from)?;
    let path = records.path(segment);
    let mut out = BufWriter::new(DurableFile::create(&path, FILE_MODE).map_err(Error::from)?);
    segment_record::write(changes, &mut out).map_err(Error::file("write", &path))?;
    let file = out.into_inner().map_err(|error| Error::file("write", &path)(error.into_error()))?;
    file.commit().map_err(Error::from)?;
    Ok(size)
}

fn join_group(records: &Records, group: &Group) -> Result<WalDelta, Problem> {
    let mut map = BlockMap::default();
    let mut tail = read(records, group.before)?.tail;
    for segment in &group.segments {
        let SegmentChanges { header, map: of_segment, head, tail: own } = read(records, *segment)?;
        tail = join(header.pg_major, header.page_address, tail, &head, &mut map)?.unwrap_or(own);
        map.merge(of_segment);
    }
    Ok(WalDelta { map, tail })
}

fn read(records: &Records, segment: SegmentName) -> Result<SegmentChanges, Problem> {
    let path = records.existing_path(segment);
    let file = File::open(&path).map_err(Error::file("open", &path))?;
    segment_record::read(BufReader::new(file)).map_err(|source| Problem::Record { path, source })
}
