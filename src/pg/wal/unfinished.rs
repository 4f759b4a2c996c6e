//! A record whose end is on a later page.

use super::WalError;
use super::changes::needs_main_data;
use super::fields::Fields;
use super::record::{Record, RecordHeader};
use crate::pg::Lsn;

/// How much of a record is kept until it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// What it is read for.
    Needed,
    /// All of it.
    Whole,
}

/// The parts of a record that were read so far.
///
/// What a record is read for is at its start, for the few kinds of which the main data matters also at its end. Of
/// all others, page images and long messages above all, no more is kept than the headers at the start; unless the
/// record has to be kept whole for being handed on.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    /// Where the record begins or, when only its first bytes are known, where it goes on.
    lsn: Lsn,
    start: Option<Lsn>,
    /// Bytes that are still to come.
    missing: u32,
    /// The record from its start on, as much of it as is needed.
    kept: Vec<u8>,
    keep: Keep,
    /// Checksum of what was read after the record's header.
    body_checksum: u32,
}

impl Unfinished {
    /// The record that begins at `lsn` with these bytes.
    pub fn begin(lsn: Lsn, start: &[u8], keep: Keep) -> Result<Unfinished, WalError> {
        Ok(Unfinished { start: Some(lsn), ..Self::resume(lsn, start, keep)? })
    }

    /// The record that begins somewhere with these bytes, and goes on in the page at `lsn`.
    pub fn resume(lsn: Lsn, start: &[u8], keep: Keep) -> Result<Unfinished, WalError> {
        let refuse = |problem| WalError::Record { lsn, problem };
        let len = Fields(start).u32().ok_or_else(|| refuse("its start is not even its length"))?;
        if (len as usize) < RecordHeader::LEN {
            return Err(refuse("it is shorter than its header"));
        }
        let kept = Vec::with_capacity(RecordHeader::LEN + Record::HEADERS_MAX);
        let mut unfinished = Unfinished { lsn, start: None, missing: len, kept, keep, body_checksum: 0 };
        unfinished.push(start);
        Ok(unfinished)
    }

    /// Where the record begins, if that is known.
    pub fn start(&self) -> Option<Lsn> {
        self.start
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
        let whole = self.keep == Keep::Whole
            || RecordHeader::parse(&self.kept).is_some_and(|header| needs_main_data(&header));
        let limit = if whole { usize::MAX } else { RecordHeader::LEN + Record::HEADERS_MAX };
        let kept = of_body.len().min(limit.saturating_sub(self.kept.len()));
        self.kept.extend_from_slice(of_body.get(..kept).unwrap_or(of_body));
    }

    /// Bytes that are kept because the record has to be kept whole.
    pub fn kept_whole(&self) -> usize {
        if self.keep == Keep::Whole { self.kept.len() } else { 0 }
    }

    /// What was read of it, if all of it was to be kept.
    pub fn into_bytes(self) -> Vec<u8> {
        self.kept
    }

    /// The record, when nothing is missing.
    pub fn finish(&self, pg_major: u32) -> Result<Record<'_>, WalError> {
        let (header, body) = self.kept.split_at_checked(RecordHeader::LEN).unwrap_or((&self.kept, &[]));
        Record::check(self.lsn, pg_major, header, body, self.body_checksum)
    }
}
