//! wal-g's layout, as the operations ask for it.

use crate::codec::Method;
use crate::layout::{Entry, FindWal, Layout, Marker};
use crate::pg::{SegmentName, SystemIdentifier, WalFileName};
use crate::storage::{Key, Prefix};

use super::Sentinel;
use super::names::{self, StoredWal};

/// wal-g's layout.
#[derive(Debug, Clone, Copy)]
pub struct WalG;

impl Layout for WalG {
    fn wal_key(&self, file: &str, method: Method) -> Key {
        names::wal_key(file, method)
    }

    fn find_wal(&self, file: &str, first: Method) -> FindWal {
        FindWal::ByName {
            names: names::wal_candidates(file, first),
            unreadable: Some(names::lzo_wal_key(file)),
        }
    }

    fn archive(&self) -> Prefix {
        names::wal_prefix()
    }

    fn wal_of_log(&self, segment: SegmentName) -> Prefix {
        names::wal_of_log(segment)
    }

    fn archived_file(&self, key: &Key) -> Option<(WalFileName, Method)> {
        match names::parse_wal_key(key)? {
            StoredWal::File(file, method) => Some((file, method)),
            StoredWal::Delta(_) => None,
        }
    }

    fn unreadable_file(&self, key: &Key) -> Option<WalFileName> {
        names::parse_unreadable_wal_key(key)
    }

    fn backups(&self) -> Prefix {
        names::backups_prefix()
    }

    fn marker(&self, entry: Entry<'_>) -> Option<Key> {
        match entry {
            Entry::Object(key) => names::backup_of_sentinel(key).map(|_| key.clone()),
            Entry::Folder(_) => None,
        }
    }

    fn read_marker(&self, content: &[u8]) -> Option<Marker> {
        let sentinel = Sentinel::from_json(content).ok()?;
        let system_identifier = sentinel.system_identifier.map(SystemIdentifier::new);
        Some(Marker { system_identifier, is_complete: true })
    }
}
