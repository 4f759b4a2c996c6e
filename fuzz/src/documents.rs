//! A backup's JSON: sentinel, `metadata.json`, `files_metadata.json`, restore spec.

use seawall::layout::walg::{Backup, BackupName, FilesMetadata, Metadata, Sentinel, TablespaceSpec};

pub fn run(bytes: &[u8]) {
    let name: BackupName = "base_000000010000000000000002".parse().unwrap();
    let metadata = Metadata::from_json(bytes);
    if let Ok(sentinel) = Sentinel::from_json(bytes)
        && let Ok(backup) = Backup::from_documents(name, sentinel, metadata.ok())
    {
        let _ = (backup.sentinel().to_json().unwrap(), backup.metadata().to_json().unwrap());
    }
    if let Ok(files) = FilesMetadata::from_json(bytes) {
        FilesMetadata::from_json(&files.to_json().unwrap()).unwrap();
    }
    let _ = TablespaceSpec::from_json(bytes);
}
