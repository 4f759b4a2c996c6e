//! `backup_label` and `tablespace_map`.

use seawall::pg::{BackupLabel, TablespaceMap};

pub fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = BackupLabel::parse(text);
    }
    if let Ok(map) = TablespaceMap::parse(bytes) {
        assert_eq!(TablespaceMap::parse(&map.format()).unwrap(), map);
    }
}
