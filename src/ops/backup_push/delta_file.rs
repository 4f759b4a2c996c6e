//! One file of a delta backup that is not simply whole or skipped: which of its pages are taken, and whether what the
//! map of changed blocks says of it is true.

use std::fs::File;

use jiff::Timestamp;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::layout::walg::increment::IncrementHeader;
use crate::ops::Error;
use crate::pg::data_dir::Member;

use super::delta::{Delta, Take, is_nearly_all};
use super::job::Job;
use super::page_scan::{Changed, PageScan};

/// The increment to take of an opened file; `None` when all of it is taken.
pub(super) fn increment(
    job: &Job,
    member: &Member,
    file: &File,
    take: Take,
) -> Result<Option<IncrementHeader>, Error> {
    let Some(delta) = &job.delta else { return Ok(None) };
    let blocks = match take {
        Take::Whole | Take::Skip => return Ok(None),
        Take::Blocks(blocks) => {
            if delta.is_to_prove(member) {
                prove(job, delta, member, file, &blocks)?;
            }
            blocks
        }
        Take::ByPageLsns { since } => {
            if !delta.was_in_parent(born(file)) {
                tracing::debug!(file = %member.name, "not known to be the file of the parent, taken whole");
                return Ok(None);
            }
            let scan = PageScan::new(job, member, file);
            match scan.changed_since(since)? {
                Changed::Blocks(blocks) if is_nearly_all(&blocks, scan.blocks()) => return Ok(None),
                Changed::Blocks(blocks) => blocks,
                Changed::Unknown(block) => {
                    tracing::warn!(file = %member.name, block, "invalid page header, the file is taken whole");
                    return Ok(None);
                }
            }
        }
    };
    let header = IncrementHeader::new(member.size(), blocks);
    header.map(Some).map_err(|error| Error::Panicked { message: format!("{}: {error}", member.name) })
}

/// Fails when a page changed that is not among `blocks`, all that the map names of the file.
pub(super) fn prove(
    job: &Job,
    delta: &Delta,
    member: &Member,
    file: &File,
    blocks: &[u32],
) -> Result<(), Error> {
    let scan = PageScan::new(job, member, file);
    match scan.missing_from(blocks, delta.parent_lsn, job.started_at)? {
        None => Ok(()),
        Some((block, lsn)) => {
            let (file, source) = (member.name.to_string(), delta.source());
            Err(Error::MissedBlock { file, block, lsn, map: source })
        }
    }
}

/// When the file was made, if the file system says it.
fn born(file: &File) -> Option<Timestamp> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    if !StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME) {
        return None;
    }
    let nanoseconds = i32::try_from(stat.stx_btime.tv_nsec).ok()?;
    Timestamp::new(stat.stx_btime.tv_sec, nanoseconds).ok()
}
