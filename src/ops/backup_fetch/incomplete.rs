//! What a chain of backups lacks, all of it in one error: whoever brings objects back wants the whole list.

use std::fmt;

use crate::layout::walg::{BackupName, names};
use crate::storage::Prefix;

/// A backup that cannot be restored because something of its chain is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backup `{backup}` cannot be restored, it lacks {}", joined(.missing))]
pub struct Incomplete {
    /// The backup asked for, or the one of its chain that turned out to lack something.
    pub backup: BackupName,
    /// What is gone, newest backup first.
    pub missing: Vec<Missing>,
}

/// Something that a restore needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The sentinel of a backup that others build on: that backup does not exist.
    Parent(BackupName),
    /// The list of a delta's files.
    List(BackupName),
    /// Every entry of the list of a delta's files: the list is there and empty.
    Entries(BackupName),
    /// Files that a delta builds on and that its parent does not list.
    Listed {
        /// The parent.
        backup: BackupName,
        /// The files, sorted.
        files: Vec<String>,
    },
    /// A tar.
    Tar {
        /// Where the backup's tars are.
        folder: Prefix,
        /// The tar's own name.
        name: String,
    },
    /// The tar of `pg_control`, whatever its compression.
    ControlTar(BackupName),
    /// Files that a backup has by its list, and that none of its tars holds.
    Held {
        /// The backup.
        backup: BackupName,
        /// The files, sorted.
        files: Vec<String>,
    },
}

impl Incomplete {
    /// A backup whose tars do not hold `file`.
    pub(super) fn file(backup: BackupName, file: &str) -> Incomplete {
        Incomplete { backup, missing: vec![Missing::Held { backup, files: vec![file.to_owned()] }] }
    }

    /// A backup without the tar `name`.
    pub(super) fn tar(backup: BackupName, name: &str) -> Incomplete {
        let folder = names::tars_prefix(backup);
        Incomplete { backup, missing: vec![Missing::Tar { folder, name: name.to_owned() }] }
    }
}

/// How many files are named; what lacks more of them is not repaired file by file.
const NAMED_FILES: usize = 5;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Parent(backup) => write!(f, "the parent's sentinel `{}`", names::sentinel_key(*backup)),
            Missing::List(backup) => write!(f, "the list of files `{}`", names::files_metadata_key(*backup)),
            Missing::Entries(backup) => {
                write!(f, "all entries of the list of files `{}`", names::files_metadata_key(*backup))
            }
            Missing::Listed { backup, files } => {
                write_files(f, files)?;
                write!(f, " in the list of files `{}`", names::files_metadata_key(*backup))
            }
            Missing::Tar { folder, name } => write!(f, "the tar `{folder}{name}`"),
            Missing::ControlTar(backup) => {
                write!(f, "the pg_control tar in `{}`", names::tars_prefix(*backup))
            }
            Missing::Held { backup, files } => {
                write_files(f, files)?;
                write!(f, " in the tars in `{}`", names::tars_prefix(*backup))
            }
        }
    }
}

fn write_files(f: &mut fmt::Formatter<'_>, files: &[String]) -> fmt::Result {
    f.write_str(if files.len() == 1 { "the file " } else { "the files " })?;
    for (number, file) in files.iter().take(NAMED_FILES).enumerate() {
        write!(f, "{}`{file}`", if number == 0 { "" } else { ", " })?;
    }
    match files.len().saturating_sub(NAMED_FILES) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

fn joined(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_one_line() {
        let full: BackupName = "base_000000010000000000000002".parse().unwrap();
        let delta: BackupName = "base_000000010000000000000004_D_000000010000000000000002".parse().unwrap();
        let files = |count: u32| (1..=count).map(|number| format!("base/1/{number}")).collect();
        let missing = vec![
            Missing::Tar { folder: names::tars_prefix(delta), name: "part_001.tar.br".to_owned() },
            Missing::ControlTar(delta),
            Missing::List(delta),
            Missing::Entries(delta),
            Missing::Listed { backup: delta, files: files(1) },
            Missing::Held { backup: delta, files: files(7) },
            Missing::Parent(full),
        ];
        let delta = "basebackups_005/base_000000010000000000000004_D_000000010000000000000002";
        assert_eq!(
            Incomplete { backup: full, missing }.to_string(),
            format!(
                "backup `base_000000010000000000000002` cannot be restored, it lacks \
                 the tar `{delta}/tar_partitions/part_001.tar.br`; \
                 the pg_control tar in `{delta}/tar_partitions/`; \
                 the list of files `{delta}/files_metadata.json`; \
                 all entries of the list of files `{delta}/files_metadata.json`; \
                 the file `base/1/1` in the list of files `{delta}/files_metadata.json`; \
                 the files `base/1/1`, `base/1/2`, `base/1/3`, `base/1/4`, `base/1/5` and 2 more in the tars in \
                 `{delta}/tar_partitions/`; \
                 the parent's sentinel `basebackups_005/base_000000010000000000000002_backup_stop_sentinel.json`"
            )
        );
    }
}
