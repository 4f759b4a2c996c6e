//! The increments of wal-g's delta backups.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::layout::walg::increment::{Error, IncrementHeader, PAGE_BYTES};

fuzz_target!(|bytes: &[u8]| {
    let mut source = bytes;
    if let Ok(header) = IncrementHeader::read(&mut source) {
        let _ = header.read_pages(source, |block, _| {
            assert!((u64::from(block) + 1) * PAGE_BYTES as u64 <= header.file_bytes());
            Ok::<_, Error>(())
        });
    }
});
