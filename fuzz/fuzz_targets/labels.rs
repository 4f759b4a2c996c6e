//! `backup_label` and `tablespace_map`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::pg::{BackupLabel, TablespaceMap};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = BackupLabel::parse(text);
    }
    if let Ok(map) = TablespaceMap::parse(bytes) {
        assert_eq!(TablespaceMap::parse(&map.format()).unwrap(), map);
    }
});
