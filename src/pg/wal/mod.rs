//! The content of WAL: records, and which blocks they change.
//!
//! WAL is a stream of pages, each with a header that gives its own address; records lie one after the other between
//! the headers and continue over as many pages and segments as they need.
//!
//! [`WalReader`] reads a stretch of it, segment after segment, into a [`BlockMap`](crate::pg::BlockMap).
//! [`SegmentChanges`] is what one segment says by itself, and [`join`] adds the records that several segments share.
//!
//! | module | of it |
//! |---|---|
//! | `page` | the header of a page |
//! | `record` | the header of a record, and the blocks it names |
//! | `changes` | what a record changes |
//! | `unfinished` | a record whose end is on a later page |
//! | `stream` | records across pages |
//! | `segment_pages` | the pages of a segment |
//! | `reader` | a stretch of WAL, across segments |
//! | `segment` | one segment by itself |
//!
//! Nothing here guesses: whatever cannot be read for sure is a [`WalError`], and then the map is not complete.

mod changes;
mod fields;
mod page;
mod reader;
mod record;
mod segment;
mod segment_pages;
mod stream;
#[cfg(test)]
mod tests;
mod unfinished;

pub(super) use fields::Fields;
pub use reader::WalReader;
pub use segment::{Head, SegmentChanges, join};

use std::io;

use super::{Lsn, WalPageError};

/// Why WAL could not be read to the end of what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The source of the bytes failed.
    #[error("read WAL at {lsn}: {source}")]
    Read {
        /// Where the bytes that are missing begin.
        lsn: Lsn,
        /// The source's error.
        source: io::Error,
    },
    /// The source ended before the segment did.
    #[error("read WAL: the segment is cut off at {lsn}")]
    CutOff {
        /// The first address that is missing.
        lsn: Lsn,
    },
    /// Segments are still needed.
    #[error("read WAL: it was read up to {lsn}, {until} was to be reached")]
    Incomplete {
        /// The first address that was not read.
        lsn: Lsn,
        /// The end of what was asked for.
        until: Lsn,
    },
    /// The start of a segment is not that of one of this cluster, or not that of the expected one.
    #[error("read WAL segment at {lsn}: {source}")]
    Segment {
        /// The address of the segment that was expected.
        lsn: Lsn,
        /// What is wrong with its first page.
        source: WalPageError,
    },
    /// The segment is another one than was expected: of another cluster, version or size.
    #[error("read WAL segment at {lsn}: {problem}")]
    OtherSegment {
        /// The address of the segment that was expected.
        lsn: Lsn,
        /// What is different.
        problem: &'static str,
    },
    /// The page is one of another place: of a segment renamed for later use, and not written yet from here on.
    #[error("read WAL page at {lsn}: it has address {found}")]
    OtherPage {
        /// The address of the page that was expected.
        lsn: Lsn,
        /// The address in its header.
        found: Lsn,
    },
    /// The page's header is none of this version, or does not follow from the page before.
    #[error("read WAL page at {lsn}: {problem}")]
    Page {
        /// The address of the page.
        lsn: Lsn,
        /// What is wrong.
        problem: &'static str,
    },
    /// No record begins at the address from which to read.
    #[error("read WAL from {lsn}: no record begins there")]
    NotARecord {
        /// The address.
        lsn: Lsn,
    },
    /// Zeroes where a record or page should begin: the server has not written so far.
    #[error("read WAL: nothing was written from {lsn} on")]
    End {
        /// The address of the first zeroes.
        lsn: Lsn,
    },
    /// The checksum of the record is wrong.
    #[error("read WAL record at {lsn}: its checksum is {stored:08X}, that of its content {computed:08X}")]
    Checksum {
        /// The address of the record.
        lsn: Lsn,
        /// The checksum in its header.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// The record does not follow the one that was read before it.
    #[error("read WAL record at {lsn}: the record before it should be at {named}, it is at {read}")]
    OtherRecord {
        /// The address of the record.
        lsn: Lsn,
        /// Where it says that the one before it is.
        named: Lsn,
        /// Where the one before it was.
        read: Lsn,
    },
    /// The record's content contradicts itself.
    #[error("read WAL record at {lsn}: {problem}")]
    Record {
        /// The address of the record.
        lsn: Lsn,
        /// What is wrong.
        problem: &'static str,
    },
    /// More than 64 MiB of one record would have to be kept until the segment with its end is read.
    #[error("read WAL at {lsn}: the record there is too long to be kept in pieces")]
    LongPiece {
        /// The page or segment that the record reaches.
        lsn: Lsn,
    },
    /// The server ran with `wal_level = minimal`, with which not all changes are in WAL.
    #[error("read WAL record at {lsn}: wal_level was minimal, not all changes are in WAL")]
    MinimalLevel {
        /// The address of the record that says so.
        lsn: Lsn,
    },
    /// The record says that it changes files, and is not of a kind known here.
    #[error(
        "read WAL record at {lsn}: it changes files in an unknown way (resource manager {manager}, info {info:02X})"
    )]
    UnknownChange {
        /// The address of the record.
        lsn: Lsn,
        /// Its resource manager.
        manager: u8,
        /// Its `xl_info`.
        info: u8,
    },
}
