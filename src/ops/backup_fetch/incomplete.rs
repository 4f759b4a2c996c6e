//! What a chain of backups lacks, all of it in one error: whoever brings objects back wants the whole list.

use std::fmt;

use crate::layout::Name;
use crate::storage::{Key, Prefix};

use super::plan::Source;

/// A backup that cannot be restored because something of its chain is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backup `{backup}` cannot be restored, it lacks {}", joined(.missing))]
pub struct Incomplete {
    /// The backup asked for, or the one of its chain that turned out to lack something.
    pub backup: Name,
    /// What is gone, newest backup first.
    pub missing: Vec<Missing>,
}

/// Something that a restore needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The sentinel of a backup that others build on: that backup does not exist.
    Parent(Key),
    /// The list of a delta's files.
    List(Key),
    /// Every entry of the list of a delta's files: the list is there and empty.
    Entries(Key),
    /// Files that a delta builds on and that its parent does not list.
    Listed {
        /// The list of the parent's files.
        list: Key,
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
    /// A tar that has another size than the one that was stored.
    Resized {
        /// Where the backup's tars are.
        folder: Prefix,
        /// The tar's own name.
        name: String,
        /// The bytes that were stored.
        recorded: u64,
        /// The bytes that are there.
        found: u64,
    },
    /// The tar of `pg_control`, whatever its compression, where the backup's tars are.
    ControlTar(Prefix),
    /// Files that a backup has by its list, and that none of its tars holds.
    Held {
        /// Where the backup's tars are.
        folder: Prefix,
        /// The files, sorted.
        files: Vec<String>,
    },
}

impl Incomplete {
    /// A backup whose tars do not hold `file`.
    pub(super) fn file(source: &Source, file: &str) -> Incomplete {
        let Source { name, folder } = source.clone();
        Incomplete { backup: name, missing: vec![Missing::Held { folder, files: vec![file.to_owned()] }] }
    }

    /// A backup without the tar `tar`.
    pub(super) fn tar(source: &Source, tar: &str) -> Incomplete {
        let Source { name, folder } = source.clone();
        Incomplete { backup: name, missing: vec![Missing::Tar { folder, name: tar.to_owned() }] }
    }
}

/// How many files are named; what lacks more of them is not repaired file by file.
const NAMED_FILES: usize = 5;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Parent(sentinel) => write!(f, "the parent's sentinel `{sentinel}`"),
            Missing::List(list) => write!(f, "the list of files `{list}`"),
            Missing::Entries(list) => write!(f, "all entries of the list of files `{list}`"),
            Missing::Listed { list, files } => {
                write_files(f, files)?;
                write!(f, " in the list of files `{list}`")
            }
            Missing::Tar { folder, name } => write!(f, "the tar `{folder}{name}`"),
            Missing::Resized { folder, name, recorded, found } => {
                write!(f, "the tar `{folder}{name}` as it was stored ({recorded} bytes, now it has {found})")
            }
            Missing::ControlTar(folder) => write!(f, "the pg_control tar in `{folder}`"),
            Missing::Held { folder, files } => {
                write_files(f, files)?;
                write!(f, " in the tars in `{folder}`")
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
    use crate::layout::walg::{BackupName, names};

    #[test]
    fn everything_is_in_one_line() {
        let full: BackupName = "base_000000010000000000000002".parse().unwrap();
        let delta: BackupName = "base_000000010000000000000004_D_000000010000000000000002".parse().unwrap();
        let files = |count: u32| (1..=count).map(|number| format!("base/1/{number}")).collect();
        let (folder, list) = (names::tars_prefix(delta), names::files_metadata_key(delta));
        let missing = vec![
            Missing::Tar { folder: folder.clone(), name: "part_001.tar.br".to_owned() },
            Missing::Resized {
                folder: folder.clone(),
                name: "part_002.tar.br".to_owned(),
                recorded: 10,
                found: 7,
            },
            Missing::ControlTar(folder.clone()),
            Missing::List(list.clone()),
            Missing::Entries(list.clone()),
            Missing::Listed { list, files: files(1) },
            Missing::Held { folder, files: files(7) },
            Missing::Parent(names::sentinel_key(full)),
        ];
        let delta = "basebackups_005/base_000000010000000000000004_D_000000010000000000000002";
        assert_eq!(
            Incomplete { backup: full.into(), missing }.to_string(),
            format!(
                "backup `base_000000010000000000000002` cannot be restored, it lacks \
                 the tar `{delta}/tar_partitions/part_001.tar.br`; \
                 the tar `{delta}/tar_partitions/part_002.tar.br` as it was stored (10 bytes, now it has 7); \
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
