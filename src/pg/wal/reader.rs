//! A stretch of WAL, read segment after segment.

use std::io::Read;

use super::WalError;
use super::page::PageHeader;
use super::stream::{Stream, Then};
use crate::pg::{BlockMap, Lsn, SegmentHeader, SegmentNumber, SystemIdentifier, WalSegmentSize};
use crate::read_full::read_full;

/// How much of a segment is in memory; a multiple of every size a page of WAL can have.
const CHUNK_LEN: usize = 128 << 10;

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
    chunk: Vec<u8>,
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

    fn at(cluster: SystemIdentifier, segment_size: WalSegmentSize, stream: Stream, until: Lsn) -> WalReader {
        let map = BlockMap::default();
        WalReader { cluster, segment_size, until, format: None, stream, map, chunk: Vec::new() }
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
        let before = self.stream.clone();
        let result = self.read_pages(segment, bytes);
        if result.is_err() {
            self.stream = before;
        }
        result
    }

    /// The map of all that was asked for.
    ///
    /// # Errors
    /// [`WalError::UnexpectedEnd`] when a segment is still needed.
    pub fn finish(self) -> Result<BlockMap, WalError> {
        match self.next_segment() {
            None => Ok(self.map),
            Some(_) => Err(WalError::UnexpectedEnd { lsn: self.stream.next(), until: self.until }),
        }
    }

    fn read_pages(&mut self, segment: SegmentNumber, bytes: &mut impl Read) -> Result<(), WalError> {
        let size = self.segment_size;
        let (Some(start), Some(end)) = (segment.start_lsn(size), segment.next().start_lsn(size)) else {
            return Err(WalError::UnexpectedEnd { lsn: self.stream.next(), until: self.until });
        };
        self.chunk.resize(CHUNK_LEN, 0);
        let mut at = start;
        while at < end {
            let read =
                read_full(bytes, &mut self.chunk).map_err(|source| WalError::Read { lsn: at, source })?;
            let chunk = self.chunk.get(..read).unwrap_or_default();
            let format = match self.format {
                Some(format) if at != start => format,
                known => {
                    let found = format_of(chunk, start, self.cluster, size)?;
                    if known.is_some_and(|known| known != found) {
                        let problem = "its version or page size is not that of the segments before";
                        return Err(WalError::OtherSegment { lsn: start, problem });
                    }
                    *self.format.insert(found)
                }
            };
            for page in chunk.chunks_exact(format.page_len as usize) {
                match self.stream.page(format.pg_major, at, page, self.until, &mut self.map)? {
                    Then::NextPage => {}
                    Then::NextSegment => {
                        self.stream.skip_to(end);
                        return Ok(());
                    }
                    Then::Enough => return Ok(()),
                }
                at = Lsn::new(at.as_u64().saturating_add(page.len() as u64));
                if at >= end {
                    return Ok(());
                }
            }
            if read < CHUNK_LEN {
                return Err(WalError::UnexpectedEnd { lsn: at, until: self.until });
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

/// What the first page of the segment at `start` says, if it is one of this cluster.
fn format_of(
    page: &[u8],
    start: Lsn,
    cluster: SystemIdentifier,
    segment_size: WalSegmentSize,
) -> Result<Format, WalError> {
    let header = SegmentHeader::parse(page).map_err(|source| WalError::Segment { lsn: start, source })?;
    if header.page_address != start {
        return Err(WalError::OtherPage { lsn: start, found: header.page_address });
    }
    let problem = if header.system_identifier != cluster {
        "it is of another cluster"
    } else if header.segment_size != segment_size {
        "segments have another size in it"
    } else {
        return Ok(Format { pg_major: header.pg_major, page_len: header.block_size });
    };
    Err(WalError::OtherSegment { lsn: start, problem })
}
