//! Increments: a relation file of a delta backup that holds only the pages changed since its base.
//!
//! Numbers are little endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | `wi1U` |
//! | 4 | 8 | size of the whole file in bytes when it was found |
//! | 12 | 4 | N, the number of pages |
//! | 16 | 4 N | their block numbers, ascending, counted from the start of this file |
//! | 16 + 4 N | 8192 N | the pages, in that order |
//!
//! wal-g looks for changed pages to the end that the file has by then: if it grew since it was found, pages beyond that
//! size are listed as well. They are sound, WAL replay writes them anyway, and make the file so long. seawall writes none.
//!
//! Source: wal-g `internal/databases/postgres/{pagefile,incremental_page_reader}.go`, release 3.0.9.

use std::io::{self, Read, Write};

/// The first bytes of an increment.
pub const MAGIC: [u8; 4] = *b"wi1U";

/// The size of a page of an increment, in bytes: PostgreSQL's usual `BLCKSZ`.
pub const PAGE_BYTES: usize = 8192;

/// Bytes before the block numbers: magic, file size, count.
const FIXED_BYTES: u64 = 16;

/// The largest file an increment may describe: block numbers are 32-bit, as PostgreSQL's are.
const LARGEST_FILE_BYTES: u64 = (1 << 32) * PAGE_BYTES as u64;

/// Whether a file that begins so is an increment. PostgreSQL never writes such a page: the bytes would be
/// the high half of its LSN, past 6 exabytes of WAL.
#[must_use]
pub fn is_increment(first_bytes: &[u8; 4]) -> bool {
    *first_bytes == MAGIC
}

/// The part of an increment before its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementHeader {
    file_bytes: u64,
    blocks: Vec<u32>,
}

/// What is wrong with an increment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed.
    #[error("cannot read the increment: {0}")]
    Read(#[source] io::Error),
    /// The increment ends early.
    #[error("the increment ends too early")]
    Truncated,
    /// The first bytes are not those of an increment.
    #[error("not an increment: it does not begin with 'wi1U'")]
    Magic,
    /// The file size is not a whole number of pages, or larger than PostgreSQL's block numbers reach.
    #[error("the increment is of an impossible file size, {0} bytes")]
    FileSize(u64),
    /// The block numbers do not ascend.
    #[error("the increment has block {0} out of order")]
    Order(u32),
    /// A block number lies beyond the file.
    #[error("the increment has block {block} beyond the file's {file_pages} pages")]
    Beyond {
        /// The offending block number.
        block: u32,
        /// Pages in the whole file.
        file_pages: u64,
    },
    /// Bytes follow the last page.
    #[error("the increment is followed by other data")]
    TrailingData,
}

impl IncrementHeader {
    /// Describes an increment of a file of `file_bytes`; `blocks` are the numbers of its pages.
    ///
    /// # Errors
    /// [`Error::FileSize`], [`Error::Order`], [`Error::Beyond`]
    pub fn new(file_bytes: u64, blocks: Vec<u32>) -> Result<IncrementHeader, Error> {
        let file_pages = file_pages(file_bytes)?;
        let mut previous = None;
        for block in &blocks {
            check_order(*block, previous)?;
            if u64::from(*block) >= file_pages {
                return Err(Error::Beyond { block: *block, file_pages });
            }
            previous = Some(*block);
        }
        Ok(IncrementHeader { file_bytes, blocks })
    }

    /// Reads a header; it may have blocks beyond the file's size. Memory is bounded by what the source really holds.
    ///
    /// # Errors
    /// Every [`Error`] but [`Error::Beyond`] and [`Error::TrailingData`].
    pub fn read(mut source: impl Read) -> Result<IncrementHeader, Error> {
        if !is_increment(&read_bytes(&mut source)?) {
            return Err(Error::Magic);
        }
        let file_bytes = u64::from_le_bytes(read_bytes(&mut source)?);
        let count = u32::from_le_bytes(read_bytes(&mut source)?);
        file_pages(file_bytes)?;
        let mut blocks = Vec::new();
        for _ in 0..count {
            let block = u32::from_le_bytes(read_bytes(&mut source)?);
            check_order(block, blocks.last().copied())?;
            blocks.push(block);
        }
        Ok(IncrementHeader { file_bytes, blocks })
    }

    /// Writes the header; the pages of [`blocks`](Self::blocks) must follow in that order.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(16 + 4 * self.blocks.len());
        bytes.extend(MAGIC);
        bytes.extend(self.file_bytes.to_le_bytes());
        bytes.extend(self.page_count().to_le_bytes());
        for block in &self.blocks {
            bytes.extend(block.to_le_bytes());
        }
        out.write_all(&bytes)
    }

    /// The size that the whole file had when it was found, in bytes: of what older backups have, nothing beyond counts.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The size of the file that the increment makes, in bytes: longer than it was found where there are pages beyond.
    #[must_use]
    pub fn restored_bytes(&self) -> u64 {
        let last_end = self.blocks.last().map_or(0, |last| (u64::from(*last) + 1) * PAGE_BYTES as u64);
        self.file_bytes.max(last_end)
    }

    /// The numbers of the pages that follow, ascending, counted from the start of the file.
    #[must_use]
    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// The size of the increment with its pages, in bytes: that of its tar member.
    #[must_use]
    pub fn increment_bytes(&self) -> u64 {
        FIXED_BYTES + u64::from(self.page_count()) * (4 + PAGE_BYTES as u64)
    }

    /// Reads the pages that follow the header and hands each with its block number to `take`, then
    /// checks that nothing follows.
    ///
    /// # Errors
    /// Those of `take` as they are, and [`Error::Read`], [`Error::Truncated`], [`Error::TrailingData`] made an `E`.
    pub fn read_pages<E: From<Error>>(
        &self,
        mut source: impl Read,
        mut take: impl FnMut(u32, &[u8; PAGE_BYTES]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut page = [0; PAGE_BYTES];
        for block in &self.blocks {
            source.read_exact(&mut page).map_err(read_error)?;
            take(*block, &page)?;
        }
        match source.read_exact(&mut [0]) {
            Ok(()) => Err(Error::TrailingData.into()),
            Err(e) if is_plain_end(&e) => Ok(()),
            Err(e) => Err(Error::Read(e).into()),
        }
    }

    fn page_count(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }
}

fn file_pages(file_bytes: u64) -> Result<u64, Error> {
    let page_bytes = PAGE_BYTES as u64;
    if !file_bytes.is_multiple_of(page_bytes) || file_bytes > LARGEST_FILE_BYTES {
        return Err(Error::FileSize(file_bytes));
    }
    Ok(file_bytes / page_bytes)
}

fn check_order(block: u32, previous: Option<u32>) -> Result<(), Error> {
    if previous.is_some_and(|previous| previous >= block) { Err(Error::Order(block)) } else { Ok(()) }
}

fn read_bytes<const N: usize>(source: &mut impl Read) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

fn read_error(error: io::Error) -> Error {
    if is_plain_end(&error) { Error::Truncated } else { Error::Read(error) }
}

/// Whether the source simply ended; a decoder that found its data cut short says so inside its error.
fn is_plain_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(header: &IncrementHeader) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap();
        bytes
    }

    fn pages_of(header: &IncrementHeader, content: &[u8]) -> Result<Vec<(u32, u8)>, Error> {
        let mut pages = Vec::new();
        header.read_pages(content, |block, page| {
            pages.push((block, page[0]));
            Ok::<_, Error>(())
        })?;
        Ok(pages)
    }

    #[test]
    fn the_bytes_are_walgs() {
        let header = IncrementHeader::new(3 * 8192, vec![2]).unwrap();
        assert_eq!(
            written(&header),
            [0x77, 0x69, 0x31, 0x55, 0, 0x60, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]
        );
        assert_eq!(header.increment_bytes(), 8212);
        assert!(is_increment(b"wi1U"));
        assert!(!is_increment(b"\0\0\0\0"));
    }

    #[test]
    fn pages_come_with_their_blocks() {
        let header = IncrementHeader::new(5 * 8192, vec![1, 4]).unwrap();
        let content = [[7; PAGE_BYTES], [9; PAGE_BYTES]].concat();
        assert_eq!(pages_of(&header, &content).unwrap(), [(1, 7), (4, 9)]);
        assert!(matches!(pages_of(&header, &content[1..]), Err(Error::Truncated)));
        let longer = [&content[..], &[0]].concat();
        assert!(matches!(pages_of(&header, &longer), Err(Error::TrailingData)));

        let unchanged = IncrementHeader::new(8192, vec![]).unwrap();
        assert!(pages_of(&unchanged, &[]).unwrap().is_empty());
    }

    #[test]
    fn impossible_increments_are_refused() {
        let header = |file_bytes: u64, count: u32, blocks: &[u32]| {
            let mut bytes = b"wi1U".to_vec();
            bytes.extend(file_bytes.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(blocks.iter().flat_map(|block| block.to_le_bytes()));
            bytes
        };
        let cases = [
            ("wrong magic", b"wi2U____________".to_vec(), "not an increment: it does not begin with 'wi1U'"),
            ("empty", vec![], "the increment ends too early"),
            ("no blocks", header(8192 * 4, 2, &[1]), "the increment ends too early"),
            ("odd size", header(8191, 0, &[]), "the increment is of an impossible file size, 8191 bytes"),
            ("fewer blocks than said", header(8192, 3, &[0, 1]), "the increment ends too early"),
            (
                "huge",
                header(u64::MAX - 8191, u32::MAX, &[]),
                "the increment is of an impossible file size, 18446744073709543424 bytes",
            ),
            ("repeated", header(8192 * 4, 2, &[1, 1]), "the increment has block 1 out of order"),
            ("descending", header(8192 * 4, 2, &[7, 6]), "the increment has block 6 out of order"),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(IncrementHeader::read(&bytes[..]).unwrap_err().to_string(), expected, "{name}");
        }
    }

    #[test]
    fn blocks_beyond_the_size_are_read_and_not_written() {
        let mut bytes = written(&IncrementHeader::new(3 * 8192, vec![0, 2]).unwrap());
        bytes[4..12].copy_from_slice(&8192_u64.to_le_bytes());
        let grown = IncrementHeader::read(&bytes[..]).unwrap();
        assert_eq!((grown.file_bytes(), grown.restored_bytes()), (8192, 3 * 8192));
        let content = [[7; PAGE_BYTES], [9; PAGE_BYTES]].concat();
        assert_eq!(pages_of(&grown, &content).unwrap(), [(0, 7), (2, 9)]);
        assert_eq!(IncrementHeader::new(4 * 8192, vec![0, 2]).unwrap().restored_bytes(), 4 * 8192);

        let refused = IncrementHeader::new(8192, vec![0, 2]).unwrap_err();
        assert_eq!(refused.to_string(), "the increment has block 2 beyond the file's 1 pages");
        assert!(matches!(IncrementHeader::new(4 * 8192, vec![2, 2]), Err(Error::Order(2))));

        // The largest number that there is.
        bytes[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(IncrementHeader::read(&bytes[..]).unwrap().restored_bytes(), 1 << 45);
    }

    proptest! {
        #[test]
        fn read_is_the_inverse_of_write(blocks in prop::collection::btree_set(0_u32..131_072, 0..200), more in 0_u64..9) {
            let blocks: Vec<u32> = blocks.into_iter().collect();
            let pages = blocks.last().map_or(0, |last| u64::from(*last) + 1) + more;
            let header = IncrementHeader::new(pages * 8192, blocks.clone()).unwrap();
            let bytes = written(&header);
            prop_assert_eq!(IncrementHeader::read(&bytes[..]).unwrap(), header.clone());
            prop_assert_eq!(header.increment_bytes(), (bytes.len() + blocks.len() * 8192) as u64);
            for cut in 0..bytes.len() {
                prop_assert!(IncrementHeader::read(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&MAGIC[..], &bytes].concat();
            let _ = IncrementHeader::read(&bytes[..]);
        }
    }
}
