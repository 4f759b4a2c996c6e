//! barman-cloud's layout: `base/` and `wals/` below the place of one server.
//!
//! Pure: names to keys and documents to records, without I/O. The root of the repository is the server's own prefix,
//! so nothing here names an object of another server.

mod any_time;
mod backup_id;
mod backup_info;
mod copy_stats;
mod field_value;
mod keep;
mod layout;
mod literal;
pub mod names;
mod new_backup;
mod recovery_target;
mod server_backup;
mod snapshots_info;
mod time;

pub use any_time::parse_any_time;
pub use backup_id::{BackupId, InvalidBackupId};
pub use backup_info::{BackupInfo, InfoError, SERVER_NAME, Status, Tablespace};
pub use field_value::FieldValue;
pub use keep::Keep;
pub use layout::{Barman, Partials};
pub use literal::{InvalidLiteral, Literal, quote};
pub use new_backup::{Data, NewBackup};
pub use recovery_target::{RecoveryEnd, RecoveryTarget};
pub use server_backup::ServerBackup;
pub use snapshots_info::{Snapshot, SnapshotsInfo, UnknownSnapshots};
pub use time::{BackupTime, InvalidTime};
