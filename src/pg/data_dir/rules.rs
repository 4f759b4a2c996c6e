//! What of a data directory is copied, by where it lies and what it is called.
//!
//! | found | copied as |
//! |---|---|
//! | directories whose content is worthless on another machine or in WAL (`KEPT_EMPTY`) | empty directory |
//! | files of the running server or of another backup (`LEFT_OUT`) | nothing |
//! | `pgsql_tmp*`, temporary relations, `pg_internal.init*` | nothing; a directory `pgsql_tmp` empty |
//! | unlogged relations | their init fork alone |
//! | `global/pg_control` | nothing: whoever backs up reads it after everything else |
//!
//! Source: `backup/basebackup.c`, `sendDir` with its lists; wal-g `bundle_files.go` for the directories and names that
//! are its own. Where wal-g matches these names anywhere in the tree, here they count at the top of the data directory
//! only, where PostgreSQL puts them.

use std::collections::HashSet;

use crate::pg::relation_file::{is_temporary, parse_file_name};
use crate::pg::{Fork, Oid};

/// Directories at the top that are copied without their content. `pg_xlog` and `pg_log` are older names.
pub(super) const KEPT_EMPTY: [&str; 11] = [
    "log",
    "pg_dynshmem",
    "pg_log",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
    "pg_xlog",
];

/// Files at the top that are not copied.
pub(super) const LEFT_OUT: [&str; 12] = [
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "current_logfiles.tmp",
    "postgresql.auto.conf.tmp",
    "postmaster.opts",
    "postmaster.pid",
    "recovery.conf",
    "recovery.signal",
    "standby.signal",
    "tablespace_map",
    "tablespace_map.old",
];

/// Of these, files that belong to a backup in whose directory they are.
const OF_A_BACKUP: [&str; 2] = ["backup_label", "backup_manifest"];

/// What a directory is for, which decides the rules for what lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The data directory.
    Top,
    /// `base`, or the version directory of a tablespace.
    Databases,
    /// `global`.
    Global,
    /// One database's directory.
    Relations,
    /// `pg_tblspc`.
    Tablespaces,
    /// One tablespace.
    Tablespace,
    /// Anything else.
    Other,
}

impl Place {
    /// Whether what has this name here is not copied at all.
    pub(super) fn leaves_out(self, name: &str) -> bool {
        match self {
            _ if name.starts_with("pgsql_tmp") && !self.keeps_empty(name) => true,
            _ if name.starts_with("pg_internal.init") => true,
            Place::Top => LEFT_OUT.contains(&name),
            Place::Global => is_temporary(name) || name == "pg_control",
            Place::Relations => is_temporary(name),
            _ => false,
        }
    }

    /// Whether what has this name here belongs to the backup, when the directory is one.
    pub(super) fn is_of_a_backup(self, name: &str) -> bool {
        self == Place::Top && OF_A_BACKUP.contains(&name)
    }

    /// Whether a directory of this name here is copied without its content.
    pub(super) fn keeps_empty(self, name: &str) -> bool {
        match self {
            Place::Top => KEPT_EMPTY.contains(&name),
            Place::Databases => name == "pgsql_tmp",
            _ => false,
        }
    }

    /// What a directory of this name here is for.
    pub(super) fn below(self, name: &str) -> Place {
        match (self, name) {
            (Place::Top, "base") => Place::Databases,
            (Place::Top, "global") => Place::Global,
            (Place::Top, "pg_tblspc") => Place::Tablespaces,
            (Place::Databases, name) if Oid::parse(name).is_some() => Place::Relations,
            (Place::Tablespaces, name) if Oid::parse(name).is_some() => Place::Tablespace,
            (Place::Tablespace, name) if name.starts_with("PG_") => Place::Databases,
            _ => Place::Other,
        }
    }
}

/// The relations of one directory that lose their content in a crash: those with an init fork.
#[derive(Debug)]
pub(super) struct UnloggedRelations(HashSet<Oid>);

impl UnloggedRelations {
    /// Those of a directory of this kind that holds these files.
    pub(super) fn in_directory(place: Place, names: &[String]) -> UnloggedRelations {
        let init_fork = |name: &String| {
            parse_file_name(name).filter(|(_, fork, _)| *fork == Fork::Init).map(|(filenode, _, _)| filenode)
        };
        UnloggedRelations(match place {
            Place::Global | Place::Relations => names.iter().filter_map(init_fork).collect(),
            _ => HashSet::new(),
        })
    }

    /// Whether a file is theirs and not the init fork, which alone is copied.
    pub(super) fn own(&self, name: &str) -> bool {
        !self.0.is_empty()
            && parse_file_name(name)
                .is_some_and(|(filenode, fork, _)| fork != Fork::Init && self.0.contains(&filenode))
    }
}
