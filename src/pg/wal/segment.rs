//! What one segment says by itself, for who sees segments one at a time and in any order.
//!
//! Most records lie in one segment. One that does not is there in pieces: its start at the end of a segment, its rest
//! at the start of the next, and segments that are filled by it in between. The pieces are put together by
//! [`join`] as soon as all are known.

use std::io::Read;

use super::WalError;
use super::changes::add_changes;
use super::page::PageHeader;
use super::record::aligned;
use super::segment_pages::{PageBuffer, SegmentPages};
use super::stream::{Stream, Then};
use super::unfinished::{Keep, Unfinished};
use crate::pg::{BlockMap, Lsn, SegmentHeader};

/// No more bytes of one record are kept until its end is read.
const KEPT_MAX: usize = 64 << 20;

/// What the records of one segment changed.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentChanges {
    /// What the segment says about itself.
    pub header: SegmentHeader,
    /// What the records changed that begin and end here.
    pub map: BlockMap,
    /// What the segment begins with.
    pub head: Head,
    /// The start of the record that ends in a later segment, without page headers; empty when none does.
    pub tail: Vec<u8>,
}

/// The part of a record at the start of a segment, of one that begins in an earlier segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the record that the segments before do not have; 0 when this one begins with a record of its own.
    pub missing: u32,
    /// Those that this segment has, without page headers. When they are fewer, the record goes on in the next.
    pub bytes: Vec<u8>,
    /// A crash kept the record from being finished. It does not count, and WAL goes on without it.
    pub dropped: bool,
}

impl SegmentChanges {
    /// Reads a whole segment; of its own records those that begin at or after `from`, where one begins if `from` lies
    /// in the segment. What follows a switch to the next one is not read.
    ///
    /// # Errors
    /// Whatever keeps its records from being read to the last one, [`WalError::LongPiece`] among it.
    pub fn read(bytes: &mut impl Read, from: Lsn) -> Result<SegmentChanges, WalError> {
        let mut buffer = PageBuffer::default();
        let mut pages = SegmentPages::open(bytes, &mut buffer, None)?;
        let (header, end) = (*pages.header(), pages.end());
        let mut map = BlockMap::default();
        let mut head = HeadReader::default();
        let mut stream = None;
        while let Some((at, page)) = pages.next_page()? {
            if stream.is_none() {
                let first = head.page(header.pg_major, at, page)?;
                stream = first.map(|first| Stream::within(first.max(from), end));
            }
            let Some(stream) = &mut stream else { continue };
            if stream.page(header.pg_major, at, page, end, &mut map)? == Then::NextSegment {
                break;
            }
            if stream.unfinished().is_some_and(|unfinished| unfinished.kept_whole() > KEPT_MAX) {
                return Err(WalError::LongPiece { lsn: at });
            }
        }
        let tail = stream.and_then(Stream::into_unfinished).map(Unfinished::into_bytes).unwrap_or_default();
        Ok(SegmentChanges { header, map, head: head.0, tail })
    }
}

/// Puts the end of a record to its start: `tail` is what the segments before left unfinished, `head` is from the
/// segment that follows them.
///
/// When the record ends in this segment, adds what it changed to `map` and returns `None`; after that the segment's own
/// tail counts. Otherwise returns the longer tail. `lsn` is the segment's address, for messages. Read segment by
/// segment, WAL leaves this tail:
///
/// ```
/// # use seawall::pg::{BlockMap, wal::{SegmentChanges, WalError, join}};
/// # fn example(segments: Vec<SegmentChanges>) -> Result<(BlockMap, Vec<u8>), WalError> {
/// let (mut map, mut tail) = (BlockMap::default(), Vec::new());
/// for segment in segments {
///     let (version, lsn) = (segment.header.pg_major, segment.header.page_address);
///     tail = join(version, lsn, tail, &segment.head, &mut map)?.unwrap_or(segment.tail);
///     map.merge(segment.map);
/// }
/// # Ok((map, tail))
/// # }
/// ```
///
/// # Errors
/// [`WalError::OtherSegment`] when the two do not fit, [`WalError::LongPiece`], and those of the record.
pub fn join(
    pg_major: u32,
    lsn: Lsn,
    mut tail: Vec<u8>,
    head: &Head,
    map: &mut BlockMap,
) -> Result<Option<Vec<u8>>, WalError> {
    let missing = if tail.is_empty() { 0 } else { Unfinished::resume(lsn, &tail, Keep::Needed)?.missing() };
    let fits = head.missing == missing && head.bytes.len() <= missing as usize;
    let dropped_at_once = head.dropped && head.missing == 0;
    if !(fits || dropped_at_once) {
        let problem = "it does not continue the record that the segments before it began";
        return Err(WalError::OtherSegment { lsn, problem });
    }
    if head.dropped || missing == 0 {
        return Ok(None);
    }
    tail.extend_from_slice(&head.bytes);
    if tail.len() > KEPT_MAX {
        return Err(WalError::LongPiece { lsn });
    }
    let whole = Unfinished::resume(lsn, &tail, Keep::Needed)?;
    if whole.missing() > 0 {
        return Ok(Some(tail));
    }
    add_changes(&whole.finish(pg_major)?, map)?;
    Ok(None)
}

/// Takes the head from the pages that have it.
#[derive(Default)]
struct HeadReader(Head);

impl HeadReader {
    /// Takes what the next page has; returns where on it the first record begins, if one does.
    fn page(&mut self, pg_major: u32, at: Lsn, page: &[u8]) -> Result<Option<Lsn>, WalError> {
        let header = PageHeader::parse(page, at, pg_major)?;
        let Head { missing, bytes, dropped } = &mut self.0;
        if header.drops_unfinished && header.continued == 0 {
            *dropped = true;
            return Ok(Some(at));
        }
        let is_first = bytes.is_empty();
        if is_first {
            *missing = header.continued;
        }
        let still_missing = (*missing as usize).saturating_sub(bytes.len());
        if header.continued as usize != still_missing {
            let problem = "it does not continue the record that the pages before it continue";
            return Err(WalError::Page { lsn: at, problem });
        }
        let rest = page.get(header.len..).unwrap_or_default();
        let (own, _) = rest.split_at(still_missing.min(rest.len()));
        bytes.extend_from_slice(own);
        if bytes.len() > KEPT_MAX {
            return Err(WalError::LongPiece { lsn: at });
        }
        let first = at.checked_add(header.len.saturating_add(aligned(header.continued)) as u64);
        Ok(first.filter(|_| own.len() == still_missing))
    }
}
