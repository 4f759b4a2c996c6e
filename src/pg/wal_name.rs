//! Names of the files that PostgreSQL hands to `archive_command` and asks of `restore_command`.
//!
//! | file | name | when |
//! |---|---|---|
//! | segment | `TTTTTTTTLLLLLLLLSSSSSSSS` | a segment was filled or switched |
//! | partial segment | `<segment>.partial` | promotion: the unfinished last segment of the old timeline |
//! | history file | `TTTTTTTT.history` | promotion |
//! | backup history file | `<segment>.OOOOOOOO.backup` | end of a base backup; offset of its start in that segment |
//!
//! T is the timeline, L the upper 32 bits of the segment's address, S the number of the segment within those
//! 4 GiB; all upper-case hexadecimal. Source: `access/xlog_internal.h`, `XLogFileName` and its neighbours. As in
//! wal-g, digits of either case are read.

use std::fmt;
use std::iter;
use std::str::FromStr;

use super::lsn::parse_hex32;
use super::{Lsn, ParseError, SegmentNumber, TimelineId, WalSegmentSize};

/// Any file that PostgreSQL archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// A complete segment.
    Segment(SegmentName),
    /// The unfinished last segment of a timeline that was left.
    Partial(SegmentName),
    /// The history of a timeline.
    History(TimelineId),
    /// The note a base backup leaves behind: the segment and the offset in it at which the backup started.
    BackupHistory(SegmentName, u32),
}

impl WalFileName {
    /// The segment, if this is a complete one.
    pub fn segment(self) -> Option<SegmentName> {
        match self {
            WalFileName::Segment(segment) => Some(segment),
            WalFileName::Partial(_) | WalFileName::History(_) | WalFileName::BackupHistory(..) => None,
        }
    }

    /// The timeline the file belongs to.
    pub fn timeline(self) -> TimelineId {
        match self {
            WalFileName::Segment(segment)
            | WalFileName::Partial(segment)
            | WalFileName::BackupHistory(segment, _) => segment.timeline(),
            WalFileName::History(timeline) => timeline,
        }
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalFileName::Segment(segment) => write!(f, "{segment}"),
            WalFileName::Partial(segment) => write!(f, "{segment}.partial"),
            WalFileName::History(timeline) => write!(f, "{:08X}.history", timeline.as_u32()),
            WalFileName::BackupHistory(segment, offset) => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalFileName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<WalFileName, ParseError> {
        parse_wal_file_name(text).ok_or_else(|| ParseError::WalFileName { text: text.to_owned() })
    }
}

fn parse_wal_file_name(text: &str) -> Option<WalFileName> {
    match text.split_once('.') {
        None => Some(WalFileName::Segment(parse_segment_name(text)?)),
        Some((segment, "partial")) => Some(WalFileName::Partial(parse_segment_name(segment)?)),
        Some((timeline, "history")) => Some(WalFileName::History(TimelineId::new(parse_hex8(timeline)?)?)),
        Some((segment, rest)) => {
            let offset = parse_hex8(rest.strip_suffix(".backup")?)?;
            Some(WalFileName::BackupHistory(parse_segment_name(segment)?, offset))
        }
    }
}

/// The name of a segment, in its three parts.
///
/// The parts are kept as written, because what position they stand for depends on the segment size, which a name
/// does not tell. Names order by timeline, then by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    timeline: TimelineId,
    log: u32,
    segment: u32,
}

impl SegmentName {
    /// The name of segment `number` on `timeline`; `None` if the segment lies past the end of WAL's address space.
    pub fn new(timeline: TimelineId, number: SegmentNumber, size: WalSegmentSize) -> Option<SegmentName> {
        let per_log = size.segments_per_log();
        Some(SegmentName {
            timeline,
            log: u32::try_from(number.as_u64() / per_log).ok()?,
            segment: u32::try_from(number.as_u64() % per_log).ok()?,
        })
    }

    /// The name of the segment that holds the byte at `lsn` on `timeline`.
    pub fn containing(timeline: TimelineId, lsn: Lsn, size: WalSegmentSize) -> SegmentName {
        #[expect(clippy::expect_used, reason = "an LSN divided by the segment size is always in range")]
        SegmentName::new(timeline, lsn.segment(size), size).expect("every LSN lies in a segment")
    }

    /// The name of the segment on `timeline` in which WAL ends that ends at `end`: nothing of the next one, where it ends
    /// with a segment.
    pub fn ending_at(timeline: TimelineId, end: Lsn, size: WalSegmentSize) -> SegmentName {
        SegmentName::containing(timeline, end.checked_sub(1).unwrap_or(end), size)
    }

    /// The segments of its timeline that hold the WAL from its beginning to `end`, in order.
    pub fn until(self, end: Lsn, size: WalSegmentSize) -> impl Iterator<Item = SegmentName> {
        let last = SegmentName::ending_at(self.timeline, end, size);
        iter::successors(Some(self), move |segment| segment.next(size))
            .take_while(move |segment| *segment <= last)
    }

    /// The timeline.
    pub const fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// The upper 32 bits of the segment's address.
    pub const fn log(self) -> u32 {
        self.log
    }

    /// The number of this segment in WAL; `None` if a segment of this `size` cannot have this name.
    pub fn number(self, size: WalSegmentSize) -> Option<SegmentNumber> {
        let per_log = size.segments_per_log();
        let fits = u64::from(self.segment) < per_log;
        fits.then(|| SegmentNumber::new(u64::from(self.log) * per_log + u64::from(self.segment)))
    }

    /// The address of the segment's first byte; `None` if a segment of this `size` cannot have this name.
    pub fn start_lsn(self, size: WalSegmentSize) -> Option<Lsn> {
        self.number(size)?.start_lsn(size)
    }

    /// The following segment on the same timeline; `None` if a segment of this `size` cannot have this name, or at
    /// the end of WAL's address space.
    pub fn next(self, size: WalSegmentSize) -> Option<SegmentName> {
        SegmentName::new(self.timeline, self.number(size)?.next(), size)
    }

    /// The segment before on the same timeline; `None` if a segment of this `size` cannot have this name, or for
    /// segment 0.
    pub fn previous(self, size: WalSegmentSize) -> Option<SegmentName> {
        SegmentName::new(self.timeline, self.number(size)?.checked_prev()?, size)
    }

    /// The segment at the same place on another timeline.
    pub const fn on_timeline(self, timeline: TimelineId) -> SegmentName {
        SegmentName { timeline, ..self }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.as_u32(), self.log, self.segment)
    }
}

impl FromStr for SegmentName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<SegmentName, ParseError> {
        parse_segment_name(text).ok_or_else(|| ParseError::WalFileName { text: text.to_owned() })
    }
}

fn parse_segment_name(text: &str) -> Option<SegmentName> {
    let (timeline, position) = text.split_at_checked(8)?;
    let (log, segment) = position.split_at_checked(8)?;
    Some(SegmentName {
        timeline: TimelineId::new(parse_hex8(timeline)?)?,
        log: parse_hex8(log)?,
        segment: parse_hex8(segment)?,
    })
}

fn parse_hex8(text: &str) -> Option<u32> {
    if text.len() == 8 { parse_hex32(text) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> SegmentName {
        text.parse().unwrap()
    }

    fn mebibytes(count: u64) -> WalSegmentSize {
        WalSegmentSize::from_mebibytes(count).unwrap()
    }

    #[test]
    fn every_kind_of_name() {
        let segment = name("00000002000000010000000A");
        for (text, file) in [
            ("00000002000000010000000A", WalFileName::Segment(segment)),
            ("00000002000000010000000A.partial", WalFileName::Partial(segment)),
            ("0000001F.history", WalFileName::History(TimelineId::new(31).unwrap())),
            ("00000002000000010000000A.00000028.backup", WalFileName::BackupHistory(segment, 0x28)),
        ] {
            assert_eq!(text.parse(), Ok(file));
            assert_eq!(file.to_string(), text);
        }
        assert_eq!("00000002000000010000000a".parse(), Ok(WalFileName::Segment(segment)));
    }

    #[test]
    fn names_postgresql_does_not_write() {
        for text in [
            "",
            ".",
            "0000000100000000000000",
            "00000001000000000000000G",
            "0000000100000000000000011",
            "000000000000000000000001",
            "00000000.history",
            "0000001.history",
            "000000010.history",
            "00000001.History",
            "000000010000000000000001.partial.partial",
            "000000010000000000000001.backup",
            "000000010000000000000001.28.backup",
            "000000010000000000000001.00000028.backup.lz4",
            "000000010000000000000001.lz4",
            "pg_wal/000000010000000000000001",
            "+00000010000000000000001",
            "0000000100000000000000é",
            "RECOVERYXLOG",
        ] {
            let refused = ParseError::WalFileName { text: text.to_owned() };
            assert_eq!(text.parse::<WalFileName>(), Err(refused), "{text:?}");
        }
    }

    #[test]
    fn numbers_depend_on_the_segment_size() {
        for (text, mib, number, start) in [
            ("000000010000000000000001", 16, Some(1), Some(0x100_0000)),
            ("0000000100000000000000FF", 16, Some(255), Some(0xFF00_0000)),
            ("000000010000000100000000", 16, Some(256), Some(0x1_0000_0000)),
            ("000000010000000000000100", 16, None, None),
            ("000000010000000000000FFF", 1, Some(4095), Some(0xFFF0_0000)),
            ("000000010000000200000003", 1024, Some(11), Some(0x2_C000_0000)),
            ("000000010000000200000004", 1024, None, None),
        ] {
            assert_eq!(name(text).number(mebibytes(mib)), number.map(SegmentNumber::new), "{text}");
            assert_eq!(name(text).start_lsn(mebibytes(mib)), start.map(Lsn::new), "{text}");
        }
    }

    #[test]
    fn neighbours() {
        let size = mebibytes(16);
        let last_of_log = name("0000000300000000000000FF");
        assert_eq!(last_of_log.next(size), Some(name("000000030000000100000000")));
        assert_eq!(name("000000030000000100000000").previous(size), Some(last_of_log));
        assert_eq!(name("000000010000000000000000").previous(size), None);
        assert_eq!(name("00000001FFFFFFFF000000FF").next(size), None);
        assert_eq!(name("000000010000000000000100").next(size), None);
        assert_eq!(last_of_log.on_timeline(TimelineId::FIRST), name("0000000100000000000000FF"));
    }

    #[test]
    fn segments_up_to_the_last_byte() {
        let until = |first: &str, end| name(first).until(Lsn::new(end), mebibytes(16)).collect::<Vec<_>>();
        let two = "000000010000000000000002";
        assert_eq!(until(two, 0x200_0130), [name(two)]);
        assert_eq!(until(two, 0x300_0000), [name(two)], "nothing of the next one");
        assert_eq!(until(two, 0x200_0000), [], "it ends before");
        let over_a_log = until("0000000A00000000000000FE", 0x1_0100_0001);
        let names = ["0000000A00000000000000FE", "0000000A00000000000000FF", "0000000A0000000100000000"];
        assert_eq!((&over_a_log[..3], over_a_log.len()), (&names.map(name)[..], 4));
    }

    #[test]
    fn order_is_timeline_then_position() {
        let mut names =
            ["000000020000000000000001", "000000010000000100000000", "0000000100000000000000FF"].map(name);
        names.sort();
        assert_eq!(
            names,
            ["0000000100000000000000FF", "000000010000000100000000", "000000020000000000000001"].map(name)
        );
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(timeline in 1u32.., log: u32, segment: u32, offset: u32, kind in 0..4) {
            let segment = SegmentName { timeline: TimelineId::new(timeline).unwrap(), log, segment };
            let file = match kind {
                0 => WalFileName::Segment(segment),
                1 => WalFileName::Partial(segment),
                2 => WalFileName::History(segment.timeline),
                _ => WalFileName::BackupHistory(segment, offset),
            };
            prop_assert_eq!(file.to_string().parse(), Ok(file));
            prop_assert_eq!(file.to_string().to_lowercase().parse(), Ok(file));
        }

        #[test]
        fn the_name_of_an_address_starts_at_or_before_it(position: u64, shift in 20u32..=30) {
            let size = WalSegmentSize::from_bytes(1 << shift).unwrap();
            let name = SegmentName::containing(TimelineId::FIRST, Lsn::new(position), size);
            prop_assert_eq!(name.number(size), Some(Lsn::new(position).segment(size)));
            prop_assert!(name.start_lsn(size).unwrap() <= Lsn::new(position));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<WalFileName>();
        }

        #[test]
        fn nearly_right_text_does_not_panic(text in "[0-9A-Fa-fé.]{0,30}(\\.history|\\.partial|\\.backup)?") {
            let _ = text.parse::<WalFileName>();
        }
    }
}
