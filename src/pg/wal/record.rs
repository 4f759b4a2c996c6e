//! One record of WAL: its header and the blocks it names.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | length of the record, this header included |
//! | 4 | transaction |
//! | 8 | address of the record before |
//! | 1 | info: upper half the resource manager's own, lower half flags |
//! | 1 | resource manager |
//! | 2 | padding |
//! | 4 | CRC-32C of what follows the header, then of the header before this field |
//!
//! Then a header for each block that the record changes, and one for its main data; then what the blocks bring with
//! them (page images, data) in the same order, and the main data last. All is in the byte order of the machine and
//! nothing but the record itself is aligned. Source: `access/xlogrecord.h`; what is refused is what
//! `DecodeXLogRecord` (`access/transam/xlogreader.c`) refuses for its length.

use super::WalError;
use super::fields::Fields;
use crate::pg::Lsn;

/// Records begin at multiples of this (`MAXIMUM_ALIGNOF` where longs have 64 bits).
pub(super) const ALIGNMENT: usize = 8;

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// Bytes of the whole record.
    pub len: u32,
    /// Where the record before begins.
    pub previous: Lsn,
    /// `xl_info`.
    pub info: u8,
    /// `xl_rmid`.
    pub manager: u8,
    /// `xl_crc`.
    pub crc: u32,
}

impl RecordHeader {
    /// `SizeOfXLogRecord`.
    pub const LEN: usize = 24;

    /// How much of the header its own checksum covers.
    const CHECKED_LEN: usize = 20;

    /// Reads the header; `None` when there are fewer bytes than it has.
    pub fn parse(bytes: &[u8]) -> Option<RecordHeader> {
        let mut fields = Fields(bytes);
        let len = fields.u32()?;
        let _transaction = fields.u32()?;
        let previous = Lsn::new(fields.u64()?);
        let (info, manager) = (fields.u8()?, fields.u8()?);
        let _padding = fields.u16()?;
        Some(RecordHeader { len, previous, info, manager, crc: fields.u32()? })
    }

    /// The resource manager's own part of `info` (`XLR_RMGR_INFO_MASK`).
    pub fn kind(&self) -> u8 {
        self.info & 0xF0
    }
}

/// Bytes from the start of a record to that of the next, on a page that holds both.
pub(super) fn aligned(len: u32) -> usize {
    (len as usize).next_multiple_of(ALIGNMENT)
}

/// A block that a record changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockReference {
    /// Numbers of tablespace, database and file.
    pub relation: (u32, u32, u32),
    /// The fork; 0 is the main one.
    pub fork: u8,
    /// The block in that fork.
    pub block: u32,
}

const FORK_MASK: u8 = 0x0F;
const BLOCK_HAS_IMAGE: u8 = 0x10;
const BLOCK_SAME_RELATION: u8 = 0x80;

const IMAGE_HAS_HOLE: u8 = 0x01;

/// `BKPIMAGE_IS_COMPRESSED`, before 15. The bit says from 15 on that replay has to apply the image.
const IMAGE_IS_COMPRESSED_BEFORE_15: u8 = 0x02;

/// `BKPIMAGE_COMPRESS_PGLZ`, `_LZ4` and `_ZSTD`, from 15 on. The first said before 15 that replay has to apply the
/// image.
const IMAGE_COMPRESSED_BY: u8 = 0x04 | 0x08 | 0x10;

const LAST_BLOCK_ID: u8 = 32;
const ID_TOPLEVEL_TRANSACTION: u8 = 252;
const ID_ORIGIN: u8 = 253;
const ID_MAIN_DATA_LONG: u8 = 254;
const ID_MAIN_DATA_SHORT: u8 = 255;

/// A record that was read to its end, and whose checksum is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    /// Where it begins, for messages.
    pub lsn: Lsn,
    /// The version that wrote it.
    pub pg_major: u32,
    /// Its header.
    pub header: RecordHeader,
    /// What follows the header: all of it, or at least the first [`Record::HEADERS_MAX`] bytes.
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// No record's block and data headers are longer: 33 blocks of at most 27 bytes (`MaxSizeOfXLogRecordBlockHeader`),
    /// origin, transaction, main data (`HEADER_SCRATCH_SIZE`, `access/transam/xloginsert.c`).
    pub const HEADERS_MAX: usize = 33 * 27 + 3 + 5 + 5;

    /// The record of these parts, if its checksum is right; `body_checksum` is that of all that follows the header.
    pub fn check(
        lsn: Lsn,
        pg_major: u32,
        header: &[u8],
        body: &'a [u8],
        body_checksum: u32,
    ) -> Result<Record<'a>, WalError> {
        let (Some(parsed), Some(checked)) =
            (RecordHeader::parse(header), header.get(..RecordHeader::CHECKED_LEN))
        else {
            return Err(WalError::Record { lsn, problem: "it is shorter than its header" });
        };
        let computed = crc32c::crc32c_append(body_checksum, checked);
        if computed != parsed.crc {
            return Err(WalError::Checksum { lsn, stored: parsed.crc, computed });
        }
        Ok(Record { lsn, pg_major, header: parsed, body })
    }

    /// Hands over every block the record names; returns the main data.
    ///
    /// The main data is empty when the record has none, and when not all of the record is here.
    pub fn blocks(&self, mut each: impl FnMut(BlockReference)) -> Result<&'a [u8], WalError> {
        let refuse = |problem| WalError::Record { lsn: self.lsn, problem };
        let short = || refuse("it is shorter than its parts");
        let len = (self.header.len as usize).saturating_sub(RecordHeader::LEN);
        let mut fields = Fields(self.body);
        let mut headers_len = 0;
        let mut data_len = 0;
        let mut main_len = 0;
        let mut next_id = 0;
        let mut relation = None;
        // As in PostgreSQL the headers end with that of the main data or, without it, where the blocks' data begins.
        while headers_len + data_len < len {
            let id = fields.u8().ok_or_else(short)?;
            match id {
                ID_MAIN_DATA_SHORT => main_len = fields.u8().ok_or_else(short)?.into(),
                ID_MAIN_DATA_LONG => main_len = fields.u32().ok_or_else(short)? as usize,
                ID_ORIGIN => drop(fields.u16().ok_or_else(short)?),
                ID_TOPLEVEL_TRANSACTION => drop(fields.u32().ok_or_else(short)?),
                id if id > LAST_BLOCK_ID => return Err(refuse("it has a part of an unknown kind")),
                id if id < next_id => return Err(refuse("its blocks are out of order")),
                id => {
                    next_id = id + 1;
                    let (reference, block_len) = self.block(&mut fields, relation).ok_or_else(short)?;
                    relation = Some(reference.relation);
                    data_len += block_len;
                    each(reference);
                }
            }
            headers_len = self.body.len() - fields.0.len();
            if id == ID_MAIN_DATA_SHORT || id == ID_MAIN_DATA_LONG {
                data_len += main_len;
                break;
            }
        }
        if headers_len + data_len != len {
            return Err(refuse("its length is not that of its parts"));
        }
        let main_data = if self.body.len() == len { self.body.get(len - main_len..) } else { None };
        Ok(main_data.unwrap_or_default())
    }

    /// The block whose header follows, and the bytes it brings with it. `relation` is that of the block before.
    fn block(
        &self,
        fields: &mut Fields,
        relation: Option<(u32, u32, u32)>,
    ) -> Option<(BlockReference, usize)> {
        let flags = fields.u8()?;
        let mut len = usize::from(fields.u16()?);
        if flags & BLOCK_HAS_IMAGE != 0 {
            len += usize::from(fields.u16()?);
            let _hole_offset = fields.u16()?;
            let image_flags = fields.u8()?;
            let compressed =
                if self.pg_major >= 15 { IMAGE_COMPRESSED_BY } else { IMAGE_IS_COMPRESSED_BEFORE_15 };
            if image_flags & compressed != 0 && image_flags & IMAGE_HAS_HOLE != 0 {
                let _hole_len = fields.u16()?;
            }
        }
        let relation = if flags & BLOCK_SAME_RELATION != 0 {
            relation?
        } else {
            (fields.u32()?, fields.u32()?, fields.u32()?)
        };
        Some((BlockReference { relation, fork: flags & FORK_MASK, block: fields.u32()? }, len))
    }
}
