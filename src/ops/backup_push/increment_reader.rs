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
    /// The increment of `file`, which is `member`, with `header`.
    pub fn new(file: File, member: &'a Member, header: IncrementHeader, job: &'a Job) -> IncrementReader<'a> {
        let check = PageCheck::of(member, header.file_bytes(), job);
        IncrementReader::checked_by(check, file, header, job.disk_rate.as_ref())
    }

    fn checked_by(
        check: Option<PageCheck<'a>>,
        file: File,
        header: IncrementHeader,
        rate: Option<&'a RateLimit>,
    ) -> IncrementReader<'a> {
        // Advice only. Pages in between are not wanted, so reading ahead would be in vain.
        let _ = fadvise(&file, 0, None, Advice::Random);
        let mut head = Vec::new();
        // A vector takes everything.
        let _ = header.write(&mut head);
        IncrementReader { file, blocks_done: 0, rate, check, ready: io::Cursor::new(head), header }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::layout::walg::increment::Error;

    /// The byte that a page is filled with.
    fn filling(block: u32) -> u8 {
        u8::try_from(block + 1).unwrap()
    }

    fn file_of(pages: u32) -> File {
        let mut file = tempfile::tempfile().unwrap();
        for block in 0..pages {
            file.write_all(&[filling(block); PAGE_BYTES]).unwrap();
        }
        file
    }

    /// What a reader of the increment gets: blocks with the first and the last byte of their pages.
    fn read_back(file: File, file_pages: u64, blocks: &[u32], piece: usize) -> Vec<(u32, u8, u8)> {
        let header = IncrementHeader::new(file_pages * PAGE_BYTES as u64, blocks.to_vec()).unwrap();
        let mut reader = IncrementReader::checked_by(None, file, header.clone(), None);
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                length => bytes.extend(&buffer[..length]),
            }
        }
        assert_eq!(bytes.len() as u64, reader.size());
        let mut source = &bytes[..];
        assert_eq!(IncrementHeader::read(&mut source).unwrap(), header);
        let mut pages = Vec::new();
        header
            .read_pages(source, |block, page| {
                pages.push((block, page[0], page[PAGE_BYTES - 1]));
                Ok::<_, Error>(())
            })
            .unwrap();
        pages
    }

    #[test]
    fn pages_one_by_one_and_side_by_side() {
        let side_by_side: Vec<u32> = (3..90).collect();
        let cases: [&[u32]; 6] = [&[], &[0], &[99], &[0, 1, 5, 6, 7, 99], &[2, 4, 6], &side_by_side];
        for blocks in cases {
            let expected: Vec<_> =
                blocks.iter().map(|block| (*block, filling(*block), filling(*block))).collect();
            for piece in [PAGE_BYTES, 131_072, 1000] {
                assert_eq!(read_back(file_of(100), 100, blocks, piece), expected, "{blocks:?} by {piece}");
            }
        }
    }

    #[test]
    fn of_a_file_that_was_cut_meanwhile_zeros_are_read() {
        let file = file_of(4);
        file.set_len(2 * PAGE_BYTES as u64 + 100).unwrap();
        assert_eq!(read_back(file, 10, &[1, 2, 3, 9], 131_072), [(1, 2, 2), (2, 3, 0), (3, 0, 0), (9, 0, 0)]);
    }
}
