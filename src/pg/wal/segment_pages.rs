//! The pages of one segment, from its bytes.

use std::io::Read;

use super::WalError;
use crate::pg::{Lsn, SegmentHeader};
use crate::read_full::read_full;

/// How much of a segment is in memory; a multiple of every size a page of WAL can have.
const CHUNK_LEN: usize = 128 << 10;

/// Memory for the pages, which one segment after the other can use.
#[derive(Debug, Default)]
pub(super) struct PageBuffer(Vec<u8>);

/// Hands out one page after the other.
pub(super) struct SegmentPages<'a, R> {
    source: &'a mut R,
    header: SegmentHeader,
    buffer: &'a mut [u8],
    /// What of the buffer is read, and what of that was handed out.
    filled: usize,
    given: usize,
    /// The address of the next page.
    at: Lsn,
    end: Lsn,
}

impl<'a, R: Read> SegmentPages<'a, R> {
    /// Reads the first page's header; `expected` is the segment's address if it is known, for messages too.
    pub fn open(
        source: &'a mut R,
        buffer: &'a mut PageBuffer,
        expected: Option<Lsn>,
    ) -> Result<SegmentPages<'a, R>, WalError> {
        let lsn = expected.unwrap_or_default();
        buffer.0.resize(CHUNK_LEN, 0);
        let filled = read_full(source, &mut buffer.0).map_err(|source| WalError::Read { lsn, source })?;
        let header = SegmentHeader::parse(buffer.0.get(..filled).unwrap_or_default())
            .map_err(|source| WalError::Segment { lsn, source })?;
        let at = header.page_address;
        if expected.is_some_and(|expected| expected != at) {
            return Err(WalError::OtherPage { lsn, found: at });
        }
        let size = header.segment_size;
        let end =
            at.segment(size).next().start_lsn(size).filter(|_| at.as_u64().is_multiple_of(size.bytes()));
        let end =
            end.ok_or(WalError::OtherSegment { lsn, problem: "its address is not that of a segment" })?;
        Ok(SegmentPages { source, header, buffer: &mut buffer.0, filled, given: 0, at, end })
    }

    /// What the first page says.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The address past the segment.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// The next page and its address; `None` at the end of the segment.
    ///
    /// # Errors
    /// [`WalError::Read`], and [`WalError::CutOff`] when the source ends before the segment does.
    pub fn next_page(&mut self) -> Result<Option<(Lsn, &[u8])>, WalError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let len = self.header.block_size as usize;
        if self.given == self.buffer.len() {
            self.filled = read_full(self.source, self.buffer)
                .map_err(|source| WalError::Read { lsn: self.at, source })?;
            self.given = 0;
        }
        let at = self.at;
        let pages = self.buffer.get(self.given..self.filled).unwrap_or_default();
        let page = pages.get(..len).ok_or(WalError::CutOff { lsn: at })?;
        self.given = self.given.saturating_add(len);
        self.at = at.checked_add(len as u64).unwrap_or(self.end);
        Ok(Some((at, page)))
    }
}
