//! barman-cloud's layout, as the operations ask for it.

use jiff::tz::TimeZone;

use crate::codec::Method;
use crate::layout::{Entry, FindWal, Layout, Marker};
use crate::pg::{SegmentName, WalFileName};
use crate::storage::{Key, Prefix};

use super::{BackupInfo, Status, names};

/// barman-cloud's layout.
#[derive(Debug, Clone, Copy)]
pub struct Barman {
    /// What to do for a segment of which only the partial file is archived.
    pub partials: Partials,
}

/// What to do for a segment of which only the partial file is archived: what a server had written of it when another
/// one was promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partials {
    /// It is not there.
    Ignore,
    /// The partial file is taken for it. A whole segment goes before.
    Accept,
}

impl Layout for Barman {
    fn wal_key(&self, file: &str, method: Method) -> Key {
        match file.parse() {
            Ok(file) => names::wal_key(file, method),
            Err(_) => names::other_key(file, method),
        }
    }

    fn find_wal(&self, file: &str, _: Method) -> FindWal {
        let Ok(wanted) = file.parse::<WalFileName>() else {
            let names = vec![(names::other_key(file, Method::None), Method::None)];
            return FindWal::ByName { names, unreadable: None };
        };
        let partial = match wanted {
            WalFileName::Segment(segment) if self.partials == Partials::Accept => {
                Some(WalFileName::Partial(segment))
            }
            _ => None,
        };
        FindWal::ByList {
            stems: names::wal_stems(wanted, file),
            choose: Box::new(move |listed| {
                let forms = listed.into_iter().filter_map(|key| {
                    let (file, method) = names::parse_wal_key(&key)?;
                    let is_partial = Some(file) == partial;
                    (file == wanted || is_partial).then_some((is_partial, key, method))
                });
                let best = forms.min_by(|(a, key_a, _), (b, key_b, _)| (a, key_a).cmp(&(b, key_b)));
                best.map(|(_, key, method)| (key, method))
            }),
        }
    }

    fn archive(&self) -> Prefix {
        names::wal_prefix()
    }

    fn wal_of_log(&self, segment: SegmentName) -> Prefix {
        names::HashDir::of(segment).prefix()
    }

    fn archived_file(&self, key: &Key) -> Option<(WalFileName, Method)> {
        names::parse_wal_key(key)
    }

    fn unreadable_file(&self, key: &Key) -> Option<WalFileName> {
        names::parse_unreadable_wal_key(key)
    }

    fn backups(&self) -> Prefix {
        names::backups_prefix()
    }

    fn marker(&self, entry: Entry<'_>) -> Option<Key> {
        match entry {
            Entry::Object(_) => None,
            Entry::Folder(prefix) => names::backup_of_prefix(prefix).map(names::backup_info_key),
        }
    }

    fn read_marker(&self, content: &[u8]) -> Option<Marker> {
        // No time is taken from it, so any zone will do.
        let info = BackupInfo::parse(content, &TimeZone::UTC).ok()?;
        Some(Marker { system_identifier: info.systemid, is_complete: info.status == Status::Done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(partials: Partials, file: &str, listed: &[&str]) -> Option<(String, Method)> {
        let FindWal::ByList { stems, choose } = (Barman { partials }).find_wal(file, Method::Lz4) else {
            panic!("{file} is not listed")
        };
        let keys: Vec<Key> = listed.iter().map(|key| Key::parse(key).unwrap()).collect();
        assert!(keys.iter().all(|key| stems.iter().any(|stem| key.below(stem).is_some())), "{stems:?}");
        choose(keys).map(|(key, method)| (key.to_string(), method))
    }

    #[test]
    fn a_whole_segment_goes_before_a_partial_one() {
        let segment = "00000001000000000000000A";
        let path = "wals/0000000100000000/00000001000000000000000A";
        let names = [".partial.gz", ".00000028.backup.gz", ".zst", ".foo"].map(|end| format!("{path}{end}"));
        let [partial, backup, whole, other] = names.each_ref().map(String::as_str);
        let both = [partial, backup, whole, other];
        for partials in [Partials::Ignore, Partials::Accept] {
            assert_eq!(chosen(partials, segment, &both), Some((whole.to_owned(), Method::Zstd)));
            assert_eq!(chosen(partials, segment, &[backup, other]), None);
            let plain = chosen(partials, segment, &[whole, path]);
            assert_eq!(plain, Some((path.to_owned(), Method::None)));
        }
        assert_eq!(chosen(Partials::Ignore, segment, &[partial]), None);
        let taken = chosen(Partials::Accept, segment, &[partial]);
        assert_eq!(taken, Some((partial.to_owned(), Method::Gzip)));
        let named = chosen(Partials::Ignore, "00000001000000000000000A.partial", &[partial]);
        assert_eq!(named, Some((partial.to_owned(), Method::Gzip)));
        let history = chosen(Partials::Accept, "00000002.history", &["wals/00000002.history.bz2"]);
        assert_eq!(history, Some(("wals/00000002.history.bz2".to_owned(), Method::Bzip2)));
        for key in [
            "wals/0000000a00000000/0000000a000000000000000b.gz",
            "wals/0000000A00000000/0000000A000000000000000B.gz",
        ] {
            let lower = chosen(Partials::Accept, "0000000a000000000000000b", &[key]);
            assert_eq!(lower, Some((key.to_owned(), Method::Gzip)));
        }
        let lower = chosen(Partials::Accept, "0000000a.history", &["wals/0000000a.history"]);
        assert_eq!(lower, Some(("wals/0000000a.history".to_owned(), Method::None)));
    }
}
