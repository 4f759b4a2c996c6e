//! wal-g's layout: `basebackups_005/` and `wal_005/`.
//!
//! Pure: names to keys and documents to records, without I/O. The operations do the reading and writing.

mod backup_name;
pub mod checksums;
pub mod documents;
pub mod files_metadata;
pub mod go_json;
pub mod increment;
mod layout;
pub mod names;
mod new_backup;
pub mod wal_delta;

pub use backup_name::{BackupName, InvalidBackupName};
pub use checksums::Checksums;
pub use documents::{Backup, DeltaOrigin, DocumentError, Metadata, Sentinel, TablespaceSpec};
pub use files_metadata::FilesMetadata;
pub use layout::WalG;
pub use new_backup::NewBackup;
pub use wal_delta::WalDelta;
