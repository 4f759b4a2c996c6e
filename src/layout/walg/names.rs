//! Where everything lies below the root of a wal-g repository.
//!
//! ```text
//! basebackups_005/<backup>_backup_stop_sentinel.json   a backup exists if and only if this exists
//! basebackups_005/<backup>/metadata.json
//! basebackups_005/<backup>/files_metadata.json
//! basebackups_005/<backup>/checksums.json, seawall_running.json      seawall's own
//! basebackups_005/<backup>/tar_partitions/part_001.tar.<ext>, pg_control.tar.<ext>, backup_label.tar.<ext>
//! wal_005/<segment, history, backup history or partial file>.<ext>
//! wal_005/<first segment of 16>_delta.<ext>
//! ```
//!
//! `<ext>` tells the compression and is left out, with its dot, for `none`; encryption leaves no trace in a name.
//! Source: wal-g `utility.go`, `bundle.go`, `wal_delta_util.go`; our own are in `docs/repository-format.md`.

use crate::codec::{self, Method};
use crate::layout::keys::{key, prefix, with_extension};
use crate::layout::new_backup::CLAIM;
use crate::pg::{SegmentName, WalFileName};
use crate::storage::{Key, Prefix};

use super::BackupName;

const BACKUPS: &str = "basebackups_005/";
const WAL: &str = "wal_005/";
/// What follows the name of a backup in the name of its sentinel.
pub const SENTINEL_SUFFIX: &str = "_backup_stop_sentinel.json";
const DELTA_SUFFIX: &str = "_delta";
/// The extension of an archived segment's description.
const METADATA: &str = "json";

/// The record of a backup's objects.
const CHECKSUMS: &str = "checksums.json";

/// The folder of a backup's tars, below its own.
pub(super) const TARS: &str = "tar_partitions/";

/// Everything of all backups.
pub fn backups_prefix() -> Prefix {
    prefix(BACKUPS)
}

/// Everything archived.
pub fn wal_prefix() -> Prefix {
    prefix(WAL)
}

/// The object whose presence makes a backup exist.
pub fn sentinel_key(backup: BackupName) -> Key {
    key(format!("{BACKUPS}{backup}{SENTINEL_SUFFIX}"))
}

/// The backup that a sentinel's key names; `None` for every other key.
pub fn backup_of_sentinel(key: &Key) -> Option<BackupName> {
    key.as_str().strip_prefix(BACKUPS)?.strip_suffix(SENTINEL_SUFFIX)?.parse().ok()
}

/// The backup whose data a key belongs to (its tars, its documents, its sentinel); `None` outside of all backups.
pub fn backup_of_object(key: &Key) -> Option<BackupName> {
    let rest = key.as_str().strip_prefix(BACKUPS)?;
    match rest.split_once('/') {
        Some((folder, _)) => folder.parse().ok(),
        None => rest.strip_suffix(SENTINEL_SUFFIX)?.parse().ok(),
    }
}

/// All that lies in a backup's own folder: documents and tars, not the sentinel.
pub fn backup_prefix(backup: BackupName) -> Prefix {
    prefix(&format!("{BACKUPS}{backup}/"))
}

/// The small description of a backup; `backup-mark` rewrites it.
pub fn metadata_key(backup: BackupName) -> Key {
    key(format!("{BACKUPS}{backup}/metadata.json"))
}

/// The object that says whose backup this is while it is being taken: seawall's own.
pub fn claim_key(backup: BackupName) -> Key {
    key(format!("{BACKUPS}{backup}/{CLAIM}"))
}

/// The list of a backup's files.
pub fn files_metadata_key(backup: BackupName) -> Key {
    key(format!("{BACKUPS}{backup}/files_metadata.json"))
}

/// The sizes and hashes of a backup's objects, which only seawall writes.
pub fn checksums_key(backup: BackupName) -> Key {
    key(format!("{BACKUPS}{backup}/{CHECKSUMS}"))
}

/// Whether a key is that of such a document.
pub fn is_checksums_key(key: &Key) -> bool {
    backup_of_object(key).is_some() && key.file_name() == CHECKSUMS
}

/// All tars of a backup.
pub fn tars_prefix(backup: BackupName) -> Prefix {
    prefix(&format!("{BACKUPS}{backup}/{TARS}"))
}

/// Which of a backup's tars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TarName {
    /// Data, numbered from 1.
    Part(u32),
    /// `global/pg_control` alone, written after all data.
    Control,
    /// `backup_label` and `tablespace_map`, as the server gave them at the end.
    Labels,
}

impl TarName {
    /// The object's name in `tar_partitions/`, which is also what `TarFileSets` calls it.
    pub fn object_name(self, method: Method) -> String {
        let stem = match self {
            TarName::Part(number) => format!("part_{number:03}.tar"),
            TarName::Control => "pg_control.tar".to_owned(),
            TarName::Labels => "backup_label.tar".to_owned(),
        };
        with_extension(&stem, method)
    }
}

/// One tar of a backup.
pub fn tar_key(backup: BackupName, tar: TarName, method: Method) -> Key {
    key(format!("{BACKUPS}{backup}/{TARS}{}", tar.object_name(method)))
}

/// What a tar holds, told from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarContent {
    /// Files of the cluster.
    Data,
    /// `global/pg_control`.
    Control,
    /// `backup_label` and `tablespace_map`.
    Labels,
}

impl TarContent {
    /// Reads the name of an object in `tar_partitions/`, whatever its extension.
    ///
    /// Besides its own `part_*`, wal-g writes `copy_*.tar` and names ending in `pg_control.tar` or `backup_label.tar`
    /// (wal-g `tars_to_extract_provider.go`).
    pub fn of(name: &str) -> TarContent {
        let stem = name.rsplit_once(".tar").map_or(name, |(stem, _)| stem);
        match stem {
            _ if stem.ends_with("pg_control") => TarContent::Control,
            _ if stem.ends_with("backup_label") => TarContent::Labels,
            _ => TarContent::Data,
        }
    }

    /// Whether the tar is one of those that are restored when all others are done.
    pub fn is_tail(self) -> bool {
        self != TarContent::Data
    }
}

/// What a tar's own name tells its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTar {
    /// How to decompress it.
    pub method: Method,
    /// What it holds.
    pub content: TarContent,
}

/// Reads the name of an object in `tar_partitions/`; an error when its extension is not one we can decompress.
pub fn parse_tar_name(name: &str) -> Result<StoredTar, codec::Error> {
    let method = match name.rsplit_once('.') {
        None | Some((_, "tar")) => Method::None,
        Some((_, extension)) => {
            method_of(extension).ok_or_else(|| codec::Error::unknown_extension(extension, &METHODS))?
        }
    };
    Ok(StoredTar { method, content: TarContent::of(name) })
}

/// An archived file. Its name may be any; the caller has made sure that it can be part of a key.
pub fn wal_key(file: &str, method: Method) -> Key {
    key(format!("{WAL}{}", with_extension(file, method)))
}

/// What the keys of all segments begin with that have the timeline and the log file of this one.
pub(super) fn wal_of_log(segment: SegmentName) -> Prefix {
    let stem = format!("{WAL}{:08X}{:08X}", segment.timeline().as_u32(), segment.log());
    #[expect(clippy::expect_used, reason = "built from a fixed folder and digits")]
    Prefix::stem(&stem).expect("the beginning of a segment's key is a stem")
}

/// What the blocks that a group of 16 segments changed are archived as, by the group's first segment; a file name for
/// [`Layout`](crate::layout::Layout).
pub fn wal_delta_file(first: SegmentName) -> String {
    format!("{first}{DELTA_SUFFIX}")
}

/// The description of an archived segment, or of the 16 that share the first 23 characters of their names.
pub fn wal_metadata_key(name: &str) -> Key {
    key(format!("{WAL}{name}.{METADATA}"))
}

/// Where an archived file can be, in the order in which to try: as `first` compresses, then in every other form a
/// wal-g has written (`NAME.` with a bare dot is its `none`), and as a plain copy that a `cp %p` left at the root.
pub(super) fn wal_candidates(file: &str, first: Method) -> Vec<(Key, Method)> {
    let mut candidates = vec![(wal_key(file, first), first)];
    for method in METHODS {
        if method != first {
            candidates.push((wal_key(file, method), method));
        }
    }
    candidates.push((key(format!("{WAL}{file}.")), Method::None));
    candidates.push((key(file.to_owned()), Method::None));
    candidates
}

/// Where WAL-E kept an archived file in its default compression, which we cannot read.
pub(super) fn lzo_wal_key(file: &str) -> Key {
    key(format!("{WAL}{file}.lzo"))
}

/// What an object in `wal_005/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredWal {
    /// An archived file and its compression.
    File(WalFileName, Method),
    /// wal-g's map of the blocks that 16 segments changed, named by the first of them.
    Delta(SegmentName),
}

/// Reads the key of an object in `wal_005/`; `None` for everything else.
pub fn parse_wal_key(key: &Key) -> Option<StoredWal> {
    let name = key.as_str().strip_prefix(WAL)?;
    if let Ok(file) = name.parse() {
        return Some(StoredWal::File(file, Method::None));
    }
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let method = if extension.is_empty() { Method::None } else { method_of(extension)? };
    if let Some(segment) = stem.strip_suffix(DELTA_SUFFIX) {
        return Some(StoredWal::Delta(segment.parse().ok()?));
    }
    Some(StoredWal::File(stem.parse().ok()?, method))
}

/// The archived file whose extension in `wal_005/` is that of no compression of wal-g's, such as WAL-E's `lzo`; `None` for
/// everything else, also for the description of a segment.
pub(super) fn parse_unreadable_wal_key(key: &Key) -> Option<WalFileName> {
    let (file, extension) = key.as_str().strip_prefix(WAL)?.rsplit_once('.')?;
    let is_known = parse_wal_key(key).is_some() || extension == METADATA;
    if is_known { None } else { file.parse().ok() }
}

/// The segment at the front of an object's name in `wal_005/`, by which `delete` orders everything there that
/// belongs to a segment: the segment itself, partial and backup history files, delta maps, WAL metadata.
pub fn segment_of_wal_object(key: &Key) -> Option<SegmentName> {
    let name = key.as_str().strip_prefix(WAL)?;
    name.split_at_checked(24)?.0.parse().ok()
}

/// Every method that a wal-g of any age has written with.
const METHODS: [Method; 6] =
    [Method::Lz4, Method::Lzma, Method::Zstd, Method::Brotli, Method::Gzip, Method::None];

fn method_of(extension: &str) -> Option<Method> {
    Method::from_extension(extension).filter(|method| METHODS.contains(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_backup() {
        let backup: BackupName = "base_000000010000000000000002".parse().unwrap();
        assert_eq!(
            sentinel_key(backup).as_str(),
            "basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json"
        );
        assert_eq!(backup_of_sentinel(&sentinel_key(backup)), Some(backup));
        assert_eq!(backup_of_sentinel(&metadata_key(backup)), None);
        for key in
            [sentinel_key(backup), metadata_key(backup), tar_key(backup, TarName::Control, Method::Lz4)]
        {
            assert_eq!(backup_of_object(&key), Some(backup), "{key}");
        }
        assert_eq!(backup_of_object(&Key::parse("wal_005/base_000000010000000000000002/x").unwrap()), None);
    }

    #[test]
    fn names_of_tars() {
        for (tar, method, name, content) in [
            (TarName::Part(1), Method::Brotli, "part_001.tar.br", TarContent::Data),
            (TarName::Part(1234), Method::None, "part_1234.tar", TarContent::Data),
            (TarName::Control, Method::Zstd, "pg_control.tar.zst", TarContent::Control),
            (TarName::Labels, Method::Lzma, "backup_label.tar.lzma", TarContent::Labels),
        ] {
            assert_eq!(tar.object_name(method), name);
            assert_eq!(parse_tar_name(name).unwrap(), StoredTar { method, content });
            assert_eq!(content.is_tail(), content != TarContent::Data);
        }
        for (name, method, content) in [
            ("copy_0.tar.lz4", Method::Lz4, TarContent::Data),
            ("copy_pg_control.tar", Method::None, TarContent::Control),
            ("pg_control_0.tar", Method::None, TarContent::Data),
        ] {
            assert_eq!(parse_tar_name(name).unwrap(), StoredTar { method, content });
        }
        assert_eq!(TarContent::of("pg_control.tar.lzo"), TarContent::Control);
        for (name, fault) in
            [("part_001.tar.lzo", "lzo"), ("part_001.tar.bz2", "'bz2', known are: lz4, lzma, zst, br, gz")]
        {
            assert!(parse_tar_name(name).unwrap_err().to_string().contains(fault), "{name}");
        }
    }

    #[test]
    fn wal_in_an_unknown_compression() {
        for (name, expected) in [
            ("00000001000000000000000A.lzo", Some("00000001000000000000000A")),
            ("00000001000000000000000A.partial.bz2", Some("00000001000000000000000A.partial")),
            ("00000002.history.lzo", Some("00000002.history")),
            ("00000001000000000000000A.br", None),
            ("00000001000000000000000A.", None),
            ("00000001000000000000000A", None),
            ("00000001000000000000000A.partial", None),
            ("00000001000000000000000A.00000028.backup", None),
            ("00000001000000000000000A.json", None),
            ("00000001000000000000000A_delta.lzo", None),
            ("notes.lzo", None),
        ] {
            let key = Key::parse(&format!("{WAL}{name}")).unwrap();
            let file = parse_unreadable_wal_key(&key).map(|file| file.to_string());
            assert_eq!(file.as_deref(), expected, "{name}");
            assert!(file.is_none() || parse_wal_key(&key).is_none(), "{name}");
        }
    }

    #[test]
    fn wal_objects() {
        let segment: SegmentName = "00000001000000000000000A".parse().unwrap();
        for (key, expected) in [
            (
                "wal_005/00000001000000000000000A.br",
                Some(StoredWal::File(WalFileName::Segment(segment), Method::Brotli)),
            ),
            (
                "wal_005/00000001000000000000000A",
                Some(StoredWal::File(WalFileName::Segment(segment), Method::None)),
            ),
            (
                "wal_005/00000001000000000000000A.",
                Some(StoredWal::File(WalFileName::Segment(segment), Method::None)),
            ),
            (
                "wal_005/00000001000000000000000A.partial.lz4",
                Some(StoredWal::File(WalFileName::Partial(segment), Method::Lz4)),
            ),
            (
                "wal_005/00000001000000000000000A.00000028.backup",
                Some(StoredWal::File(WalFileName::BackupHistory(segment, 0x28), Method::None)),
            ),
            ("wal_005/00000001000000000000000A_delta.zst", Some(StoredWal::Delta(segment))),
            ("wal_005/00000001000000000000000A_delta", Some(StoredWal::Delta(segment))),
            ("wal_005/00000001000000000000000A.json", None),
            ("basebackups_005/00000001000000000000000A.br", None),
        ] {
            assert_eq!(parse_wal_key(&Key::parse(key).unwrap()), expected, "{key}");
        }
        let key = Key::parse("wal_005/00000001000000000000000A.json").unwrap();
        assert_eq!(segment_of_wal_object(&key), Some(segment));
        assert_eq!(segment_of_wal_object(&Key::parse("wal_005/00000002.history.br").unwrap()), None);
    }

    #[test]
    fn the_configured_form_is_tried_first_and_every_form_once() {
        let candidates = wal_candidates("00000002.history", Method::Zstd);
        let names: Vec<_> = candidates.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            names,
            [
                "wal_005/00000002.history.zst",
                "wal_005/00000002.history.lz4",
                "wal_005/00000002.history.lzma",
                "wal_005/00000002.history.br",
                "wal_005/00000002.history.gz",
                "wal_005/00000002.history",
                "wal_005/00000002.history.",
                "00000002.history"
            ]
        );
    }
}
