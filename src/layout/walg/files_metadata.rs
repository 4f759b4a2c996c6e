//! `files_metadata.json`: every file of a backup, and which tar it is in.
//!
//! Compact JSON, neither compressed nor encrypted; empty maps are left out. A file's name is exactly its tar
//! member's (`/base/1/1259` for backups of a local directory, `base/1/1259` for remote ones). Source: wal-g
//! `backup_sentinel_dto.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DocumentError;
use super::go_json;

/// What a backup's `files_metadata.json` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FilesMetadata {
    /// Each file and directory, by its tar member's name.
    #[serde(rename = "Files", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, FileDescription>,
    /// The members of each tar but `pg_control.tar`, by the tar's own name. Absent from remote backups.
    #[serde(rename = "TarFileSets", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tar_file_sets: BTreeMap<String, Vec<String>>,
    /// Databases and relations by name, for restores of a part. Absent when switched off.
    #[serde(rename = "DatabasesByNames", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub databases_by_names: BTreeMap<String, DatabaseDescription>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileDescription {
    /// The tar holds only the pages that changed since the parent (`wi1`).
    #[serde(rename = "IsIncremented", default)]
    pub is_incremented: bool,
    /// No tar holds it: it is as in the parent.
    #[serde(rename = "IsSkipped", default)]
    pub is_skipped: bool,
    /// The file's modification time, to the nanosecond.
    #[serde(rename = "MTime", default)]
    pub mtime: Timestamp,
    /// Blocks whose checksum was wrong when the backup was taken.
    #[serde(rename = "CorruptBlocks", default, skip_serializing_if = "Option::is_none")]
    pub corrupt_blocks: Option<CorruptBlocks>,
    /// Changed rows, counted by wal-g's rating composer only.
    #[serde(rename = "UpdatesCount", default)]
    pub updates_count: u64,
}

impl FileDescription {
    /// A file that a tar holds whole.
    pub fn whole(mtime: Timestamp, corrupt_blocks: Option<CorruptBlocks>) -> FileDescription {
        FileDescription { is_incremented: false, is_skipped: false, mtime, corrupt_blocks, updates_count: 0 }
    }

    /// A file of which a tar holds the pages that changed since the parent.
    pub fn increment(mtime: Timestamp, corrupt_blocks: Option<CorruptBlocks>) -> FileDescription {
        FileDescription { is_incremented: true, ..FileDescription::whole(mtime, corrupt_blocks) }
    }

    /// A file that is as in the parent.
    pub fn skipped(mtime: Timestamp) -> FileDescription {
        FileDescription { is_skipped: true, ..FileDescription::whole(mtime, None) }
    }
}

/// Blocks of one file whose checksum was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorruptBlocks {
    /// How many there are.
    #[serde(rename = "CorruptBlocksCount", default)]
    pub count: u64,
    /// Their numbers within this file, ascending; some of them, unless all were asked for.
    #[serde(rename = "SomeCorruptBlocks", default)]
    pub some: Vec<u32>,
}

/// How many corrupt blocks of a file are named, unless all are asked for (wal-g `corrupt_blocks.go`).
pub const NAMED_CORRUPT_BLOCKS: usize = 10;

/// One database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseDescription {
    /// Its OID.
    #[serde(default)]
    pub oid: u32,
    /// Its relations by `schema.name`.
    #[serde(rename = "tables_new", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub relations: BTreeMap<String, RelationDescription>,
}

/// One relation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationDescription {
    /// Its OID.
    #[serde(default)]
    pub oid: u32,
    /// The number its files are called by; 0 when it has none.
    #[serde(default)]
    pub relfilenode: u32,
    /// The relations that inherit from it, at every depth.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subtables: BTreeMap<String, RelationDescription>,
}

impl FilesMetadata {
    /// Reads a `files_metadata.json`.
    pub fn from_json(json: &[u8]) -> Result<FilesMetadata, DocumentError> {
        // wal-g and seawall spell the names so; any other spelling costs several times the document's size in memory.
        let metadata: FilesMetadata = serde_json::from_slice(json)?;
        match metadata.files.is_empty() {
            false => Ok(metadata),
            true => Ok(go_json::from_slice(json, &["Files", "TarFileSets", "DatabasesByNames"])?),
        }
    }

    /// The document's bytes. wal-g's streaming encoder does not escape `<`, `>` and `&` here.
    pub fn to_json(&self) -> Result<Vec<u8>, DocumentError> {
        Ok(serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_walgs_form() {
        let json = r#"{"Files":{"/base/16384/16397":{"IsIncremented":false,"IsSkipped":false,"MTime":"2026-11-21T02:34:10.9Z","CorruptBlocks":{"CorruptBlocksCount":12,"SomeCorruptBlocks":[1,7]},"UpdatesCount":0},"/base/5/3601":{"IsIncremented":false,"IsSkipped":true,"MTime":"2026-11-21T07:33:46.81292537+05:00","UpdatesCount":0}},"TarFileSets":{"part_001.tar.lz4":["/","/PG_VERSION"]},"DatabasesByNames":{"postgres":{"oid":5,"tables_new":{"public.t1":{"oid":16385,"relfilenode":16385}}}}}"#;
        let metadata = FilesMetadata::from_json(json.as_bytes()).unwrap();
        assert!(metadata.files["/base/5/3601"].is_skipped);
        assert_eq!(metadata.files["/base/5/3601"].mtime, "2026-11-21T02:33:46.81292537Z".parse().unwrap());
        let written = String::from_utf8(metadata.to_json().unwrap()).unwrap();
        assert_eq!(written, json.replace("07:33:46.81292537+05:00", "02:33:46.81292537Z"));
        assert_eq!(FilesMetadata::from_json(b"{}").unwrap().to_json().unwrap(), b"{}");
        let other_case = json.replace("\"Files\"", "\"files\"").replace("TarFileSets", "tarFileSets");
        assert_eq!(FilesMetadata::from_json(other_case.as_bytes()).unwrap(), metadata);
    }
}
