//! A stretch of WAL, read segment after segment.

use std::io::Read;

use super::WalError;
use super::page::PageHeader;
use super::segment_pages::{PageBuffer, SegmentPages};
use super::stream::{Stream, Then};
use super::unfinished::{Keep, Unfinished};
use crate::pg::{BlockMap, Lsn, SegmentNumber, SystemIdentifier, WalSegmentSize};

/// Reads a stretch of WAL into a map of what its records changed.
///
/// The caller finds the segments: as long as [`WalReader::next_segment`] names one, it has to be given to
/// [`WalReader::read_segment`]. Which timeline's file holds it is the caller's to know; the pages in it may be of
/// older timelines.
///
/// ```no_run
/// # use seawall::pg::{Lsn, SystemIdentifier, WalSegmentSize, wal::{WalError, WalReader}};
/// # fn example(cluster: SystemIdentifier, from: Lsn, until: Lsn) -> Result<(), WalError> {
/// let mut reader = WalReader::new(cluster, WalSegmentSize::DEFAULT, from, until);
/// while let Some(segment) = reader.next_segment() {
///     let mut bytes = std::fs::File::open(segment.as_u64().to_string()).unwrap();
///     reader.read_segment(&mut bytes)?;
/// }
/// let map = reader.finish()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WalReader {
    cluster: SystemIdentifier,
    segment_size: WalSegmentSize,
    until: Lsn,
    /// Of the segments read so far.
    format: Option<Format>,
    stream: Stream,
    map: BlockMap,
    buffer: PageBuffer,
}

/// What all segments of a stretch have in common, besides the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    pg_major: u32,
    page_len: u32,
}

impl WalReader {
    /// Will read the records of `cluster` that begin at or after `from`, where one begins, and before `until`.
    pub fn new(cluster: SystemIdentifier, segment_size: WalSegmentSize, from: Lsn, until: Lsn) -> WalReader {
        Self::at(cluster, segment_size, Stream::new(from), until)
    }

    /// Will read the records that end at or after the start of `segment` and begin before `until`. The first of them is
    /// the one that begins with `tail`, or the first of the segment when that is empty.
    ///
    /// # Errors
    /// [`WalError::Record`] when no record can begin so.
    pub fn after_tail(
        cluster: SystemIdentifier,
        segment_size: WalSegmentSize,
        segment: SegmentNumber,
        tail: &[u8],
        until: Lsn,
    ) -> Result<WalReader, WalError> {
        let start = segment.start_lsn(segment_size).unwrap_or(Lsn::new(u64::MAX));
        let stream = if tail.is_empty() {
            Stream::new(start)
        } else {
            Stream::continuing(start, Unfinished::resume(start, tail, Keep::Needed)?)
        };
        Ok(Self::at(cluster, segment_size, stream, until))
    }

    fn at(cluster: SystemIdentifier, segment_size: WalSegmentSize, stream: Stream, until: Lsn) -> WalReader {
        let map = BlockMap::default();
        WalReader { cluster, segment_size, until, format: None, stream, map, buffer: PageBuffer::default() }
    }

    /// The segment that is needed next; `None` when the end is reached.
    pub fn next_segment(&self) -> Option<SegmentNumber> {
        let next = self.stream.next();
        if self.stream.unfinished().is_none() && self.until <= self.first_record_from(next) {
            return None;
        }
        Some(next.segment(self.segment_size))
    }

    /// Reads the segment that is needed next, from its first byte on, and adds what its records changed.
    ///
    /// Reads no more of it than is needed, and nothing when no segment is needed. After an error the same segment can
    /// be read again, from elsewhere.
    pub fn read_segment(&mut self, bytes: &mut impl Read) -> Result<(), WalError> {
        let Some(segment) = self.next_segment() else { return Ok(()) };
        let before = (self.stream.clone(), self.format);
        let result = self.read_pages(segment, bytes);
        if result.is_err() {
            (self.stream, self.format) = before;
        }
        result
    }

    /// The map of all that was asked for.
    ///
    /// # Errors
    /// [`WalError::Incomplete`] when a segment is still needed.
    pub fn finish(self) -> Result<BlockMap, WalError> {
        match self.next_segment() {
            None => Ok(self.map),
            Some(_) => Err(WalError::Incomplete { lsn: self.stream.next(), until: self.until }),
        }
    }

    fn read_pages(&mut self, segment: SegmentNumber, bytes: &mut impl Read) -> Result<(), WalError> {
        let Some(start) = segment.start_lsn(self.segment_size) else {
            return Err(WalError::Incomplete { lsn: self.stream.next(), until: self.until });
        };
        let mut pages = SegmentPages::open(bytes, &mut self.buffer, Some(start))?;
        let header = *pages.header();
        let format = Format { pg_major: header.pg_major, page_len: header.block_size };
        let problem = if header.system_identifier != self.cluster {
            Some("it is of another cluster")
        } else if header.segment_size != self.segment_size {
            Some("segments have another size in it")
        } else if *self.format.get_or_insert(format) != format {
            Some("its version or page size is not that of the segments before")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(WalError::OtherSegment { lsn: start, problem });
        }
        while let Some((at, page)) = pages.next_page()? {
            match self.stream.page(format.pg_major, at, page, self.until, &mut self.map)? {
                Then::NextPage => {}
                Then::NextSegment => {
                    self.stream.skip_to(pages.end());
                    return Ok(());
                }
                Then::Enough => return Ok(()),
            }
        }
        Ok(())
    }

    /// Where the record begins that follows at `next`: behind the page header, if there is one.
    fn first_record_from(&self, next: Lsn) -> Lsn {
        let first_of = |len: u64| next.as_u64().is_multiple_of(len);
        let header_len = if first_of(self.segment_size.bytes()) {
            PageHeader::len(true)
        } else if self.format.is_some_and(|format| first_of(format.page_len.into())) {
            PageHeader::len(false)
        } else {
            0
        };
        next.checked_add(header_len as u64).unwrap_or(next)
    }
}
