//! A record whose end is on a later page.

use super::WalError;
use super::changes::needs_main_data;
use super::fields::Fields;
use super::record::{Record, RecordHeader};
use crate::pg::Lsn;

/// The parts of a record that were read so far.
///
/// What a record is read for is at its start, for the few kinds of which the main data matters also at its end. Of
/// all others, page images and long messages above all, no more is kept than the headers at the start.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    lsn: Lsn,
    /// Bytes that are still to come.
    missing: u32,
    /// The record from its start on, as much of it as is needed.
    kept: Vec<u8>,
    /// Checksum of what was read after the record's header.
    body_checksum: u32,
}

impl Unfinished {
    /// The record that begins with these bytes.
    pub fn begin(lsn: Lsn, start: &[u8]) -> Result<Unfinished, WalError> {
        let refuse = |problem| WalError::Record { lsn, problem };
        let len = Fields(start).u32().ok_or(refuse("its start is not even its length"))?;
        if (len as usize) < RecordHeader::LEN {
            return Err(refuse("it is shorter than its header"));
        }
        let mut unfinished = Unfinished {
            lsn,
            missing: len,
            kept: Vec::with_capacity(RecordHeader::LEN + Record::HEADERS_MAX),
            body_checksum: 0,
        };
        unfinished.push(start);
        Ok(unfinished)
    }

    /// Where the record begins.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Bytes of the record that are still to come.
    pub fn missing(&self) -> u32 {
        self.missing
    }

    /// Goes on with the record's next bytes; what is more than it needs is left.
    pub fn push(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.missing as usize);
        self.missing = self.missing.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
        let (bytes, _) = bytes.split_at(len);
        let of_header = RecordHeader::LEN.saturating_sub(self.kept.len()).min(len);
        let (of_header, of_body) = bytes.split_at(of_header);
        self.kept.extend_from_slice(of_header);
        if of_body.is_empty() {
            return;
        }
        self.body_checksum = crc32c::crc32c_append(self.body_checksum, of_body);
        let whole = RecordHeader::parse(&self.kept).is_some_and(|header| needs_main_data(&header));
        let limit = if whole { usize::MAX } else { RecordHeader::LEN + Record::HEADERS_MAX };
        let kept = of_body.len().min(limit.saturating_sub(self.kept.len()));
        self.kept.extend_from_slice(of_body.get(..kept).unwrap_or(of_body));
    }

    /// The record, when nothing is missing.
    pub fn finish(&self, pg_major: u32) -> Result<Record<'_>, WalError> {
        let (header, body) = self.kept.split_at_checked(RecordHeader::LEN).unwrap_or((&self.kept, &[]));
        Record::check(self.lsn, pg_major, header, body, self.body_checksum)
    }
}
