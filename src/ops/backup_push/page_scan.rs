//! Reads all pages of a file and looks at their headers: to find those that changed, or to prove a map of changed
//! blocks right.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use tokio_util::sync::CancellationToken;

use crate::layout::walg::increment::PAGE_BYTES;
use crate::ops::Error;
use crate::pg::Lsn;
use crate::pg::data_dir::Member;
use crate::pg::page::PageHeader;
use crate::pipeline::RateLimit;
use crate::read_full::read_full_at;

use super::job::Job;

/// Pages read at a time.
const CHUNK_PAGES: u32 = 32;

/// How often a page that the map seems to have missed is read again: its header may have been written just then.
const REREADS: usize = 3;

/// The pages of one file.
pub(super) struct PageScan<'a> {
    file: &'a File,
    /// For messages.
    path: &'a Path,
    /// How many pages to look at; the file may have fewer by now.
    blocks: u32,
    rate: Option<&'a RateLimit>,
    cancel: &'a CancellationToken,
}

/// What the LSNs of a file's pages tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// These pages changed, or were never initialised; ascending.
    Blocks(Vec<u32>),
    /// The header of this page makes no sense, so nothing is said of any.
    Unknown(u32),
}

impl<'a> PageScan<'a> {
    /// The pages that `member` had when it was found.
    pub fn new(job: &'a Job, member: &'a Member, file: &'a File) -> PageScan<'a> {
        PageScan {
            file,
            path: &member.path,
            blocks: u32::try_from(member.size() / PAGE_BYTES as u64).unwrap_or(u32::MAX),
            rate: job.disk_rate.as_ref(),
            cancel: &job.uploads.cancel,
        }
    }

    /// How many pages those are.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The pages that changed since `since`.
    ///
    /// One that says to be all-visible has changed as well where it `may_be_marked` since, without a new LSN. A page
    /// without LSN was changed without WAL, or is damaged; neither says when.
    pub fn changed_since(&self, since: Lsn, may_be_marked: impl Fn(u32) -> bool) -> Result<Changed, Error> {
        let mut blocks = Vec::new();
        let unknown = self.each(|block, page| {
            match PageHeader::parse(page) {
                Some(header) if header.is_new() => blocks.push(block),
                Some(header) if header.is_valid(PAGE_BYTES) => {
                    if header.lsn >= since || header.is_all_visible() && may_be_marked(block) {
                        blocks.push(block);
                    }
                }
                _ => return ControlFlow::Break(block),
            }
            ControlFlow::Continue(())
        })?;
        Ok(unknown.map_or(Changed::Blocks(blocks), Changed::Unknown))
    }

    /// The first page that changed between `from` and `until` and is not among the `known` ones (ascending).
    pub fn missing_from(&self, known: &[u32], from: Lsn, until: Lsn) -> Result<Option<(u32, Lsn)>, Error> {
        let changed = |page: &[u8]| {
            let header = PageHeader::parse(page).filter(|header| !header.is_new())?;
            (header.is_valid(PAGE_BYTES) && from < header.lsn && header.lsn <= until).then_some(header.lsn)
        };
        let mut known = known.iter().copied().peekable();
        self.each(|block, page| {
            while known.next_if(|known| *known < block).is_some() {}
            if known.peek() == Some(&block) {
                return ControlFlow::Continue(());
            }
            match changed(page).and_then(|_| self.reread(block, changed)) {
                Some(lsn) => ControlFlow::Break((block, lsn)),
                None => ControlFlow::Continue(()),
            }
        })
    }

    /// What `judge` says of a page each time that it is read anew.
    fn reread(&self, block: u32, judge: impl Fn(&[u8]) -> Option<Lsn>) -> Option<Lsn> {
        let mut page = vec![0; PAGE_BYTES];
        let mut verdict = None;
        for _ in 0..REREADS {
            let read = read_full_at(self.file, &mut page, u64::from(block) * PAGE_BYTES as u64);
            verdict = Some(judge(page.get(..read.ok()?)?)?);
        }
        verdict
    }

    /// Shows every page to `look` until that breaks off. Ends early where the file was cut meanwhile.
    fn each<B>(&self, mut look: impl FnMut(u32, &[u8]) -> ControlFlow<B>) -> Result<Option<B>, Error> {
        // Advice only: a file system that does not take it reads as well.
        let _ = fadvise(self.file, 0, None, Advice::Sequential);
        let mut chunk = vec![0; CHUNK_PAGES as usize * PAGE_BYTES];
        let mut block = 0;
        while block < self.blocks {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let offset = u64::from(block) * PAGE_BYTES as u64;
            let read = read_full_at(self.file, &mut chunk, offset).map_err(Error::file("read", self.path))?;
            if let Some(rate) = self.rate {
                rate.wait(read);
            }
            let pages = chunk.get(..read).unwrap_or_default().chunks_exact(PAGE_BYTES);
            if pages.len() == 0 {
                break;
            }
            for (page, block) in pages.zip(block..self.blocks) {
                if let ControlFlow::Break(found) = look(block, page) {
                    return Ok(Some(found));
                }
            }
            block = block.saturating_add(CHUNK_PAGES);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Three pages of a table of PostgreSQL 15, in the order of their LSNs.
    const TABLE: &[u8] = include_bytes!("../../../tests/golden/pg/pages.15.table.bin");

    fn lsns() -> Vec<Lsn> {
        TABLE.chunks(PAGE_BYTES).map(|page| PageHeader::parse(page).unwrap().lsn).collect()
    }

    fn scan<T>(content: &[u8], blocks: u32, look: impl FnOnce(&PageScan<'_>) -> Result<T, Error>) -> T {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let cancel = CancellationToken::new();
        let path = Path::new("/base/5/16385");
        look(&PageScan { file: &file, path, blocks, rate: None, cancel: &cancel }).unwrap()
    }

    fn next(lsn: Lsn) -> Lsn {
        lsn.checked_add(1).unwrap()
    }

    #[test]
    fn pages_that_changed_since() {
        let lsns = lsns();
        assert!(lsns.is_sorted() && lsns[0] < lsns[2], "{lsns:?}");
        let changed = |content: &[u8], since| scan(content, 3, |scan| scan.changed_since(since, |_| false));
        let with = |since: Lsn| -> Vec<u32> {
            (0..).zip(&lsns).filter(|(_, lsn)| **lsn >= since).map(|(block, _)| block).collect()
        };
        for since in [Lsn::new(1), lsns[0], next(lsns[0]), lsns[2], next(lsns[2])] {
            assert_eq!(changed(TABLE, since), Changed::Blocks(with(since)), "{since}");
        }
        assert_eq!(changed(&TABLE[..PAGE_BYTES + 1], Lsn::new(1)), Changed::Blocks(vec![0]), "cut meanwhile");

        let mut content = TABLE.to_vec();
        content[..PAGE_BYTES].fill(0);
        assert_eq!(changed(&content, next(lsns[2])), Changed::Blocks(vec![0]), "never initialised");
        content.copy_from_slice(TABLE);
        content[PAGE_BYTES..PAGE_BYTES + 8].fill(0);
        assert_eq!(changed(&content, Lsn::new(1)), Changed::Unknown(1), "no LSN");
    }

    #[test]
    fn pages_that_may_have_been_marked() {
        let mut content = TABLE.to_vec();
        content.chunks_mut(PAGE_BYTES).for_each(|page| page[10] &= !4);
        let changed =
            |content: &[u8]| scan(content, 3, |scan| scan.changed_since(next(lsns()[2]), |block| block != 2));
        assert_eq!(changed(&content), Changed::Blocks(vec![]));
        content.chunks_mut(PAGE_BYTES).for_each(|page| page[10] |= 4);
        assert_eq!(changed(&content), Changed::Blocks(vec![0, 1]));
    }

    #[test]
    fn blocks_are_counted_over_chunks() {
        let content = TABLE[..PAGE_BYTES].repeat(CHUNK_PAGES as usize * 2 + 1);
        let blocks = CHUNK_PAGES * 2 + 1;
        let all: Vec<u32> = (0..blocks).collect();
        assert_eq!(
            scan(&content, blocks, |scan| scan.changed_since(Lsn::new(1), |_| false)),
            Changed::Blocks(all.clone())
        );
        assert_eq!(
            scan(&content, blocks - 2, |scan| scan.changed_since(Lsn::new(1), |_| false)),
            Changed::Blocks(all[..all.len() - 2].to_vec()),
            "grown meanwhile"
        );
        let lsn = lsns()[0];
        let missing =
            |known: &[u32]| scan(&content, blocks, |scan| scan.missing_from(known, Lsn::new(1), lsn));
        assert_eq!(missing(&all), None);
        let without = |block: u32| all.iter().copied().filter(|known| *known != block).collect::<Vec<_>>();
        for block in [0, CHUNK_PAGES, blocks - 1] {
            assert_eq!(missing(&without(block)), Some((block, lsn)));
        }
    }

    #[test]
    fn pages_that_a_map_missed() {
        let lsns = lsns();
        let before = Lsn::new(lsns[0].as_u64() - 1);
        let missing = |content: &[u8], known: &[u32], from, until| {
            scan(content, 3, |scan| scan.missing_from(known, from, until))
        };
        assert_eq!(missing(TABLE, &[], before, lsns[2]), Some((0, lsns[0])));
        assert_eq!(missing(TABLE, &[0, 2], before, lsns[2]), Some((1, lsns[1])));
        assert_eq!(missing(TABLE, &[0, 1, 2], before, lsns[2]), None);
        // Changed before the parent's start, or after the delta's: not the map's matter.
        assert_eq!(missing(TABLE, &[], lsns[2], next(lsns[2])), None);
        assert_eq!(missing(TABLE, &[], Lsn::new(1), before), None);
        // Neither a page without LSN nor one that was never initialised says when it changed.
        let mut content = TABLE.to_vec();
        content[..8].fill(0);
        content[PAGE_BYTES..2 * PAGE_BYTES].fill(0);
        assert_eq!(missing(&content, &[2], before, lsns[2]), None);
    }

    #[test]
    fn a_cancelled_scan_ends() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(TABLE).unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let scan = PageScan { file: &file, path: Path::new("x"), blocks: 3, rate: None, cancel: &cancel };
        assert!(matches!(scan.changed_since(Lsn::new(1), |_| false), Err(Error::Cancelled)));
    }
}
