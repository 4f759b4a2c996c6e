//! The blocks that were recorded while WAL was archived.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::layout::walg::WalDelta;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(delta)) = WalDelta::read(bytes) {
        let mut written = Vec::new();
        delta.write(&mut written).expect("memory takes everything");
        assert_eq!(WalDelta::read(&written[..]).expect("our own bytes"), Some(delta));
    }
});
