//! The header of a WAL segment's first page, which says whose segment it is.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | magic; changes with the major version |
//! | 2 | 2 | flags |
//! | 4 | 4 | timeline of the page's first record |
//! | 8 | 8 | address of the page in WAL |
//! | 16 | 4 | bytes of a record continued from the page before, then 4 of padding |
//! | 24 | 8 | system identifier |
//! | 32 | 4 | segment size |
//! | 36 | 4 | WAL block size |
//!
//! The first three rows and the fourth are on every page, the rest on the first page of a segment only ("long
//! header"). Source: `access/xlog_internal.h`, `XLogPageHeaderData` and `XLogLongPageHeaderData`.

use std::fmt;

use super::{Lsn, SegmentName, TimelineId, WalSegmentSize};

/// `XLOG_PAGE_MAGIC` of `access/xlog_internal.h` in each release, with its major version.
const MAGICS: [(u16, u32); 6] =
    [(0xD106, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)];

pub(super) const XLP_LONG_HEADER: u16 = 0x0002;
pub(super) const XLP_ALL_FLAGS: u16 = 0x000F;

/// What the first page of a WAL segment says about the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The major version of the server that wrote it, 13 to 18.
    pub pg_major: u32,
    /// The timeline of the segment's first page; see [`SegmentHeader::check`] for how it relates to the file's name.
    pub timeline: TimelineId,
    /// The address of the segment's first byte.
    pub page_address: Lsn,
    /// The cluster that wrote it.
    pub system_identifier: SystemIdentifier,
    /// The size of the cluster's segments.
    pub segment_size: WalSegmentSize,
    /// Bytes in a page of WAL (`XLOG_BLCKSZ`).
    pub block_size: u32,
}

impl SegmentHeader {
    /// Bytes of a segment that [`SegmentHeader::parse`] looks at.
    pub const LEN: usize = 40;

    /// Reads the header from the start of a segment; more than [`SegmentHeader::LEN`] bytes may be given.
    pub fn parse(segment: &[u8]) -> Result<SegmentHeader, WalPageError> {
        let Some(header) = segment.first_chunk::<{ Self::LEN }>() else {
            return Err(WalPageError::TooShort { len: segment.len() });
        };
        if header.iter().all(|&byte| byte == 0) {
            return Err(WalPageError::Zeroed);
        }
        let magic = u16::from_le_bytes(field(header, 0));
        let Some(pg_major) = major_of_magic(magic) else {
            return Err(WalPageError::UnknownMagic { magic });
        };
        let flags = u16::from_le_bytes(field(header, 2));
        if flags & XLP_LONG_HEADER == 0 || flags & !XLP_ALL_FLAGS != 0 {
            return Err(WalPageError::NotFirstPage { flags });
        }
        let segment_size = u32::from_le_bytes(field(header, 32));
        let block_size = u32::from_le_bytes(field(header, 36));
        Ok(SegmentHeader {
            pg_major,
            timeline: TimelineId::new(u32::from_le_bytes(field(header, 4)))
                .ok_or(WalPageError::Invalid { field: "timeline", value: 0 })?,
            page_address: Lsn::new(u64::from_le_bytes(field(header, 8))),
            system_identifier: SystemIdentifier::new(u64::from_le_bytes(field(header, 24))),
            segment_size: WalSegmentSize::from_bytes(segment_size.into())
                .map_err(|_| WalPageError::Invalid { field: "segment size", value: segment_size.into() })?,
            block_size: Some(block_size)
                .filter(|size| size.is_power_of_two() && (1024..=65536).contains(size))
                .ok_or(WalPageError::Invalid { field: "WAL block size", value: block_size.into() })?,
        })
    }

    /// Checks that this is the header of a whole segment called `name` in a file of `file_len` bytes.
    ///
    /// The header's timeline may be lower than the name's: at promotion PostgreSQL copies the old timeline's last
    /// segment up to the switch point under the new timeline's name (`XLogInitNewTimeline` calls `XLogFileCopy`,
    /// `access/transam/xlog.c`), and its first page stays as it was. It is never higher, because records of a
    /// timeline are only written to, and streamed into, files of that timeline.
    pub fn check(&self, name: SegmentName, file_len: u64) -> Result<(), WalPageError> {
        if file_len != self.segment_size.bytes() {
            return Err(WalPageError::WrongLength { file_len, segment_size: self.segment_size });
        }
        if name.start_lsn(self.segment_size) != Some(self.page_address) {
            return Err(WalPageError::WrongAddress { name, page_address: self.page_address });
        }
        if self.timeline > name.timeline() {
            return Err(WalPageError::WrongTimeline { name, timeline: self.timeline });
        }
        Ok(())
    }
}

/// The major version whose WAL pages begin with this magic.
pub(super) fn major_of_magic(magic: u16) -> Option<u32> {
    MAGICS.iter().find(|(known, _)| *known == magic).map(|&(_, pg_major)| pg_major)
}

fn field<const N: usize>(header: &[u8; SegmentHeader::LEN], offset: usize) -> [u8; N] {
    #[expect(
        clippy::expect_used,
        reason = "offsets are constants of this file, all fields lie inside the header"
    )]
    *header.get(offset..).and_then(|rest| rest.first_chunk()).expect("a field lies inside the header")
}

/// Why the start of a file is not the start of the WAL segment it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalPageError {
    /// Not even a page header's worth of bytes.
    #[error("read WAL page header: only {len} bytes")]
    TooShort {
        /// Bytes there were.
        len: usize,
    },
    /// Nothing but zeroes: allocated by PostgreSQL and never written, or lost by a filesystem.
    #[error("read WAL page header: nothing but zeroes, the segment was never written")]
    Zeroed,
    /// Not WAL, or WAL of a version that is not known here.
    #[error("read WAL page header: magic {magic:04X} is not that of PostgreSQL 13 to 18")]
    UnknownMagic {
        /// The first two bytes.
        magic: u16,
    },
    /// A page from the middle of a segment, or flags no version writes.
    #[error("read WAL page header: flags {flags:04X} are not those of a segment's first page")]
    NotFirstPage {
        /// The flags.
        flags: u16,
    },
    /// A value no server writes.
    #[error("read WAL page header: {field} {value} is not possible")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The file is not exactly one segment long.
    #[error("check WAL segment: the file has {file_len} bytes, its header says {} ({segment_size})", segment_size.bytes())]
    WrongLength {
        /// Bytes in the file.
        file_len: u64,
        /// What the header says.
        segment_size: WalSegmentSize,
    },
    /// The content belongs to another place in WAL, as in a recycled segment.
    #[error(
        "check WAL segment {name}: its first page has address {page_address}, which is not this segment's"
    )]
    WrongAddress {
        /// The segment that was expected.
        name: SegmentName,
        /// What the header says.
        page_address: Lsn,
    },
    /// The content is of a timeline that did not exist yet when the named one was written.
    #[error("check WAL segment {name}: its first page is of the later timeline {timeline}")]
    WrongTimeline {
        /// The segment that was expected.
        name: SegmentName,
        /// What the header says.
        timeline: TimelineId,
    },
}

/// The number that tells clusters apart, given by `initdb` and shared by all standbys and restored copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemIdentifier(u64);

impl SystemIdentifier {
    /// The identifier with this value.
    pub const fn new(value: u64) -> SystemIdentifier {
        SystemIdentifier(value)
    }

    /// The value itself.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SystemIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(magic: u16, flags: u16, timeline: u32, address: u64, segment_size: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(magic.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(timeline.to_le_bytes());
        bytes.extend(address.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(7_000_000_000_000_000_001_u64.to_le_bytes());
        bytes.extend(segment_size.to_le_bytes());
        bytes.extend(8192_u32.to_le_bytes());
        bytes
    }

    fn name(text: &str) -> SegmentName {
        text.parse().unwrap()
    }

    const MIB16: u32 = 16 << 20;

    #[test]
    fn reads_every_field() {
        let parsed = SegmentHeader::parse(&header(0xD110, 7, 2, 0x300_0000, MIB16)).unwrap();
        assert_eq!(
            parsed,
            SegmentHeader {
                pg_major: 15,
                timeline: TimelineId::new(2).unwrap(),
                page_address: Lsn::new(0x300_0000),
                system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001),
                segment_size: WalSegmentSize::DEFAULT,
                block_size: 8192,
            }
        );
    }

    #[test]
    fn real_segments() {
        let bytes: [(u32, &[u8], &str, u64); 6] = [
            (13, include_bytes!("../../tests/golden/pg/wal_header.13.bin"), "000000010000000000000001", 16),
            (14, include_bytes!("../../tests/golden/pg/wal_header.14.bin"), "000000010000000000000001", 16),
            (15, include_bytes!("../../tests/golden/pg/wal_header.15.bin"), "000000010000000000000001", 16),
            (16, include_bytes!("../../tests/golden/pg/wal_header.16.bin"), "000000010000000000000008", 1),
            (17, include_bytes!("../../tests/golden/pg/wal_header.17.bin"), "000000010000000000000001", 16),
            (18, include_bytes!("../../tests/golden/pg/wal_header.18.bin"), "000000010000000000000001", 16),
        ];
        for (major, bytes, segment, mebibytes) in bytes {
            let parsed = SegmentHeader::parse(bytes).unwrap();
            assert_eq!((parsed.pg_major, parsed.block_size), (major, 8192));
            assert_eq!(parsed.check(name(segment), mebibytes << 20), Ok(()), "{major}");
        }
    }

    #[test]
    fn the_segment_of_a_promotion_starts_with_the_old_timeline() {
        let bytes = include_bytes!("../../tests/golden/pg/wal_header.15-promoted.bin");
        let parsed = SegmentHeader::parse(bytes).unwrap();
        assert_eq!(parsed.timeline, TimelineId::FIRST);
        assert_eq!(parsed.check(name("000000020000000000000003"), 16 << 20), Ok(()));
    }

    #[test]
    fn refuses_what_is_no_first_page() {
        let good = header(0xD110, 2, 1, 0x100_0000, MIB16);
        for (what, bytes, error) in [
            ("empty", Vec::new(), WalPageError::TooShort { len: 0 }),
            ("cut", good[..39].to_vec(), WalPageError::TooShort { len: 39 }),
            ("zeroes", vec![0; 8192], WalPageError::Zeroed),
            ("lz4 frame", header(0x2204, 2, 1, 0, MIB16), WalPageError::UnknownMagic { magic: 0x2204 }),
            ("big endian", header(0x10D1, 2, 1, 0, MIB16), WalPageError::UnknownMagic { magic: 0x10D1 }),
            ("short header", header(0xD118, 1, 1, 0, MIB16), WalPageError::NotFirstPage { flags: 1 }),
            ("unknown flag", header(0xD118, 0x12, 1, 0, MIB16), WalPageError::NotFirstPage { flags: 0x12 }),
            (
                "timeline 0",
                header(0xD118, 2, 0, 0, MIB16),
                WalPageError::Invalid { field: "timeline", value: 0 },
            ),
            (
                "odd size",
                header(0xD118, 2, 1, 0, 3),
                WalPageError::Invalid { field: "segment size", value: 3 },
            ),
        ] {
            assert_eq!(SegmentHeader::parse(&bytes), Err(error), "{what}");
        }
    }

    #[test]
    fn checks_name_and_length() {
        let parsed = SegmentHeader::parse(&header(0xD10D, 2, 2, 0x300_0000, MIB16)).unwrap();
        let len = u64::from(MIB16);
        let own = name("000000020000000000000003");
        assert_eq!(parsed.check(own, len), Ok(()));

        // The copy a promotion to timeline 3 makes of timeline 2's last segment.
        assert_eq!(parsed.check(name("000000030000000000000003"), len), Ok(()));

        let short = WalPageError::WrongLength { file_len: len - 1, segment_size: WalSegmentSize::DEFAULT };
        assert_eq!(parsed.check(own, len - 1), Err(short));

        // A recycled segment: renamed for later use, still with its old content.
        let later = name("000000020000000000000004");
        let recycled = WalPageError::WrongAddress { name: later, page_address: Lsn::new(0x300_0000) };
        assert_eq!(parsed.check(later, len), Err(recycled));

        let older = name("000000010000000000000003");
        let newer = WalPageError::WrongTimeline { name: older, timeline: TimelineId::new(2).unwrap() };
        assert_eq!(parsed.check(older, len), Err(newer));

        let impossible = name("000000020000000000000300");
        assert!(matches!(parsed.check(impossible, len), Err(WalPageError::WrongAddress { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), magic in 0usize..6) {
            let _ = SegmentHeader::parse(&bytes);
            let mut with_magic = MAGICS[magic].0.to_le_bytes().to_vec();
            with_magic.extend(bytes);
            let _ = SegmentHeader::parse(&with_magic);
        }
    }
}
