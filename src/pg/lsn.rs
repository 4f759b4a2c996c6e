//! Positions in WAL: byte addresses and the segments they fall into.
//!
//! WAL is one stream of bytes from 0 to 2^64, cut into segments of equal size. The size is chosen by
//! `initdb --wal-segsize` and held in `pg_control` and in each segment's first page.
//!
//! | fact | source |
//! |---|---|
//! | text form `%X/%X`, high and low 32 bits | `access/xlogdefs.h`, `LSN_FORMAT_ARGS` |
//! | one to eight digits on each side when read | `utils/adt/pg_lsn.c`, `pg_lsn_in_internal` |
//! | segment size: power of two, 1 MiB to 1 GiB | `access/xlog_internal.h`, `IsValidWalSegSize` |

use std::fmt;
use std::str::FromStr;

use super::ParseError;

/// A byte address in WAL (`XLogRecPtr`, SQL type `pg_lsn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// The address 0, which PostgreSQL uses for "no position" (`InvalidXLogRecPtr`).
    pub const INVALID: Lsn = Lsn(0);

    /// The address `position` bytes from the start of WAL.
    pub const fn new(position: u64) -> Lsn {
        Lsn(position)
    }

    /// Bytes from the start of WAL; the form of LSNs in JSON documents.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether this is a position at all, that is not [`Lsn::INVALID`].
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// The address `bytes` later, if there is one.
    pub fn checked_add(self, bytes: u64) -> Option<Lsn> {
        self.0.checked_add(bytes).map(Lsn)
    }

    /// The address `bytes` earlier, if there is one.
    pub fn checked_sub(self, bytes: u64) -> Option<Lsn> {
        self.0.checked_sub(bytes).map(Lsn)
    }

    /// How many bytes of WAL lie between `earlier` and here; `None` if `earlier` is later.
    pub fn bytes_since(self, earlier: Lsn) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// The segment that holds the byte at this address (`XLByteToSeg`).
    pub fn segment(self, size: WalSegmentSize) -> SegmentNumber {
        SegmentNumber(self.0 / size.bytes())
    }

    /// The segment that holds the byte before this address (`XLByteToPrevSeg`): where WAL that *ends* here lies.
    pub fn previous_segment(self, size: WalSegmentSize) -> SegmentNumber {
        SegmentNumber(self.0.saturating_sub(1) / size.bytes())
    }
}

impl From<u64> for Lsn {
    fn from(position: u64) -> Lsn {
        Lsn(position)
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> u64 {
        lsn.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Lsn, ParseError> {
        text.split_once('/')
            .and_then(|(high, low)| Some(u64::from(parse_hex32(high)?) << 32 | u64::from(parse_hex32(low)?)))
            .map(Lsn)
            .ok_or_else(|| ParseError::Lsn { text: text.to_owned() })
    }
}

/// One to eight hexadecimal digits of either case, and nothing else: no sign, no `0x`.
pub(super) fn parse_hex32(text: &str) -> Option<u32> {
    let only_digits = (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if only_digits { u32::from_str_radix(text, 16).ok() } else { None }
}

/// The size of a WAL segment: a power of two from 1 MiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalSegmentSize(u32);

impl WalSegmentSize {
    /// 16 MiB, what `initdb` takes unless told otherwise.
    pub const DEFAULT: WalSegmentSize = WalSegmentSize(16 << 20);

    /// The largest.
    pub const MAX: WalSegmentSize = WalSegmentSize(Self::MAX_BYTES);

    const MIN_BYTES: u32 = 1 << 20;
    const MAX_BYTES: u32 = 1 << 30;

    /// Checks a size in bytes.
    ///
    /// Fails with [`ParseError::WalSegmentSize`] on anything PostgreSQL would refuse.
    pub fn from_bytes(bytes: u64) -> Result<WalSegmentSize, ParseError> {
        u32::try_from(bytes)
            .ok()
            .filter(|b| b.is_power_of_two() && (Self::MIN_BYTES..=Self::MAX_BYTES).contains(b))
            .map(WalSegmentSize)
            .ok_or(ParseError::WalSegmentSize { bytes })
    }

    /// Checks a size in MiB, the unit of `initdb --wal-segsize` and of `WALG_PG_WAL_SIZE`.
    pub fn from_mebibytes(mebibytes: u64) -> Result<WalSegmentSize, ParseError> {
        Self::from_bytes(mebibytes.saturating_mul(1 << 20))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// How many segments make up 4 GiB of WAL: the third part of a segment's name stays below this
    /// (`XLogSegmentsPerXLogId`).
    pub const fn segments_per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

impl Default for WalSegmentSize {
    fn default() -> WalSegmentSize {
        WalSegmentSize::DEFAULT
    }
}

impl fmt::Display for WalSegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}

/// The number of a segment in WAL, counted from 0 (`XLogSegNo`). PostgreSQL never writes segment 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(u64);

impl SegmentNumber {
    /// The segment with this number.
    pub const fn new(number: u64) -> SegmentNumber {
        SegmentNumber(number)
    }

    /// The number itself.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The following segment. The last number there is has itself as successor; no WAL gets there.
    pub const fn next(self) -> SegmentNumber {
        SegmentNumber(self.0.saturating_add(1))
    }

    /// The segment before, `None` at segment 0.
    pub fn checked_prev(self) -> Option<SegmentNumber> {
        self.0.checked_sub(1).map(SegmentNumber)
    }

    /// The segment `count` places later, if there is one.
    pub fn checked_add(self, count: u64) -> Option<SegmentNumber> {
        self.0.checked_add(count).map(SegmentNumber)
    }

    /// The address of the segment's first byte; `None` if it lies past the end of WAL's address space.
    pub fn start_lsn(self, size: WalSegmentSize) -> Option<Lsn> {
        self.0.checked_mul(size.bytes()).map(Lsn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lsn_text_is_what_postgresql_writes() {
        for (number, text) in [
            (0, "0/0"),
            (0x1000028, "0/1000028"),
            (0x16_B374_D848, "16/B374D848"),
            (0x1_0000_0000, "1/0"),
            (u64::MAX, "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(Lsn::new(number).to_string(), text);
            assert_eq!(text.parse(), Ok(Lsn::new(number)));
            assert_eq!(text.to_lowercase().parse(), Ok(Lsn::new(number)));
        }
    }

    #[test]
    fn lsn_refuses_what_pg_lsn_in_refuses() {
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "0/123456789",
            "G/0",
            "0/0 ",
            " 0/0",
            "-1/0",
            "+1/0",
            "0x1/0",
            "0/0/0",
            "é/0",
        ] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseError::Lsn { text: text.to_owned() }), "{text:?}");
        }
    }

    #[test]
    fn segment_sizes() {
        for mebibytes in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
            let size = WalSegmentSize::from_mebibytes(mebibytes).unwrap();
            assert_eq!(size.bytes(), mebibytes << 20);
            assert_eq!(size.segments_per_log() * size.bytes(), 1 << 32);
        }
        for bytes in [0, 1, 1 << 19, (1 << 20) + 1, 3 << 20, 1 << 31, 1 << 32, u64::MAX] {
            assert_eq!(WalSegmentSize::from_bytes(bytes), Err(ParseError::WalSegmentSize { bytes }));
        }
        assert!(WalSegmentSize::from_mebibytes(u64::MAX).is_err());
        assert_eq!(WalSegmentSize::from_mebibytes(16), Ok(WalSegmentSize::DEFAULT));
    }

    #[test]
    fn a_position_on_a_boundary_ends_the_segment_before() {
        let size = WalSegmentSize::DEFAULT;
        for (lsn, holds, ends_in) in
            [(0, 0, 0), (1, 0, 0), (0x1000000, 1, 0), (0x1000001, 1, 1), (0x1FFFFFF, 1, 1)]
        {
            assert_eq!(Lsn::new(lsn).segment(size), SegmentNumber::new(holds));
            assert_eq!(Lsn::new(lsn).previous_segment(size), SegmentNumber::new(ends_in));
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let size = WalSegmentSize::DEFAULT;
        assert_eq!(Lsn::new(u64::MAX).checked_add(1), None);
        assert_eq!(Lsn::INVALID.checked_sub(1), None);
        assert_eq!(Lsn::new(5).bytes_since(Lsn::new(7)), None);
        assert_eq!(Lsn::new(7).bytes_since(Lsn::new(5)), Some(2));
        assert_eq!(SegmentNumber::new(0).checked_prev(), None);
        assert_eq!(SegmentNumber::new(u64::MAX).start_lsn(size), None);
        assert_eq!(SegmentNumber::new(3).start_lsn(size), Some(Lsn::new(0x3000000)));
    }

    proptest! {
        #[test]
        fn lsn_display_and_parse_are_inverse(number: u64) {
            prop_assert_eq!(Lsn::new(number).to_string().parse(), Ok(Lsn::new(number)));
        }

        #[test]
        fn a_segment_holds_its_addresses(number: u64, shift in 20u32..=30) {
            let size = WalSegmentSize::from_bytes(1 << shift).unwrap();
            let start = Lsn::new(number).segment(size).start_lsn(size).unwrap();
            prop_assert!(Lsn::new(number).bytes_since(start).unwrap() < size.bytes());
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Lsn>();
        }
    }
}
