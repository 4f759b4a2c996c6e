//! The increments of wal-g's delta backups.

use seawall::layout::walg::increment::{Error, IncrementHeader, PAGE_BYTES};

pub fn run(bytes: &[u8]) {
    let mut source = bytes;
    if let Ok(header) = IncrementHeader::read(&mut source) {
        let _ = header.read_pages(source, |block, _| {
            assert!((u64::from(block) + 1) * PAGE_BYTES as u64 <= header.restored_bytes());
            Ok::<_, Error>(())
        });
    }
}
