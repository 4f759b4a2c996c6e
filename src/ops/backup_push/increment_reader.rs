//! Reads the increment of a file: its header, then the pages that are taken, straight from the file.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{Advice, fadvise};

use crate::layout::walg::files_metadata::CorruptBlocks;
use crate::layout::walg::increment::{IncrementHeader, PAGE_BYTES};
use crate::pg::data_dir::Member;
use crate::pipeline::RateLimit;
use crate::read_full::{read_full, read_full_at};

use super::job::Job;
use super::page_check::PageCheck;

/// Pages read at a time, at most.
const PAGES_AT_ONCE: usize = 32;

/// An increment being copied.
///
/// Its size is settled by its header. Of pages that the file has lost meanwhile zeros are read: WAL replay cuts the
/// file there anyway.
pub(super) struct IncrementReader<'a> {
    file: File,
    header: IncrementHeader,
    /// How many of the header's blocks have been read.
    blocks_done: usize,
    rate: Option<&'a RateLimit>,
    check: Option<PageCheck<'a>>,
    /// What comes next: the header, then pages.
    ready: io::Cursor<Vec<u8>>,
}

impl<'a> IncrementReader<'a> {
    /// The increment of `file` with `header`.
    pub fn new(file: File, member: &'a Member, header: IncrementHeader, job: &'a Job) -> IncrementReader<'a> {
        // Advice only. Pages in between are not wanted, so reading ahead would be in vain.
        let _ = fadvise(&file, 0, None, Advice::Random);
        let mut head = Vec::new();
        // A vector takes everything.
        let _ = header.write(&mut head);
        IncrementReader {
            file,
            blocks_done: 0,
            rate: job.disk_rate.as_ref(),
            check: PageCheck::of(member, header.file_bytes(), job),
            ready: io::Cursor::new(head),
            header,
        }
    }

    /// Bytes to copy.
    pub fn size(&self) -> u64 {
        self.header.increment_bytes()
    }

    /// The pages found corrupt.
    pub fn corrupt_blocks(self) -> Option<CorruptBlocks> {
        self.check.and_then(PageCheck::corrupt_blocks)
    }

    /// Reads the next pages that lie side by side.
    fn read_run(&mut self) -> io::Result<()> {
        let rest = self.header.blocks().get(self.blocks_done..).unwrap_or_default();
        let Some(first) = rest.first().copied() else { return Ok(()) };
        let run = rest.iter().zip(first..).take(PAGES_AT_ONCE).take_while(|(block, next)| **block == *next);
        let run = run.count();
        let position = u64::from(first) * PAGE_BYTES as u64;
        let pages = self.ready.get_mut();
        pages.clear();
        pages.resize(run * PAGE_BYTES, 0);
        let read = read_full_at(&self.file, pages, position)?;
        if let Some(rate) = self.rate {
            rate.wait(read);
        }
        if let Some(check) = &mut self.check {
            check.verify(&self.file, position, pages.get(..read).unwrap_or_default());
        }
        self.ready.set_position(0);
        self.blocks_done += run;
        Ok(())
    }
}

impl Read for IncrementReader<'_> {
    /// Fills the buffer: pages often come one by one, and what follows works on larger pieces.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            filled += read_full(&mut self.ready, buffer.get_mut(filled..).unwrap_or_default())?;
            if filled == buffer.len() {
                return Ok(filled);
            }
            let before = self.blocks_done;
            self.read_run()?;
            if self.blocks_done == before {
                return Ok(filled);
            }
        }
    }
}
