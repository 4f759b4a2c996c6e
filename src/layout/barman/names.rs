//! Where everything lies below the place of one server.
//!
//! ```text
//! base/<id>/backup.info                      a backup exists if and only if this exists
//! base/<id>/data.tar<ext>                    the data directory
//! base/<id>/data_0001.tar<ext> …             what follows a tar that was full
//! base/<id>/<oid>.tar<ext> …                 a tablespace, in the same way
//! base/<id>/annotations/keep                 see `Keep`
//! wals/<16 digits>/<segment, partial or backup history file><ext>
//! wals/<history file><ext>
//! ```
//!
//! `<ext>` tells the compression, with its dot; it is left out for none. The 16 digits are the first of the segment's
//! name. Source: barman `cloud.py` (`CloudBackupCatalog`, `CloudUploadController`), `xlog.py` (`hash_dir`).

use std::fmt;

use crate::codec::{self, Method};
use crate::layout::keys::{key, prefix, with_extension};
use crate::layout::new_backup::CLAIM;
use crate::pg::{Oid, SegmentName, TimelineId, WalFileName};
use crate::storage::{Key, Prefix};

use super::BackupId;

const BACKUPS: &str = "base/";
const WAL: &str = "wals/";
const INFO: &str = "backup.info";

/// Everything of all backups.
pub fn backups_prefix() -> Prefix {
    prefix(BACKUPS)
}

/// Everything archived.
pub fn wal_prefix() -> Prefix {
    prefix(WAL)
}

/// All of one backup.
pub fn backup_prefix(backup: BackupId) -> Prefix {
    prefix(&format!("{BACKUPS}{backup}/"))
}

/// The backup whose folder this is; `None` for every other prefix.
pub fn backup_of_prefix(prefix: &Prefix) -> Option<BackupId> {
    prefix.as_str().strip_prefix(BACKUPS)?.strip_suffix('/')?.parse().ok()
}

/// The description of a backup, whose presence makes it exist.
pub fn backup_info_key(backup: BackupId) -> Key {
    key(format!("{BACKUPS}{backup}/{INFO}"))
}

/// The `backup_label` of a backup that is made of snapshots; others have it in their tars.
pub fn backup_label_key(backup: BackupId) -> Key {
    key(format!("{BACKUPS}{backup}/backup_label"))
}

/// The object that says whose backup this is while it is being taken: seawall's own.
pub fn claim_key(backup: BackupId) -> Key {
    key(format!("{BACKUPS}{backup}/{CLAIM}"))
}

/// Where a backup is said to be kept.
pub fn keep_key(backup: BackupId) -> Key {
    key(format!("{BACKUPS}{backup}/annotations/keep"))
}

/// The backup that an annotation with this key keeps; `None` for every other key.
pub fn backup_of_keep(key: &Key) -> Option<BackupId> {
    key.as_str().strip_prefix(BACKUPS)?.strip_suffix("/annotations/keep")?.parse().ok()
}

/// What a sequence of tars holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stem {
    /// The data directory.
    Data,
    /// A tablespace.
    Tablespace(Oid),
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stem::Data => f.write_str("data"),
            Stem::Tablespace(oid) => oid.fmt(f),
        }
    }
}

/// Which of a backup's tars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TarName {
    /// What it holds.
    pub stem: Stem,
    /// 0 for the first, which has to exist; then counted from 1. They are unpacked in this order.
    pub number: u32,
}

impl TarName {
    /// The object's name in the backup's folder.
    pub fn object_name(self, method: Method) -> String {
        let TarName { stem, number } = self;
        let tar = match number {
            0 => format!("{stem}.tar"),
            _ => format!("{stem}_{number:04}.tar"),
        };
        with_extension(&tar, method)
    }
}

/// One tar of a backup.
pub fn tar_key(backup: BackupId, tar: TarName, method: Method) -> Key {
    key(format!("{BACKUPS}{backup}/{}", tar.object_name(method)))
}

/// Reads the name of an object in a backup's folder; `None` when it is no tar. The method is an error when it is a tar
/// whose extension we cannot decompress.
///
/// The stem ends at the first `.` or `_`: tablespace 1639 has no part in what is called `16391.tar`.
pub fn parse_tar_name(name: &str) -> Option<(TarName, Result<Method, codec::Error>)> {
    let (name, extension) = name.split_once(".tar")?;
    let method = match extension {
        "" => Ok(Method::None),
        _ => {
            let extension = extension.strip_prefix('.')?;
            method_of(extension).ok_or_else(|| codec::Error::unknown_extension(extension, &METHODS))
        }
    };
    let (stem, number) = match name.split_once('_') {
        None => (name, 0),
        Some((stem, number)) => (stem, parse_number(number)?),
    };
    let stem = if stem == "data" { Stem::Data } else { Stem::Tablespace(Oid::parse(stem)?) };
    Some((TarName { stem, number }, method))
}

/// A number from 1 on, in at least four digits.
fn parse_number(text: &str) -> Option<u32> {
    let digits = text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

/// An archived file.
pub fn wal_key(file: WalFileName, method: Method) -> Key {
    let name = with_extension(&file.to_string(), method);
    match segment(file) {
        Some(segment) => key(format!("{WAL}{}/{name}", HashDir::of(segment))),
        None => key(format!("{WAL}{name}")),
    }
}

/// What the names of all forms of an archived file begin with: as it is always written, and as it is `spelled`, if that is
/// with small letters.
pub(super) fn wal_stems(file: WalFileName, spelled: &str) -> Vec<Prefix> {
    let usual = wal_key(file, Method::None);
    let other = match segment(file).and_then(|_| spelled.get(..16)) {
        Some(folder) => format!("{WAL}{folder}/{spelled}"),
        None => format!("{WAL}{spelled}"),
    };
    #[expect(clippy::expect_used, reason = "a key is a stem")]
    let stem = |key: &str| Prefix::stem(key).expect("keys are stems");
    match other == usual.as_str() {
        true => vec![stem(&other)],
        false => vec![stem(usual.as_str()), stem(&other)],
    }
}

/// A file that PostgreSQL does not archive; the caller has made sure that its name can be part of a key.
pub(super) fn other_key(file: &str, method: Method) -> Key {
    key(format!("{WAL}{}", with_extension(file, method)))
}

/// The segment in whose directory a file lies; history files lie in none.
fn segment(file: WalFileName) -> Option<SegmentName> {
    match file {
        WalFileName::Segment(segment)
        | WalFileName::Partial(segment)
        | WalFileName::BackupHistory(segment, _) => Some(segment),
        WalFileName::History(_) => None,
    }
}

/// A directory of archived files: those of one timeline with the same upper half of their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashDir {
    /// The timeline.
    pub timeline: TimelineId,
    /// The upper 32 bits of the addresses.
    pub log: u32,
}

impl HashDir {
    /// Where a segment lies.
    pub fn of(segment: SegmentName) -> HashDir {
        HashDir { timeline: segment.timeline(), log: segment.log() }
    }

    /// Reads a prefix of a listing; `None` when it is no such directory.
    pub fn parse(prefix: &Prefix) -> Option<HashDir> {
        HashDir::parse_name(prefix.as_str().strip_prefix(WAL)?.strip_suffix('/')?)
    }

    /// The directory in which an object lies; `None` when it lies in none.
    pub fn of_object(key: &Key) -> Option<HashDir> {
        HashDir::parse_name(key.as_str().strip_prefix(WAL)?.split_once('/')?.0)
    }

    fn parse_name(name: &str) -> Option<HashDir> {
        let first: SegmentName = format!("{name}00000000").parse().ok()?;
        Some(HashDir::of(first))
    }

    /// Everything in it.
    pub fn prefix(self) -> Prefix {
        prefix(&format!("{WAL}{self}/"))
    }
}

impl fmt::Display for HashDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}", self.timeline.as_u32(), self.log)
    }
}

/// Every method of barman. To it, the extensions of others are parts of names that it does not know.
const METHODS: [Method; 7] =
    [Method::Gzip, Method::Bzip2, Method::Xz, Method::Snappy, Method::Zstd, Method::Lz4, Method::None];

fn method_of(extension: &str) -> Option<Method> {
    Method::from_extension(extension).filter(|method| METHODS.contains(method))
}

/// Reads the key of an archived file; `None` for everything else. As in barman, what counts is the name and not in
/// which directory below `wals/` it lies, and the digits may be of either case.
pub fn parse_wal_key(key: &Key) -> Option<(WalFileName, Method)> {
    key.as_str().strip_prefix(WAL)?;
    let name = key.file_name();
    if let Ok(file) = name.parse() {
        return Some((file, Method::None));
    }
    let (file, extension) = name.rsplit_once('.')?;
    let method = method_of(extension)?;
    // `X.` is no plain `X`.
    if method == Method::None { None } else { Some((file.parse().ok()?, method)) }
}

/// The archived file whose extension is that of no compression of barman's; `None` for everything else.
pub(super) fn parse_unreadable_wal_key(key: &Key) -> Option<WalFileName> {
    key.as_str().strip_prefix(WAL)?;
    let (file, extension) = key.file_name().rsplit_once('.')?;
    let is_known = parse_wal_key(key).is_some() || extension.is_empty();
    if is_known { None } else { file.parse().ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> BackupId {
        "20261121T031643".parse().unwrap()
    }

    #[test]
    fn keys_of_a_backup() {
        assert_eq!(backup_info_key(id()).as_str(), "base/20261121T031643/backup.info");
        assert_eq!(keep_key(id()).as_str(), "base/20261121T031643/annotations/keep");
        assert_eq!(backup_of_keep(&keep_key(id())), Some(id()));
        assert_eq!(backup_of_keep(&backup_info_key(id())), None);
        assert_eq!(backup_of_prefix(&backup_prefix(id())), Some(id()));
        assert_eq!(backup_of_prefix(&wal_prefix()), None);
        assert_eq!(backup_of_prefix(&Prefix::parse("base/x").unwrap()), None);
    }

    #[test]
    fn names_of_tars() {
        let oid = Oid::new(16391).unwrap();
        for (stem, number, method, name) in [
            (Stem::Data, 0, Method::None, "data.tar"),
            (Stem::Data, 1, Method::Gzip, "data_0001.tar.gz"),
            (Stem::Data, 12345, Method::Lz4, "data_12345.tar.lz4"),
            (Stem::Data, 0, Method::Bzip2, "data.tar.bz2"),
            (Stem::Data, 0, Method::Snappy, "data.tar.snappy"),
            (Stem::Tablespace(oid), 0, Method::Gzip, "16391.tar.gz"),
            (Stem::Tablespace(oid), 2, Method::Lz4, "16391_0002.tar.lz4"),
        ] {
            let tar = TarName { stem, number };
            assert_eq!(tar.object_name(method), name);
            let (read, read_method) = parse_tar_name(name).unwrap();
            assert_eq!((read, read_method.unwrap()), (tar, method));
        }
        let (tar, method) = parse_tar_name("data.tar.lzo").unwrap();
        assert_eq!(tar, TarName { stem: Stem::Data, number: 0 });
        assert!(method.unwrap_err().to_string().contains("lzo"));
        for name in [
            "",
            "backup.info",
            "data",
            "data.tarx",
            "database.tar",
            "data_.tar",
            "data_1.tar",
            "data_0000.tar",
            "data_00x1.tar",
            "16391x.tar",
            "016391.tar",
            "0.tar",
            ".tar",
        ] {
            assert!(parse_tar_name(name).is_none(), "{name}");
        }
    }

    #[test]
    fn archived_files() {
        for (file, method, text) in [
            ("00000001000000000000000A", Method::Gzip, "wals/0000000100000000/00000001000000000000000A.gz"),
            ("00000001000000020000000A", Method::None, "wals/0000000100000002/00000001000000020000000A"),
            (
                "00000001000000000000000A.partial",
                Method::Zstd,
                "wals/0000000100000000/00000001000000000000000A.partial.zst",
            ),
            (
                "00000001000000000000000A.00000028.backup",
                Method::Lz4,
                "wals/0000000100000000/00000001000000000000000A.00000028.backup.lz4",
            ),
            ("0000001F.history", Method::Lz4, "wals/0000001F.history.lz4"),
            ("0000001F.history", Method::Xz, "wals/0000001F.history.xz"),
        ] {
            let file: WalFileName = file.parse().unwrap();
            let key = wal_key(file, method);
            assert_eq!(key.as_str(), text);
            assert_eq!(parse_wal_key(&key), Some((file, method)));
        }
        let lower = Key::parse("wals/0000000a00000000/0000000a000000000000000b.gz").unwrap();
        let file = WalFileName::Segment("0000000A000000000000000B".parse().unwrap());
        assert_eq!(parse_wal_key(&lower), Some((file, Method::Gzip)));
        for text in [
            "wals/0000000100000000/00000001000000000000000A.br",
            "wals/0000000100000000/00000001000000000000000A.gz.gz",
            "wals/0000000100000000/00000001000000000000000A.",
            "wals/0000000100000000/notes.txt",
            "base/00000001000000000000000A",
        ] {
            let key = Key::parse(text).unwrap();
            assert_eq!(parse_wal_key(&key), None, "{text}");
            let unreadable = parse_unreadable_wal_key(&key).map(|file| file.to_string());
            let expected = text.ends_with(".br").then_some("00000001000000000000000A");
            assert_eq!(unreadable.as_deref(), expected, "{text}");
        }
        let partial = Key::parse("wals/0000000100000000/00000001000000000000000A.partial").unwrap();
        assert_eq!(parse_unreadable_wal_key(&partial), None);
    }

    #[test]
    fn directories_of_archived_files() {
        let segment: SegmentName = "0000001F000000AB00000001".parse().unwrap();
        let directory = HashDir::of(segment);
        assert_eq!(directory.prefix().as_str(), "wals/0000001F000000AB/");
        assert_eq!(HashDir::parse(&directory.prefix()), Some(directory));
        for text in [
            "wals/0000001F000000AB0/",
            "wals/0000001F/",
            "wals/0000001F000000Ax/",
            "wals/",
            "base/0000001F000000AB/",
        ] {
            assert_eq!(HashDir::parse(&Prefix::parse(text).unwrap()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_name_panics(name in "(data|[0-9]{0,6})?_?\\PC{0,12}(\\.tar)?(\\.gz)?") {
            let _ = parse_tar_name(&name);
            if let Ok(key) = Key::parse(&format!("wals/{name}")) {
                let _ = parse_wal_key(&key);
            }
        }
    }
}
