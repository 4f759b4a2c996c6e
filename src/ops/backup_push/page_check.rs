//! Verifies the checksums of the pages of one file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::layout::walg::files_metadata::{CorruptBlocks, NAMED_CORRUPT_BLOCKS};
use crate::pg::data_dir::Member;
use crate::pg::page::{self, check_pages};
use crate::pg::{BLOCKS_PER_SEGMENT, Lsn, RelationFile};

use super::VerifyPages;
use super::job::Job;

/// How often a page with a wrong checksum is read again: it may have been written just while it was read.
const REREADS: usize = 3;

/// What verifying the pages of one file needs and finds.
pub(super) struct PageCheck<'a> {
    name: &'a str,
    page_bytes: usize,
    first_block: u32,
    started_at: Lsn,
    name_all: bool,
    corrupt: CorruptBlocks,
}

impl<'a> PageCheck<'a> {
    /// `None` for a file without pages to verify.
    pub fn of(member: &'a Member, size: u64, job: &Job) -> Option<PageCheck<'a>> {
        if job.verify == VerifyPages::No || size == 0 {
            return None;
        }
        let relation = RelationFile::parse(member.name.as_str()).filter(RelationFile::is_paged)?;
        if !size.is_multiple_of(u64::from(job.block_size)) {
            tracing::warn!(file = member.name.as_str(), size, "not a whole number of pages, not verified");
            return None;
        }
        Some(PageCheck {
            name: member.name.as_str(),
            page_bytes: usize::try_from(job.block_size).ok()?,
            first_block: relation.first_block(BLOCKS_PER_SEGMENT)?,
            started_at: job.started_at,
            name_all: job.verify == VerifyPages::NameAll,
            corrupt: CorruptBlocks { count: 0, some: Vec::new() },
        })
    }

    /// Verifies the pages in `content`, which was read at `position`. A piece of a page at the end is a file that is
    /// being truncated.
    pub fn verify(&mut self, file: &File, position: u64, content: &[u8]) {
        let whole = content.len() - content.len() % self.page_bytes;
        let Ok(before) = u32::try_from(position / self.page_bytes as u64) else { return };
        let Some(first_block) = self.first_block.checked_add(before) else { return };
        let pages = content.get(..whole).unwrap_or_default();
        for (block, verdict) in check_pages(pages, self.page_bytes, first_block, self.started_at) {
            if verdict.is_corrupt() && self.is_corrupt_again(file, block) {
                self.found_corrupt(block - self.first_block, verdict);
            }
        }
    }

    /// The pages found corrupt.
    pub fn corrupt_blocks(self) -> Option<CorruptBlocks> {
        Some(self.corrupt).filter(|corrupt| corrupt.count > 0)
    }

    fn is_corrupt_again(&self, file: &File, block: u32) -> bool {
        let mut page = vec![0; self.page_bytes];
        let offset = u64::from(block - self.first_block) * self.page_bytes as u64;
        (0..REREADS).all(|_| match file.read_exact_at(&mut page, offset) {
            Ok(()) => page::check(&page, block, self.started_at).is_corrupt(),
            // Truncated meanwhile: not corrupt.
            Err(_) => false,
        })
    }

    fn found_corrupt(&mut self, block_in_file: u32, verdict: page::PageVerdict) {
        tracing::warn!(file = self.name, block = block_in_file, "corrupt page: {verdict}");
        self.corrupt.count += 1;
        if self.name_all || self.corrupt.some.len() < NAMED_CORRUPT_BLOCKS {
            self.corrupt.some.push(block_in_file);
        }
    }
}
