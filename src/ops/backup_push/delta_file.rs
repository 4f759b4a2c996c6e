//! One file of a delta backup that is not simply whole or skipped: which of its pages are taken, and whether what the
//! map of changed blocks says of it is true.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::layout::walg::increment::IncrementHeader;
use crate::ops::Error;
use crate::pg::data_dir::Member;
use crate::pg::{BLOCKS_PER_SEGMENT, Lsn, RelationFile, VisibilityMap, visibility_map};
use crate::read_full::read_full_at;

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
            let marks = Marks::read(delta, member)?;
            let may_be_marked = |block| marks.as_ref().is_some_and(|marks| marks.may_be_new(block, since));
            match scan.changed_since(since, may_be_marked)? {
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

/// What the visibility map says of the pages of one file.
struct Marks {
    map: VisibilityMap,
    /// The number of the file's first page in the relation.
    first_block: u32,
}

impl Marks {
    /// `None` when pages get a new LSN with a mark anyway, or there are no marks. What is set in the map from now on is
    /// in the WAL that the backup needs.
    fn read(delta: &Delta, member: &Member) -> Result<Option<Marks>, Error> {
        let relation = RelationFile::parse(member.name.as_str());
        let first_block = relation.and_then(|relation| relation.first_block(BLOCKS_PER_SEGMENT));
        let Some(first_block) = first_block.filter(|_| !delta.marks_have_lsns) else { return Ok(None) };
        let path = visibility_map_of(&member.path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        let first_page = VisibilityMap::page_of(first_block);
        let last_page = VisibilityMap::page_of(first_block.saturating_add(BLOCKS_PER_SEGMENT - 1));
        let mut content = vec![0; (last_page - first_page + 1) as usize * visibility_map::PAGE_BYTES];
        let offset = u64::from(first_page) * visibility_map::PAGE_BYTES as u64;
        let length = read_full_at(&file, &mut content, offset).map_err(Error::file("read", path))?;
        content.truncate(length);
        Ok(Some(Marks { map: VisibilityMap::new(first_page, content), first_block }))
    }

    /// Whether a page of the file may have been marked after `since`.
    fn may_be_new(&self, block: u32, since: Lsn) -> bool {
        self.map.may_have_been_set_since(self.first_block.saturating_add(block), since)
    }
}

/// The first file of the visibility map that belongs to a relation's file; there is a second one from 32 TB on, which
/// no relation with pages of 8 KiB has.
fn visibility_map_of(file: &Path) -> PathBuf {
    let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let filenode = name.split_once('.').map_or(name, |(filenode, _)| filenode);
    file.with_file_name(format!("{filenode}_vm"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visibility_maps() {
        for (file, map) in [
            ("/base/5/16385", "/base/5/16385_vm"),
            ("/base/5/16385.12", "/base/5/16385_vm"),
            ("/pg_tblspc/7/PG_15_202209061/5/16385.1", "/pg_tblspc/7/PG_15_202209061/5/16385_vm"),
        ] {
            assert_eq!(visibility_map_of(Path::new(file)), Path::new(map));
        }
    }
}
