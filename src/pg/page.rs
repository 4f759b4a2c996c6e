//! Data pages: header, LSN and checksum.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 + 4 | LSN of the last change, high half first |
//! | 8 | 2 | checksum, 0 when there is none |
//! | 10 | 2 | flags |
//! | 12 | 2 | start of free space (lower) |
//! | 14 | 2 | end of free space (upper); 0 in a page never initialised |
//! | 16 | 2 | start of special space |
//! | 18 | 2 | page size, plus the layout version in its low byte |
//! | 20 | 4 | oldest prunable transaction |
//!
//! Source: `storage/bufpage.h`, `PageHeaderData`; the checksum is `storage/checksum_impl.h`, the rule which pages can
//! be judged at all is `backup/basebackup.c`, `verify_page_checksum`.

use std::fmt;

use super::Lsn;

/// The page header's length (`SizeOfPageHeaderData`).
const HEADER_LEN: u16 = 24;
/// `PD_VALID_FLAG_BITS`.
const VALID_FLAGS: u16 = 0x0007;
/// `PD_ALL_VISIBLE`.
const ALL_VISIBLE: u16 = 0x0004;
/// `PG_PAGE_LAYOUT_VERSION` is 4 since PostgreSQL 8.3; wal-g lets 5 pass and so do we.
const MAX_LAYOUT_VERSION: u16 = 5;

/// The header of a data page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Where the WAL record of the last change ends.
    pub lsn: Lsn,
    /// The checksum, 0 when the page was written without.
    pub checksum: u16,
    flags: u16,
    lower: u16,
    upper: u16,
    special: u16,
    size_and_version: u16,
}

impl PageHeader {
    /// Reads the header of a page; `None` if there are fewer bytes than a header has.
    pub fn parse(page: &[u8]) -> Option<PageHeader> {
        let half =
            |at: usize| page.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u16::from_le_bytes);
        let word =
            |at: usize| page.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
        Some(PageHeader {
            lsn: Lsn::new(u64::from(word(0)?) << 32 | u64::from(word(4)?)),
            checksum: half(8)?,
            flags: half(10)?,
            lower: half(12)?,
            upper: half(14)?,
            special: half(16)?,
            size_and_version: half(18)?,
        })
    }

    /// Whether the page was allocated but never initialised (`PageIsNew`).
    pub fn is_new(&self) -> bool {
        self.upper == 0
    }

    /// Whether every row of the page, which is a table's, is visible to everyone (`PageIsAllVisible`).
    ///
    /// Only where changes of hint bits are in WAL (data checksums, `wal_log_hints`) does a page get a new LSN when it is
    /// marked so (`access/heap/visibilitymap.c`, `visibilitymap_set`).
    pub fn is_all_visible(&self) -> bool {
        self.flags & ALL_VISIBLE != 0
    }

    /// Whether the header is one that PostgreSQL writes on a page of `page_size` bytes that WAL covers.
    ///
    /// The rules are those by which wal-g takes a page into a delta backup: known flags, offsets in order and inside
    /// the page, the right size, a known layout, and an LSN.
    pub fn is_valid(&self, page_size: usize) -> bool {
        let offsets = [HEADER_LEN, self.lower, self.upper, self.special];
        self.flags & !VALID_FLAGS == 0
            && offsets.is_sorted()
            && usize::from(self.special) <= page_size
            && usize::from(self.size_and_version & 0xFF00) == page_size
            && self.size_and_version & 0x00FF <= MAX_LAYOUT_VERSION
            && self.lsn.is_valid()
    }
}

/// What a look at one page tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageVerdict {
    /// Never initialised; there is nothing to check.
    New,
    /// Changed after the backup started: it may be half written, and WAL replay will overwrite it.
    Changed,
    /// The page carries no checksum.
    NoChecksum,
    /// The checksum is right.
    Good,
    /// The header is not one PostgreSQL writes.
    BadHeader,
    /// The checksum is wrong.
    BadChecksum {
        /// What the page says.
        stored: u16,
        /// What its content has.
        computed: u16,
    },
}

impl fmt::Display for PageVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PageVerdict::New => f.write_str("never initialised"),
            PageVerdict::Changed => f.write_str("changed since the backup started"),
            PageVerdict::NoChecksum => f.write_str("without a checksum"),
            PageVerdict::Good => f.write_str("good"),
            PageVerdict::BadHeader => f.write_str("the header is not one that PostgreSQL writes"),
            PageVerdict::BadChecksum { stored, computed } => {
                write!(f, "the page says checksum {stored}, its content has {computed}")
            }
        }
    }
}

impl PageVerdict {
    /// Whether the page is damaged.
    pub fn is_corrupt(self) -> bool {
        matches!(self, PageVerdict::BadHeader | PageVerdict::BadChecksum { .. })
    }
}

/// Judges one page of a relation of a cluster with data checksums.
///
/// `block` is its number in the relation, counted over all segment files. Pages with an LSN at or past `backup_start`
/// are not judged; give the end of WAL, or [`Lsn`] of all ones, to judge every page of a cluster at rest.
pub fn check(page: &[u8], block: u32, backup_start: Lsn) -> PageVerdict {
    let Some(header) = PageHeader::parse(page) else { return PageVerdict::BadHeader };
    if header.is_new() {
        return PageVerdict::New;
    }
    if header.lsn >= backup_start {
        return PageVerdict::Changed;
    }
    // A page of an init fork or an index build can have LSN 0, so only the rest of the header is held against it.
    let with_lsn = PageHeader { lsn: Lsn::new(header.lsn.as_u64().max(1)), ..header };
    if !with_lsn.is_valid(page.len()) {
        return PageVerdict::BadHeader;
    }
    if header.checksum == 0 {
        return PageVerdict::NoChecksum;
    }
    match checksum(page, block) {
        computed if computed == header.checksum => PageVerdict::Good,
        computed => PageVerdict::BadChecksum { stored: header.checksum, computed },
    }
}

/// Judges the pages of a piece of a segment file, each with its number in the relation.
///
/// `first_block` is the number of the first page of `pages`: for the start of segment file `.N` it is
/// [`RelationFile::first_block`](super::RelationFile::first_block). A last piece shorter than a page is bad.
pub fn check_pages(
    pages: &[u8],
    page_size: usize,
    first_block: u32,
    backup_start: Lsn,
) -> impl Iterator<Item = (u32, PageVerdict)> + '_ {
    pages.chunks(page_size.max(1)).zip(first_block..).map(move |(page, block)| {
        match page.len() == page_size {
            true => (block, check(page, block, backup_start)),
            false => (block, PageVerdict::BadHeader),
        }
    })
}

/// Sums that run side by side in a page checksum (`N_SUMS`).
const LANES: usize = 32;
/// The prime of 32-bit FNV-1a.
const FNV_PRIME: u32 = 16_777_619;
/// Start values of the sums (`checksumBaseOffsets`).
const OFFSETS: [u32; LANES] = [
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
];

/// The checksum PostgreSQL gives a page at `block` (`pg_checksum_page`); never 0.
///
/// The page is read as rows of 32 little-endian words; each column has its own sum, so that a row is a few vector
/// operations. A length that is no multiple of 128 bytes is no page; the odd bytes would not be counted.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = OFFSETS;
    let (rows, _) = page.as_chunks::<{ LANES * 4 }>();
    let mut rows = rows.iter();
    if let Some(first) = rows.next() {
        // The checksum field itself counts as zero.
        let mut first = *first;
        first[8] = 0;
        first[9] = 0;
        mix_row(&mut sums, &first);
    }
    for row in rows {
        mix_row(&mut sums, row);
    }
    for _ in 0..2 {
        mix_row(&mut sums, &[0; LANES * 4]);
    }
    let folded = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    let reduced = (folded % 65535) as u16; // fits: the remainder is below 65535
    reduced + 1
}

#[inline]
fn mix_row(sums: &mut [u32; LANES], row: &[u8; LANES * 4]) {
    let (words, _) = row.as_chunks::<4>();
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ u32::from_le_bytes(*word);
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blocks 0 to 2 of a table and of its index, of a PostgreSQL 15 cluster with checksums.
    const TABLE: &[u8] = include_bytes!("../../tests/golden/pg/pages.15.table.bin");
    const INDEX: &[u8] = include_bytes!("../../tests/golden/pg/pages.15.index.bin");
    const PAGE: usize = 8192;
    const EVER: Lsn = Lsn::new(u64::MAX);

    #[test]
    fn real_pages_have_the_checksum_we_compute() {
        for file in [TABLE, INDEX] {
            let verdicts: Vec<_> = check_pages(file, PAGE, 0, EVER).collect();
            assert_eq!(verdicts, [(0, PageVerdict::Good), (1, PageVerdict::Good), (2, PageVerdict::Good)]);
        }
    }

    #[test]
    fn every_changed_bit_and_place_is_found() {
        let mut page = TABLE[..PAGE].to_vec();
        for at in (0..PAGE).filter(|at| !(8..10).contains(at)) {
            page[at] ^= 1;
            assert!(check(&page, 0, EVER).is_corrupt() || at == 14, "byte {at}");
            page[at] ^= 1;
        }
        let computed = checksum(&page, 1);
        let stored = PageHeader::parse(&page).unwrap().checksum;
        assert_eq!(check(&page, 1, EVER), PageVerdict::BadChecksum { stored, computed });
    }

    #[test]
    fn pages_that_are_not_judged() {
        let page = &TABLE[..PAGE];
        let lsn = PageHeader::parse(page).unwrap().lsn;
        assert_eq!(check(&[0; PAGE], 7, EVER), PageVerdict::New);
        assert_eq!(check(page, 7, lsn), PageVerdict::Changed);
        assert!(check(page, 7, lsn.checked_add(1).unwrap()).is_corrupt());
        let mut without = page.to_vec();
        without[8..10].fill(0);
        assert_eq!(check(&without, 0, EVER), PageVerdict::NoChecksum);
    }

    #[test]
    fn headers() {
        let good = PageHeader::parse(&TABLE[..PAGE]).unwrap();
        assert!(good.is_valid(PAGE) && !good.is_new());
        assert!(PageHeader { flags: 5, ..good }.is_all_visible());
        assert!(!PageHeader { flags: 3, ..good }.is_all_visible());
        for (name, header) in [
            ("flags", PageHeader { flags: 8, ..good }),
            ("lower inside the header", PageHeader { lower: 23, ..good }),
            ("lower past upper", PageHeader { lower: good.upper + 1, ..good }),
            ("upper past special", PageHeader { upper: good.special + 1, ..good }),
            ("special past the page", PageHeader { special: 8193, ..good }),
            ("page size", PageHeader { size_and_version: 0x1004, ..good }),
            ("layout", PageHeader { size_and_version: 0x2006, ..good }),
            ("no LSN", PageHeader { lsn: Lsn::INVALID, ..good }),
        ] {
            assert!(!header.is_valid(PAGE), "{name}");
        }
        assert_eq!(PageHeader::parse(&[0; 19]), None);
    }

    #[test]
    fn a_piece_of_a_page_is_bad() {
        let verdicts: Vec<_> =
            check_pages(&TABLE[..PAGE + 100], PAGE, 131_072, EVER).map(|(block, _)| block).collect();
        assert_eq!(verdicts, [131_072, 131_073]);
        assert_eq!(check_pages(&TABLE[..100], PAGE, 0, EVER).next(), Some((0, PageVerdict::BadHeader)));
        assert_eq!(check_pages(&[1], 0, 0, EVER).count(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(page in proptest::collection::vec(any::<u8>(), 0..600), block: u32) {
            let _ = check(&page, block, EVER);
            prop_assert_ne!(checksum(&page, block), 0);
        }
    }
}
