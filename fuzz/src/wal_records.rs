//! WAL: the bytes as a segment, and as what follows the header of a record that is otherwise right.

use seawall::pg::wal::{Head, SegmentChanges, WalReader, join};
use seawall::pg::{BlockMap, Lsn, SegmentHeader, SystemIdentifier, WalSegmentSize};

const SEGMENT: u64 = 1 << 20;

/// `XLOG_PAGE_MAGIC` of 13 to 18.
const MAGICS: [u16; 6] = [0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];

/// The start of a segment of cluster 1, with one record in it that is as long as the page at the most.
fn segment_with(magic: u16, info: u8, manager: u8, body: &[u8]) -> Vec<u8> {
    let mut page = [magic, 2].map(u16::to_le_bytes).concat();
    page.extend(1_u32.to_le_bytes());
    page.extend([SEGMENT, 0, 1].map(u64::to_le_bytes).concat());
    page.extend([SEGMENT as u32, 8192].map(u32::to_le_bytes).concat());
    let body = &body[..body.len().min(8000)];
    let mut record = (24 + body.len() as u32).to_le_bytes().to_vec();
    record.extend([0; 12]);
    record.extend([info, manager, 0, 0]);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(body), &record);
    record.extend(checksum.to_le_bytes());
    record.extend(body);
    page.extend(record);
    page.resize(8192, 0);
    page
}

pub fn run(bytes: &[u8]) {
    let size = WalSegmentSize::from_bytes(SEGMENT).unwrap();
    let read = |segment: &[u8], cluster| {
        let mut reader = WalReader::new(cluster, size, Lsn::new(SEGMENT), Lsn::new(SEGMENT + 41));
        let _ = reader.read_segment(&mut &segment[..]);
        let _ = reader.finish();
    };
    let _ = SegmentChanges::read(&mut &bytes[..], Lsn::INVALID);
    if let Ok(header) = SegmentHeader::parse(bytes) {
        read(bytes, header.system_identifier);
    }
    let [version, info, manager, body @ ..] = bytes else { return };
    let magic = MAGICS[usize::from(*version) % MAGICS.len()];
    read(&segment_with(magic, *info, *manager, body), SystemIdentifier::new(1));
    let (tail, rest) = body.split_at(body.len() / 2);
    let head = Head { missing: rest.len() as u32, bytes: rest.to_vec(), dropped: *info > 200 };
    let _ = join(13 + u32::from(*version) % 6, Lsn::INVALID, tail.to_vec(), &head, &mut BlockMap::default());
}
