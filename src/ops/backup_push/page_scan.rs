//! Reads all pages of a file and looks at their headers: to find those that changed, or to prove a map of changed
//! blocks right.

use std::fs::File;
use std::ops::ControlFlow;

use rustix::fs::{Advice, fadvise};

use crate::layout::walg::increment::PAGE_BYTES;
use crate::ops::Error;
use crate::pg::Lsn;
use crate::pg::data_dir::Member;
use crate::pg::page::PageHeader;
use crate::read_full::read_full_at;

use super::job::Job;

/// Pages read at a time.
const CHUNK_PAGES: u32 = 32;

/// How often a page that the map seems to have missed is read again: its header may have been written just then.
const REREADS: usize = 3;

/// The pages of one file, whose name is for messages.
pub(super) struct PageScan<'a> {
    job: &'a Job,
    member: &'a Member,
    file: &'a File,
    blocks: u32,
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
    /// The pages that `member` has; `file` may have fewer by now.
    pub fn new(job: &'a Job, member: &'a Member, file: &'a File) -> PageScan<'a> {
        let blocks = u32::try_from(member.size() / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        PageScan { job, member, file, blocks }
    }

    /// How many pages those are.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The pages that changed since `since`.
    ///
    /// A page without LSN was changed without WAL, or is damaged; neither says when.
    pub fn changed_since(&self, since: Lsn) -> Result<Changed, Error> {
        let mut blocks = Vec::new();
        let unknown = self.each(|block, page| {
            match PageHeader::parse(page) {
                Some(header) if header.is_new() => blocks.push(block),
                Some(header) if header.is_valid(PAGE_BYTES) => {
                    if header.lsn >= since {
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
            if self.job.uploads.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let offset = u64::from(block) * PAGE_BYTES as u64;
            let read = read_full_at(self.file, &mut chunk, offset)
                .map_err(Error::file("read", &self.member.path))?;
            if let Some(rate) = &self.job.disk_rate {
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
