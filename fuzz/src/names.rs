//! Names and keys: WAL files, backups, objects, positions.

use seawall::layout::barman;
use seawall::layout::walg::{BackupName, names};
use seawall::pg::{Lsn, SegmentName, WalFileName, WalSegmentSize};
use seawall::storage::{Key, Prefix};

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(file) = text.parse::<WalFileName>() {
        // Lower case is read as well.
        assert!(file.to_string().eq_ignore_ascii_case(text));
    }
    if let Ok(segment) = text.parse::<SegmentName>() {
        assert!(segment.to_string().eq_ignore_ascii_case(text));
        let size = WalSegmentSize::DEFAULT;
        let next = segment.next(size);
        assert!(next.is_none_or(|next| next > segment && next.previous(size) == Some(segment)));
    }
    if let Ok(backup) = text.parse::<BackupName>() {
        assert_eq!(backup.to_string(), text);
        assert_eq!(names::backup_of_sentinel(&names::sentinel_key(backup)), Some(backup));
    }
    if let Ok(lsn) = text.parse::<Lsn>() {
        assert_eq!(lsn.to_string().parse::<Lsn>().unwrap(), lsn);
    }
    let _ = names::parse_tar_name(text);
    if let Ok(id) = text.parse::<barman::BackupId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Some((tar, Ok(method))) = barman::names::parse_tar_name(text) {
        let (read, _) = barman::names::parse_tar_name(&tar.object_name(method)).unwrap();
        assert_eq!(read, tar);
    }
    if let Ok(prefix) = Prefix::parse(text) {
        let _ = (barman::names::backup_of_prefix(&prefix), barman::names::HashDir::parse(&prefix));
    }
    if let Ok(key) = Key::parse(text) {
        assert_eq!(key.as_str(), text);
        let _ =
            (names::parse_wal_key(&key), names::backup_of_object(&key), names::segment_of_wal_object(&key));
        let _ = (barman::names::parse_wal_key(&key), barman::names::backup_of_keep(&key));
    }
}
