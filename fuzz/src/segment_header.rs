//! The first page header of a WAL segment.

use seawall::pg::{SegmentHeader, SegmentName};

pub fn run(bytes: &[u8]) {
    if let Ok(header) = SegmentHeader::parse(bytes) {
        let name: SegmentName = "000000010000000000000001".parse().unwrap();
        let _ = header.check(name, bytes.len() as u64);
        let _ = header.check(name, 16 << 20);
    }
}
