//! The blocks that were recorded while WAL was archived.

use seawall::layout::walg::WalDelta;

pub fn run(bytes: &[u8]) {
    if let Ok(Some(delta)) = WalDelta::read(bytes) {
        let mut written = Vec::new();
        delta.write(&mut written).expect("memory takes everything");
        assert_eq!(WalDelta::read(&written[..]).expect("our own bytes"), Some(delta));
    }
}
