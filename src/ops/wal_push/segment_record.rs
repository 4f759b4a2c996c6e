//! The form in which the changes of one segment wait for those of its group.
//!
//! Numbers are little endian.
//!
//! | bytes | |
//! |---|---|
//! | 16 | `seawall blocks 1` |
//! | 32 | the segment's header: version (4), timeline (4), address (8), system identifier (8), segment size (4), WAL block size (4) |
//! | 9 | the record it begins with: bytes that the segments before do not have (4), dropped (1), bytes that follow (4) |
//! | that many | these bytes |
//! | the rest | what the other records changed and the one that is unfinished at the end, as in a `_delta` object |

use std::io::{self, Read, Write};

use crate::layout::walg::WalDelta;
use crate::layout::walg::wal_delta;
use crate::pg::wal::{Head, SegmentChanges};
use crate::pg::{Lsn, SegmentHeader, SystemIdentifier, TimelineId, WalSegmentSize};

const MAGIC: [u8; 16] = *b"seawall blocks 1";

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The file, or its end comes too early.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Another file, or a record of another version.
    #[error("it is not a record of changed blocks")]
    Foreign,
    /// The blocks, or what follows them.
    #[error(transparent)]
    Blocks(#[from] wal_delta::Error),
}

/// Writes the changes of a segment.
pub(super) fn write(changes: SegmentChanges, mut out: impl Write) -> io::Result<()> {
    let SegmentChanges { header, map, head, tail } = changes;
    out.write_all(&MAGIC)?;
    out.write_all(&header.pg_major.to_le_bytes())?;
    out.write_all(&header.timeline.as_u32().to_le_bytes())?;
    out.write_all(&header.page_address.as_u64().to_le_bytes())?;
    out.write_all(&header.system_identifier.as_u64().to_le_bytes())?;
    let size = u32::try_from(header.segment_size.bytes()).map_err(io::Error::other)?;
    out.write_all(&size.to_le_bytes())?;
    out.write_all(&header.block_size.to_le_bytes())?;
    out.write_all(&head.missing.to_le_bytes())?;
    out.write_all(&[u8::from(head.dropped)])?;
    let len = u32::try_from(head.bytes.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&head.bytes)?;
    WalDelta { map, tail }.write(out)
}

/// Reads them back.
pub(super) fn read(mut source: impl Read) -> Result<SegmentChanges, Error> {
    if bytes(&mut source)? != MAGIC {
        return Err(Error::Foreign);
    }
    let pg_major = u32::from_le_bytes(bytes(&mut source)?);
    let timeline = u32::from_le_bytes(bytes(&mut source)?);
    let page_address = Lsn::new(u64::from_le_bytes(bytes(&mut source)?));
    let system_identifier = SystemIdentifier::new(u64::from_le_bytes(bytes(&mut source)?));
    let segment_size = u32::from_le_bytes(bytes(&mut source)?);
    let block_size = u32::from_le_bytes(bytes(&mut source)?);
    let header = SegmentHeader {
        pg_major,
        timeline: TimelineId::new(timeline).ok_or(Error::Foreign)?,
        page_address,
        system_identifier,
        segment_size: WalSegmentSize::from_bytes(segment_size.into()).map_err(|_| Error::Foreign)?,
        block_size,
    };
    let missing = u32::from_le_bytes(bytes(&mut source)?);
    let [dropped] = bytes(&mut source)?;
    let len = u32::from_le_bytes(bytes(&mut source)?);
    let mut own = Vec::new();
    // What is missing here is missed when the rest is read.
    source.by_ref().take(len.into()).read_to_end(&mut own)?;
    let head = Head { missing, bytes: own, dropped: dropped != 0 };
    let WalDelta { map, tail } = WalDelta::read(source)?.ok_or(Error::Foreign)?;
    Ok(SegmentChanges { header, map, head, tail })
}

fn bytes<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pg::{BlockMap, DatabasePlace, Oid, RelationPlace};

    fn changes(head: Head, tail: Vec<u8>) -> SegmentChanges {
        let database = DatabasePlace { tablespace: None, database: Oid::new(5).unwrap() };
        let mut map = BlockMap::default();
        map.mark(RelationPlace { database, filenode: Oid::FIRST_NORMAL }, 7);
        map.cut(RelationPlace { database, filenode: Oid::FIRST_NORMAL }, 9);
        let header = SegmentHeader {
            pg_major: 17,
            timeline: TimelineId::new(3).unwrap(),
            page_address: Lsn::new(0x12_0340_0000),
            system_identifier: SystemIdentifier::new(7_000_000_000_000_000_001),
            segment_size: WalSegmentSize::DEFAULT,
            block_size: 8192,
        };
        SegmentChanges { header, map, head, tail }
    }

    fn written(changes: &SegmentChanges) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(changes.clone(), &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn read_is_the_inverse_of_write(
            missing: u32, dropped: bool, own: Vec<u8>, tail: Vec<u8>, cut: prop::sample::Index,
        ) {
            let changes = changes(Head { missing, bytes: own, dropped }, tail);
            let bytes = written(&changes);
            prop_assert_eq!(read(&bytes[..]).unwrap(), changes);
            prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = read(&[&MAGIC[..], &bytes].concat()[..]);
            let mut damaged = written(&changes(Head::default(), vec![1, 2, 3]));
            let at = at.index(damaged.len());
            damaged[at] = byte;
            let _ = read(&damaged[..]);
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(read(&b"seawall blocks 2 and more"[..]), Err(Error::Foreign)));
        assert!(matches!(read(&b""[..]), Err(Error::Read(_))));
    }
}
