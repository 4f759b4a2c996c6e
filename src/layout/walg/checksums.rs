//! `checksums.json`: the size and the SHA-256 of each object of a backup, as they are stored: compressed and encrypted.
//!
//! The document is seawall's own and lies in the backup's folder, where wal-g asks for its own names only and `delete`
//! removes all. It names the tars and `files_metadata.json`, by their keys below that folder; not `metadata.json`, which
//! `backup-mark` rewrites, nor the sentinel, which is written after it. Backups without it were made by wal-g, or by an
//! older seawall.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Backup, BackupName, DocumentError, names};
use crate::checksum::Checksum;
use crate::storage::Key;

/// What a backup's `checksums.json` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums {
    objects: BTreeMap<String, Checksum>,
}

/// The document.
#[derive(Serialize, Deserialize)]
struct Json {
    #[serde(rename = "Objects")]
    objects: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "SHA256")]
    sha256: String,
}

impl Checksums {
    /// Adds an object of this backup; one that is none of its own is left out.
    pub fn add(&mut self, backup: BackupName, key: &Key, checksum: Checksum) {
        if let Some(name) = key.below(&names::backup_prefix(backup)) {
            self.objects.insert(name.to_owned(), checksum);
        }
    }

    /// What was recorded of an object of this backup.
    pub fn of(&self, backup: BackupName, key: &Key) -> Option<Checksum> {
        self.objects.get(key.below(&names::backup_prefix(backup))?).copied()
    }

    /// The tars, each by its own name.
    pub fn tars(&self) -> impl Iterator<Item = (&str, Checksum)> {
        let tars = self.objects.iter().map(|(name, checksum)| (name.strip_prefix(names::TARS), *checksum));
        tars.filter_map(|(name, checksum)| Some((name?, checksum)))
    }

    /// Whether they are of this backup, by the bytes of its tars.
    pub fn are_of(&self, backup: &Backup) -> bool {
        let stored: u64 = self.tars().map(|(_, checksum)| checksum.size).sum();
        backup.compressed_size <= 0 || u64::try_from(backup.compressed_size) == Ok(stored)
    }

    /// Reads a `checksums.json`.
    pub fn from_json(json: &[u8]) -> Result<Checksums, DocumentError> {
        let Json { objects } = serde_json::from_slice(json)?;
        let objects = objects.into_iter().map(|(name, entry)| {
            let sha256 = entry.sha256.parse()?;
            Ok((name, Checksum { size: entry.size, sha256 }))
        });
        Ok(Checksums { objects: objects.collect::<Result<_, DocumentError>>()? })
    }

    /// The document's bytes.
    pub fn to_json(&self) -> Result<Vec<u8>, DocumentError> {
        let objects = self.objects.iter().map(|(name, checksum)| {
            (name.clone(), Entry { size: checksum.size, sha256: checksum.sha256.to_string() })
        });
        Ok(serde_json::to_vec(&Json { objects: objects.collect() })?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::TarName;
    use super::*;
    use crate::codec::Method;

    #[test]
    fn objects_are_known_below_the_backups_folder() {
        let name = |text: &str| -> BackupName { text.parse().unwrap() };
        let (backup, other) = (name("base_000000010000000000000002"), name("base_000000010000000000000004"));
        let tar = |backup| names::tar_key(backup, TarName::Part(1), Method::Lz4);
        let mut checksums = Checksums::default();
        checksums.add(backup, &tar(backup), Checksum::of(b"abc"));
        checksums.add(backup, &names::files_metadata_key(backup), Checksum::of(b"{}"));
        checksums.add(backup, &tar(other), Checksum::of(b""));
        let json = String::from_utf8(checksums.to_json().unwrap()).unwrap();
        assert_eq!(
            json,
            r#"{"Objects":{"files_metadata.json":{"Size":2,"SHA256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"tar_partitions/part_001.tar.lz4":{"Size":3,"SHA256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}}"#
        );
        let read = Checksums::from_json(json.as_bytes()).unwrap();
        assert_eq!(read, checksums);
        assert_eq!(read.of(backup, &tar(backup)), Some(Checksum::of(b"abc")));
        assert_eq!(read.of(backup, &tar(other)), None);
        assert_eq!(read.tars().collect::<Vec<_>>(), [("part_001.tar.lz4", Checksum::of(b"abc"))]);
    }

    #[test]
    fn what_says_nothing_is_no_record() {
        for json in [
            "",
            "{}",
            "[]",
            r#"{"Objects":{"x":{"Size":-1,"SHA256":""}}}"#,
            r#"{"Objects":{"x":{"Size":1,"SHA256":"ab"}}}"#,
        ] {
            assert!(Checksums::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
