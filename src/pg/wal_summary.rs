//! PostgreSQL's own WAL summaries (17 and later): which blocks a stretch of WAL changed.
//!
//! With `summarize_wal` the server writes `pg_wal/summaries/<timeline><start><end>.summary`, 8 and twice 16 upper-case
//! hexadecimal digits. Each file begins where the one before ends. Its content, little endian:
//!
//! | bytes | |
//! |---|---|
//! | 4 | magic 0x652B137B |
//! | 24 | of each fork of a relation: tablespace, database, file, fork, limit, number of chunks |
//! | 2 for each chunk | how many 2-byte words each chunk has |
//! | 2 for each word | the chunks, each for 65536 blocks |
//! | 24 | zero: no more relations |
//! | 4 | CRC-32C of all before |
//!
//! A chunk of 4096 words is a bitmap, in a shorter one every word is the number of a block. The limit is the smallest
//! length the fork had, 4294967295 if it was never cut. File 0 stands for all files of a database in a tablespace, which were
//! made or removed.
//! Source: `common/blkreftable.c`, `backup/walsummary.c`, `postmaster/walsummarizer.c`; `storage/block.h` for the
//! highest number.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use super::lsn::parse_hex32;
use super::wal::Fields;
use super::{BlockMap, DatabasePlace, Lsn, ParseError, RelationPlace, TimelineId};

/// `BLOCKREFTABLE_MAGIC`.
const MAGIC: u32 = 0x652B_137B;

/// `sizeof(BlockRefTableSerializedEntry)`.
const ENTRY_LEN: usize = 24;

/// `BLOCKS_PER_CHUNK`, as a power of two.
const CHUNK_BITS: u32 = 16;

/// `MAX_ENTRIES_PER_CHUNK`: the words of a bitmap.
const BITMAP_WORDS: usize = 4096;

const MAIN_FORK: u32 = 0;

/// `InvalidBlockNumber`.
const NO_LIMIT: u32 = u32::MAX;

/// The name of a summary, which says what stretch of WAL it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SummaryName {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where the first record begins, or the page before it.
    pub from: Lsn,
    /// Where the first record begins, or the page before it, that is not part of it.
    pub until: Lsn,
}

impl fmt::Display for SummaryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from.as_u64(), self.until.as_u64());
        write!(f, "{:08X}{from:016X}{until:016X}.summary", self.timeline.as_u32())
    }
}

impl FromStr for SummaryName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<SummaryName, ParseError> {
        parse_name(text).ok_or_else(|| ParseError::WalSummaryName { text: text.to_owned() })
    }
}

fn parse_name(text: &str) -> Option<SummaryName> {
    let mut rest = text.strip_suffix(".summary").filter(|digits| digits.len() == 40)?;
    let mut number = || {
        let (digits, others) = rest.split_at_checked(8)?;
        rest = others;
        parse_hex32(digits)
    };
    let timeline = TimelineId::new(number()?)?;
    let mut lsn = || Some(Lsn::new(u64::from(number()?) << 32 | u64::from(number()?)));
    Some(SummaryName { timeline, from: lsn()?, until: lsn()? })
}

/// Why a file is no summary.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed.
    #[error("read WAL summary: {0}")]
    Read(#[source] io::Error),
    /// It ends early.
    #[error("read WAL summary: it is cut off")]
    CutOff,
    /// It is another kind of file, or of another version of the format.
    #[error("read WAL summary: it begins with {found:08X}, not with {MAGIC:08X}")]
    OtherMagic {
        /// The first four bytes.
        found: u32,
    },
    /// What it says of a relation is not possible.
    #[error("read WAL summary: what it says of relation {tablespace}/{database}/{filenode} is not possible")]
    Impossible {
        /// The number of the tablespace.
        tablespace: u32,
        /// The number of the database.
        database: u32,
        /// The number of the file.
        filenode: u32,
    },
    /// Its checksum is wrong.
    #[error("read WAL summary: its checksum is {stored:08X}, that of its content {computed:08X}")]
    Checksum {
        /// The checksum at its end.
        stored: u32,
        /// The checksum of what is there.
        computed: u32,
    },
    /// More follows its checksum.
    #[error("read WAL summary: it is followed by other data")]
    TrailingData,
}

/// Reads a summary and adds to `map` what it says of main forks outside of `global`.
///
/// It is read in small pieces: a file should be buffered.
///
/// # Errors
/// Every [`Error`]; the map then has a part of what a damaged file says, and is of no use.
pub fn read(source: impl Read, map: &mut BlockMap) -> Result<(), Error> {
    let mut source = Checked { source, checksum: 0 };
    let found = u32::from_le_bytes(source.array()?);
    if found != MAGIC {
        return Err(Error::OtherMagic { found });
    }
    loop {
        let entry: [u8; ENTRY_LEN] = source.array()?;
        if entry == [0; ENTRY_LEN] {
            break;
        }
        read_fork(&entry, &mut source, map)?;
    }
    let computed = source.checksum;
    let stored = u32::from_le_bytes(source.array()?);
    if stored != computed {
        return Err(Error::Checksum { stored, computed });
    }
    match source.array::<1>() {
        Err(Error::CutOff) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(Error::TrailingData),
    }
}

/// Reads the chunks of the fork that `entry` announces.
fn read_fork(
    entry: &[u8; ENTRY_LEN],
    source: &mut Checked<impl Read>,
    map: &mut BlockMap,
) -> Result<(), Error> {
    let [tablespace, database, filenode, fork, limit, chunks] = words(entry);
    let impossible = || Error::Impossible { tablespace, database, filenode };
    let in_main_fork = fork == MAIN_FORK;
    let relation = in_main_fork.then(|| RelationPlace::of_numbers(tablespace, database, filenode)).flatten();
    if in_main_fork && filenode == 0 {
        if let Some(place) = DatabasePlace::of_numbers(tablespace, database) {
            map.replace(place);
        }
    } else if let Some(relation) = relation
        && limit != NO_LIMIT
    {
        map.cut(relation, limit);
    }
    if chunks > 1 << (u32::BITS - CHUNK_BITS) {
        return Err(impossible());
    }
    let lengths = source.words(chunks as usize)?;
    for (chunk, len) in (0_u32..).zip(lengths) {
        if usize::from(len) > BITMAP_WORDS {
            return Err(impossible());
        }
        let words = source.words(len.into())?;
        let Some(relation) = relation.filter(|_| !words.is_empty()) else { continue };
        let first = chunk << CHUNK_BITS;
        if usize::from(len) < BITMAP_WORDS {
            map.mark_all(relation, words.into_iter().map(|block| first | u32::from(block)));
        } else {
            let bits = (0_u32..).zip(words).flat_map(|(index, word)| {
                (0..u16::BITS).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index * u16::BITS + bit)
            });
            map.mark_all(relation, bits.map(|block| first | block));
        }
    }
    Ok(())
}

fn words(entry: &[u8; ENTRY_LEN]) -> [u32; 6] {
    let mut fields = Fields(entry);
    [0; 6].map(|_: u32| fields.u32().unwrap_or_default())
}

/// A source with the checksum of all that was read of it.
struct Checked<R> {
    source: R,
    checksum: u32,
}

impl<R: Read> Checked<R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// So many words of two bytes; at most 65536.
    fn words(&mut self, count: usize) -> Result<Vec<u16>, Error> {
        let mut bytes = vec![0; count * 2];
        self.fill(&mut bytes)?;
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().copied().map(u16::from_le_bytes).collect())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::CutOff,
            _ => Error::Read(error),
        })?;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roaring::RoaringBitmap;

    use super::*;
    use crate::pg::Oid;

    /// A summary of entries, each followed by its chunks.
    fn summary(entries: &[([u32; 5], &[&[u16]])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        for (entry, chunks) in entries {
            bytes.extend(entry.map(u32::to_le_bytes).concat());
            bytes.extend(u32::try_from(chunks.len()).unwrap().to_le_bytes());
            bytes.extend(chunks.iter().flat_map(|chunk| u16::try_from(chunk.len()).unwrap().to_le_bytes()));
            bytes.extend(chunks.concat().into_iter().flat_map(u16::to_le_bytes));
        }
        bytes.extend([0; ENTRY_LEN]);
        finish(bytes)
    }

    fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    fn map_of(bytes: &[u8]) -> Result<BlockMap, Error> {
        let mut map = BlockMap::default();
        read(bytes, &mut map).map(|()| map)
    }

    fn relations(map: &BlockMap) -> Vec<(u32, Option<u32>, RoaringBitmap)> {
        let relation = |(place, limit, blocks): (RelationPlace, _, &RoaringBitmap)| {
            (place.filenode.as_u32(), limit, blocks.clone())
        };
        let mut relations: Vec<_> = map.relations().map(relation).collect();
        relations.sort_unstable_by_key(|(filenode, ..)| *filenode);
        relations
    }

    fn replaced(map: &BlockMap) -> Vec<(Option<u32>, u32)> {
        let place = |place: DatabasePlace| (place.tablespace.map(Oid::as_u32), place.database.as_u32());
        let mut replaced: Vec<_> = map.replaced().map(place).collect();
        replaced.sort_unstable();
        replaced
    }

    #[test]
    fn names() {
        let name = SummaryName {
            timeline: TimelineId::new(17).unwrap(),
            from: Lsn::new(0xA_0000_0028),
            until: Lsn::new(0x1_0000_00AB_CDEF),
        };
        let text = "000000110000000A000000280001000000ABCDEF.summary";
        assert_eq!(name.to_string(), text);
        assert_eq!(text.parse(), Ok(name));
        for text in [
            "",
            "temp.summary",
            "000000110000000A000000280001000000ABCDEF",
            "000000000000000A000000280001000000ABCDEF.summary",
            "000000110000000A000000280001000000ABCDE.summary",
            "000000110000000A000000280001000000ABCDEFG.summary",
            "000000110000000A00000028000100000+ABCDEF.summary",
            "000000110000000\u{e9}000000280001000000ABCDE.summary",
        ] {
            assert_eq!(
                text.parse::<SummaryName>(),
                Err(ParseError::WalSummaryName { text: text.to_owned() })
            );
        }
    }

    #[test]
    fn blocks_and_limits() {
        let mut bitmap = [0; BITMAP_WORDS];
        bitmap[0] = 0x8001;
        bitmap[4095] = 0x8000;
        let full = [0xFFFF; BITMAP_WORDS];
        let map = map_of(&summary(&[
            ([1663, 5, 0, 0, 0], &[]),
            ([1663, 6, 10, 0, NO_LIMIT], &[&[9, 3, 65535]]),
            ([1663, 6, 11, 0, 70], &[&[], &[1], &bitmap, &[], &full]),
            ([1663, 6, 11, 1, 0], &[&[4]]),
            ([1663, 6, 12, 2, 0], &[&[4]]),
            ([1663, 6, 13, 0, 0], &[]),
            ([1664, 0, 1262, 0, 0], &[&[4]]),
            ([77, 6, 0, 0, 0], &[]),
        ]))
        .unwrap();
        let mut of_11: RoaringBitmap = [65537, 131_072, 131_087, 196_607].into_iter().collect();
        of_11.insert_range(262_144..327_680);
        assert_eq!(
            relations(&map),
            [
                (10, None, [3, 9, 65535].into_iter().collect()),
                (11, Some(70), of_11),
                (13, Some(0), RoaringBitmap::new()),
            ]
        );
        assert_eq!(replaced(&map), [(None, 5), (Some(77), 6)]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = summary(&[([1663, 6, 10, 0, NO_LIMIT], &[&[9, 3, 65535]])]);
        let error = |bytes: &[u8]| map_of(bytes).unwrap_err().to_string();
        for cut in 0..good.len() {
            assert_eq!(error(&good[..cut]), "read WAL summary: it is cut off", "{cut}");
        }
        assert_eq!(error(&[&good[..], &[0]].concat()), "read WAL summary: it is followed by other data");
        let mut damaged = good.clone();
        damaged[30] ^= 1;
        let text = error(&damaged);
        assert!(text.starts_with("read WAL summary: its checksum is "), "{text}");
        damaged[1] = 0;
        assert_eq!(error(&damaged), "read WAL summary: it begins with 652B007B, not with 652B137B");
        let impossible = "read WAL summary: what it says of relation 1663/6/10 is not possible";
        let long = [0; BITMAP_WORDS + 1];
        assert_eq!(error(&summary(&[([1663, 6, 10, 0, 0], &[&long])])), impossible);
        let mut many = [MAGIC, 1663, 6, 10, 0, 0, 65537].map(u32::to_le_bytes).concat();
        many.resize(200_000, 0);
        assert_eq!(error(&finish(many)), impossible);
    }

    /// `tests/golden/pg/README.md` has what the server said of them.
    #[test]
    fn real_summaries() {
        let blocks = |blocks: &[u32]| blocks.iter().copied().collect::<RoaringBitmap>();
        let map = map_of(include_bytes!("../../tests/golden/pg/wal_summary.17.bin")).unwrap();
        assert_eq!(replaced(&map), []);
        assert_eq!(
            relations(&map),
            [
                (1259, None, blocks(&[0])),
                (16384, None, blocks(&[0, 88, 177, 265, 354, 447])),
                (16387, Some(5), blocks(&[0, 1, 2, 3, 4])),
            ]
        );
        let map = map_of(include_bytes!("../../tests/golden/pg/wal_summary.17-database.bin")).unwrap();
        assert_eq!((relations(&map), replaced(&map)), (vec![], vec![(None, 16390)]));
        let map = map_of(include_bytes!("../../tests/golden/pg/wal_summary.18.bin")).unwrap();
        let mut most = RoaringBitmap::new();
        most.insert_range(0..443);
        most.insert(447);
        assert_eq!(
            relations(&map),
            [(1259, None, blocks(&[0])), (16384, None, most), (16387, Some(5), blocks(&[0, 1, 2, 3, 4]))]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), entry in any::<[u8; 20]>()) {
            let _ = map_of(&bytes);
            let _ = map_of(&[&MAGIC.to_le_bytes()[..], &entry, &[2, 0, 0, 0], &bytes].concat());
        }
    }
}
