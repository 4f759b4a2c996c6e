//! Reads a file of the cluster, at the allowed speed, and verifies its pages as they pass by.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise};

use crate::layout::walg::files_metadata::{CorruptBlocks, NAMED_CORRUPT_BLOCKS};
use crate::pg::data_dir::Member;
use crate::pg::page::{self, check_pages};
use crate::pg::{BLOCKS_PER_SEGMENT, Lsn, RelationFile};
use crate::pipeline::RateLimit;
use crate::progress::Progress;
use crate::read_full::read_full;

use super::VerifyPages;
use super::job::Job;

/// How often a page with a wrong checksum is read again: it may have been written just while it was read.
const REREADS: usize = 3;

/// A file being copied.
pub(super) struct FileReader<'a> {
    file: File,
    size: u64,
    position: u64,
    rate: Option<&'a RateLimit>,
    progress: &'a Progress,
    pages: Option<Pages<'a>>,
}

/// What verifying the pages of one file needs and finds.
struct Pages<'a> {
    name: &'a str,
    page_bytes: usize,
    first_block: u32,
    started_at: Lsn,
    name_all: bool,
    corrupt: CorruptBlocks,
}

impl<'a> FileReader<'a> {
    /// Takes the size that the file has now; whatever it grows by later is left to WAL replay.
    pub fn new(file: File, member: &'a Member, job: &'a Job) -> io::Result<FileReader<'a>> {
        let size = file.metadata()?.len();
        // Advice only: a file system that does not take it reads as well.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let pages = Pages::of(member, size, job);
        Ok(FileReader {
            file,
            size,
            position: 0,
            rate: job.disk_rate.as_ref(),
            progress: &job.progress,
            pages,
        })
    }

    /// Bytes to copy.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pages found corrupt.
    pub fn corrupt_blocks(self) -> Option<CorruptBlocks> {
        self.pages.map(|pages| pages.corrupt).filter(|corrupt| corrupt.count > 0)
    }
}

impl Read for FileReader<'_> {
    /// Fills the buffer as far as the file goes, so that whole pages are seen.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let filled = read_full(&mut self.file, buffer)?;
        if self.position < self.size {
            if let Some(rate) = self.rate {
                rate.wait(filled);
            }
            self.progress.add_bytes(filled as u64);
            if let Some(pages) = &mut self.pages {
                pages.verify(&self.file, self.position, buffer.get(..filled).unwrap_or_default());
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }
}

impl<'a> Pages<'a> {
    /// `None` for a file without pages to verify.
    fn of(member: &'a Member, size: u64, job: &Job) -> Option<Pages<'a>> {
        if job.verify == VerifyPages::No || size == 0 {
            return None;
        }
        let relation = RelationFile::parse(member.name.as_str()).filter(RelationFile::is_paged)?;
        if !size.is_multiple_of(u64::from(job.block_size)) {
            tracing::warn!(file = member.name.as_str(), size, "not a whole number of pages, not verified");
            return None;
        }
        Some(Pages {
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
    fn verify(&mut self, file: &File, position: u64, content: &[u8]) {
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
        tracing::warn!(file = self.name, block = block_in_file, ?verdict, "corrupt page");
        self.corrupt.count += 1;
        if self.name_all || self.corrupt.some.len() < NAMED_CORRUPT_BLOCKS {
            self.corrupt.some.push(block_in_file);
        }
    }
}
