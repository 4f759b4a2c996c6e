//! The header of any page of WAL.
//!
//! Every page begins with the short header, the first page of a segment with the long one
//! ([`SegmentHeader`](crate::pg::SegmentHeader), whose table has the fields). Source: `access/xlog_internal.h`;
//! what is refused is what `XLogReaderValidatePageHeader` (`access/transam/xlogreader.c`) refuses.

use super::WalError;
use super::fields::Fields;
use crate::pg::Lsn;
use crate::pg::wal_page::{XLP_ALL_FLAGS, XLP_LONG_HEADER, major_of_magic};

/// `SizeOfXLogShortPHD`.
const SHORT_LEN: usize = 24;

/// `SizeOfXLogLongPHD`.
const LONG_LEN: usize = 40;

const XLP_FIRST_IS_CONTRECORD: u16 = 0x0001;

/// From 14 on, and in the later minor releases of 13.
const XLP_FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;

/// What a page says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageHeader {
    /// Bytes of the header: where the page's content begins.
    pub len: usize,
    /// The timeline on which the page was begun.
    pub timeline: u32,
    /// Bytes of a record begun earlier that are still to come, on this page and those after it; 0 when the page
    /// begins with a record of its own.
    pub continued: u32,
    /// A crash kept the record begun earlier from being finished: it does not count, and this page goes on without.
    pub drops_unfinished: bool,
}

impl PageHeader {
    /// Reads the header of the page that should lie `at` this address, in WAL of this version.
    pub fn parse(page: &[u8], at: Lsn, pg_major: u32) -> Result<PageHeader, WalError> {
        let refuse = |problem| WalError::Page { lsn: at, problem };
        let mut fields = Fields(page);
        let mut header = || {
            let magic_and_flags = (fields.u16()?, fields.u16()?);
            Some((magic_and_flags, fields.u32()?, fields.u64()?, fields.u32()?))
        };
        let ((magic, flags), timeline, address, remaining) =
            header().ok_or(refuse("it is shorter than its header"))?;
        if magic == 0 {
            return Err(WalError::End { lsn: at });
        }
        if major_of_magic(magic) != Some(pg_major) {
            return Err(refuse("its magic is not that of this version"));
        }
        if flags & !XLP_ALL_FLAGS != 0 {
            return Err(refuse("it has unknown flags"));
        }
        // A segment that was renamed for later use, and not written yet from here on.
        if address != at.as_u64() {
            return Err(WalError::OtherPage { lsn: at, found: Lsn::new(address) });
        }
        let is_continued = flags & XLP_FIRST_IS_CONTRECORD != 0;
        if is_continued && remaining == 0 {
            return Err(refuse("it continues a record by 0 bytes"));
        }
        Ok(PageHeader {
            len: Self::len(flags & XLP_LONG_HEADER != 0),
            timeline,
            continued: if is_continued { remaining } else { 0 },
            drops_unfinished: flags & XLP_FIRST_IS_OVERWRITE_CONTRECORD != 0,
        })
    }

    /// Bytes of a header; long ones are on the first page of each segment.
    pub const fn len(first_of_segment: bool) -> usize {
        if first_of_segment { LONG_LEN } else { SHORT_LEN }
    }
}
