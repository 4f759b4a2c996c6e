//! Reads a file of the cluster whole, at the allowed speed, and verifies its pages as they pass by.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{Advice, fadvise};

use crate::layout::walg::files_metadata::CorruptBlocks;
use crate::pg::data_dir::Member;
use crate::pipeline::RateLimit;
use crate::progress::Progress;
use crate::read_full::read_full;

use super::job::Job;
use super::page_check::PageCheck;

/// A file being copied.
pub(super) struct FileReader<'a> {
    file: File,
    size: u64,
    position: u64,
    rate: Option<&'a RateLimit>,
    progress: &'a Progress,
    pages: Option<PageCheck<'a>>,
}

impl<'a> FileReader<'a> {
    /// Takes the size that the file has now; whatever it grows by later is left to WAL replay.
    pub fn new(file: File, member: &'a Member, job: &'a Job) -> io::Result<FileReader<'a>> {
        let size = file.metadata()?.len();
        // Advice only: a file system that does not take it reads as well.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let pages = PageCheck::of(member, size, job);
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
        self.pages.and_then(PageCheck::corrupt_blocks)
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
