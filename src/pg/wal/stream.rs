//! Records across pages.

use super::WalError;
use super::changes::{add_changes, ends_segment, overwritten};
use super::fields::Fields;
use super::page::PageHeader;
use super::record::{ALIGNMENT, Record, RecordHeader, aligned};
use super::unfinished::{Keep, Unfinished};
use crate::pg::{BlockMap, Lsn};

/// Where reading stands, between two pages.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// Where the next record begins, or where the page begins that begins with it; while one is unfinished, the page
    /// that continues it.
    next: Lsn,
    /// A record of which more pages are needed.
    unfinished: Option<Unfinished>,
    /// Where the record before the next one begins, if one was read and that is known.
    previous: Option<Lsn>,
    /// Where the record begins that a crash left unfinished, if known, until the record was read that says so.
    dropped: Option<Lsn>,
    /// The timeline of the latest page.
    timeline: u32,
    /// Where the last page there will be ends, if a record that goes on there has to be kept whole.
    keep_past: Option<Lsn>,
}

/// How it goes on after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// With the next page.
    NextPage,
    /// With the next segment: the rest of this one is empty.
    NextSegment,
    /// Not at all: the end of what was asked for is reached.
    Enough,
}

impl Stream {
    /// Reading begins with the record at `from`, or with the first one of the page that begins there.
    pub fn new(from: Lsn) -> Stream {
        Stream { next: from, unfinished: None, previous: None, dropped: None, timeline: 0, keep_past: None }
    }

    /// Reading begins at `page`, which goes on with a record begun before.
    pub fn continuing(page: Lsn, unfinished: Unfinished) -> Stream {
        Stream { unfinished: Some(unfinished), ..Stream::new(page) }
    }

    /// Reading begins with the record at `from`; one that goes on past `end` is kept whole.
    pub fn within(from: Lsn, end: Lsn) -> Stream {
        Stream { keep_past: Some(end), ..Stream::new(from) }
    }

    /// Where the next record begins, or the page before it, or the page that continues the one begun.
    pub fn next(&self) -> Lsn {
        self.next
    }

    /// The record that was begun and needs more pages.
    pub fn unfinished(&self) -> Option<&Unfinished> {
        self.unfinished.as_ref()
    }

    /// That record, when no more pages come.
    pub fn into_unfinished(self) -> Option<Unfinished> {
        self.unfinished
    }

    /// Passes over what lies before `next`, the start of a segment.
    pub fn skip_to(&mut self, next: Lsn) {
        self.next = next;
    }

    /// Adds what the records change that end on this page and begin before `until`.
    ///
    /// Pages must come in order. Those before the one with the first record are passed over.
    pub fn page(
        &mut self,
        pg_major: u32,
        at: Lsn,
        page: &[u8],
        until: Lsn,
        map: &mut BlockMap,
    ) -> Result<Then, WalError> {
        let past = Lsn::new(at.as_u64().saturating_add(page.len() as u64));
        if self.next >= past {
            return Ok(Then::NextPage);
        }
        let header = PageHeader::parse(page, at, pg_major)?;
        if header.timeline < self.timeline {
            let problem = "its timeline is older than that of the pages before";
            return Err(WalError::Page { lsn: at, problem });
        }
        self.timeline = header.timeline;
        let mut offset = match self.unfinished.take() {
            None => self.first_offset(at, &header)?,
            Some(unfinished) if header.drops_unfinished && header.continued == 0 => {
                self.dropped = unfinished.start();
                header.len
            }
            Some(mut unfinished) => {
                if header.continued != unfinished.missing() {
                    let problem = "it does not continue the record that the pages before it began";
                    return Err(WalError::Page { lsn: at, problem });
                }
                unfinished.push(page.get(header.len..).unwrap_or_default());
                if unfinished.missing() > 0 {
                    self.unfinished = Some(unfinished);
                    self.next = past;
                    return Ok(Then::NextPage);
                }
                let record = unfinished.finish(pg_major)?;
                if self.record(&record, unfinished.start(), map)? == Then::NextSegment {
                    return Ok(Then::NextSegment);
                }
                header.len.saturating_add(aligned(header.continued))
            }
        };
        loop {
            let rest = page.get(offset..).unwrap_or_default();
            if rest.is_empty() {
                self.next = past;
                return Ok(Then::NextPage);
            }
            let lsn = Lsn::new(at.as_u64().saturating_add(offset as u64));
            self.next = lsn;
            if lsn >= until {
                return Ok(Then::Enough);
            }
            let len = Fields(rest).u32().ok_or(WalError::NotARecord { lsn })?;
            if len == 0 {
                return Err(WalError::End { lsn });
            }
            let Some((header, body)) =
                rest.get(..len as usize).and_then(|whole| whole.split_at_checked(RecordHeader::LEN))
            else {
                self.unfinished = Some(Unfinished::begin(lsn, rest, self.keep(lsn, len, page.len()))?);
                self.next = past;
                return Ok(Then::NextPage);
            };
            let record = Record::check(lsn, pg_major, header, body, crc32c::crc32c(body))?;
            if self.record(&record, Some(lsn), map)? == Then::NextSegment {
                return Ok(Then::NextSegment);
            }
            offset = offset.saturating_add(aligned(len));
        }
    }

    /// Where on the page the next record begins.
    fn first_offset(&self, at: Lsn, header: &PageHeader) -> Result<usize, WalError> {
        let no_record = WalError::NotARecord { lsn: self.next };
        let offset = self.next.bytes_since(at).and_then(|offset| usize::try_from(offset).ok());
        let first = header.len.saturating_add(aligned(header.continued));
        match offset {
            Some(0) if header.continued == 0 => Ok(first),
            Some(offset) if offset >= first && offset == offset.next_multiple_of(ALIGNMENT) => Ok(offset),
            _ => Err(no_record),
        }
    }

    /// Whether the record is needed whole. Counts a page header too many rather than too few.
    fn keep(&self, lsn: Lsn, len: u32, page_len: usize) -> Keep {
        let pages = u64::from(len) / (page_len.saturating_sub(PageHeader::len(false)).max(1) as u64) + 2;
        let end = lsn.checked_add(u64::from(len) + pages * PageHeader::len(true) as u64);
        let goes_on = self.keep_past.is_some_and(|past| end.is_none_or(|end| end > past));
        if goes_on { Keep::Whole } else { Keep::Needed }
    }

    /// Adds what a record changed that begins at `start`, if that is known.
    fn record(&mut self, record: &Record, start: Option<Lsn>, map: &mut BlockMap) -> Result<Then, WalError> {
        let main_data = add_changes(record, map)?;
        let &Record { lsn, header, .. } = record;
        if let Some(read) = std::mem::replace(&mut self.previous, start)
            && header.previous != read
        {
            return Err(WalError::OtherRecord { lsn, named: header.previous, read });
        }
        if let Some(dropped) = self.dropped.take()
            && overwritten(&header, main_data) != Some(dropped)
        {
            let problem = "it does not say that the unfinished record before it was dropped";
            return Err(WalError::Record { lsn, problem });
        }
        Ok(if ends_segment(&header) { Then::NextSegment } else { Then::NextPage })
    }
}
