//! Names of relation files: which file of a data directory belongs to which relation.
//!
//! | place | of |
//! |---|---|
//! | `base/<database>/<relation>` | default tablespace |
//! | `global/<relation>` | shared catalogs |
//! | `pg_tblspc/<tablespace>/PG_15_202209061/<database>/<relation>` | other tablespaces |
//!
//! and `<relation>` is `<filenode>[_fsm|_vm|_init][.<segment>]`, for a temporary relation with `t<backend>_` before
//! it. Source: `common/relpath.c`, `storage/reinit.c` and `storage/fd.c` (`looks_like_temp_rel_name`).

use super::Oid;

/// The fork of a relation that a file holds (`ForkNumber`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The data.
    Main,
    /// The free space map.
    FreeSpaceMap,
    /// The visibility map.
    VisibilityMap,
    /// What an unlogged relation is reset to after a crash.
    Init,
}

/// A segment file of a permanent or unlogged relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationFile {
    /// The tablespace; `None` for `base` and `global`.
    pub tablespace: Option<Oid>,
    /// The database; `None` for shared catalogs.
    pub database: Option<Oid>,
    /// The number in the file's name (`relfilenode`), which is not always the relation's OID.
    pub filenode: Oid,
    /// Which fork of the relation.
    pub fork: Fork,
    /// Which segment file, counted from 0.
    pub segment: u32,
}

impl RelationFile {
    /// Reads a name relative to the data directory, with or without a leading slash.
    ///
    /// `None` for everything else, temporary relations and old catalog versions' odd names included.
    pub fn parse(name: &str) -> Option<RelationFile> {
        let mut parts = name.strip_prefix('/').unwrap_or(name).split('/');
        let (tablespace, database) = match parts.next()? {
            "global" => (None, None),
            "base" => (None, Some(Oid::parse(parts.next()?)?)),
            "pg_tblspc" => {
                let tablespace = Oid::parse(parts.next()?)?;
                parts.next().filter(|version| version.starts_with("PG_"))?;
                (Some(tablespace), Some(Oid::parse(parts.next()?)?))
            }
            _ => return None,
        };
        let (filenode, fork, segment) = parse_file_name(parts.next()?)?;
        match parts.next() {
            None => Some(RelationFile { tablespace, database, filenode, fork, segment }),
            Some(_) => None,
        }
    }

    /// Whether every page of the file carries the LSN of its last change, as a delta backup needs.
    ///
    /// That is the main fork outside of `global`; changes of the free space map are not in WAL. wal-g takes the same
    /// files, but looks for `base` anywhere in the absolute path.
    pub fn is_paged(&self) -> bool {
        self.fork == Fork::Main && self.database.is_some()
    }

    /// The number of the file's first page in the relation, in which a segment file holds `blocks_per_segment` pages
    /// (131072 unless built otherwise); `None` for a segment that cannot exist.
    pub fn first_block(&self, blocks_per_segment: u32) -> Option<u32> {
        self.segment.checked_mul(blocks_per_segment)
    }
}

/// Splits the last part of a relation file's path: filenode, fork and segment.
pub(super) fn parse_file_name(name: &str) -> Option<(Oid, Fork, u32)> {
    let (name, segment) = match name.split_once('.') {
        None => (name, 0),
        Some((name, segment)) => (name, Oid::parse(segment)?.as_u32()),
    };
    let (filenode, fork) = match name.split_once('_') {
        None => (name, Fork::Main),
        Some((filenode, "fsm")) => (filenode, Fork::FreeSpaceMap),
        Some((filenode, "vm")) => (filenode, Fork::VisibilityMap),
        Some((filenode, "init")) => (filenode, Fork::Init),
        Some(_) => return None,
    };
    Some((Oid::parse(filenode)?, fork, segment))
}

/// Whether a file name is that of a temporary relation: `t<backend>_<filenode>[_<fork>][.<segment>]`.
pub(super) fn is_temporary(name: &str) -> bool {
    let Some((backend, relation)) = name.strip_prefix('t').and_then(|rest| rest.split_once('_')) else {
        return false;
    };
    !backend.is_empty() && backend.bytes().all(|b| b.is_ascii_digit()) && parse_file_name(relation).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn oid(number: u32) -> Oid {
        Oid::new(number).unwrap()
    }

    #[test]
    fn relation_files() {
        let table = RelationFile {
            tablespace: None,
            database: Some(oid(5)),
            filenode: oid(16385),
            fork: Fork::Main,
            segment: 0,
        };
        for (name, file) in [
            ("/base/5/16385", table),
            ("base/5/16385", table),
            ("/base/5/16385.12", RelationFile { segment: 12, ..table }),
            ("/base/5/16385_fsm", RelationFile { fork: Fork::FreeSpaceMap, ..table }),
            ("/base/5/16385_vm.1", RelationFile { fork: Fork::VisibilityMap, segment: 1, ..table }),
            ("/base/5/16385_init", RelationFile { fork: Fork::Init, ..table }),
            ("/global/16385", RelationFile { database: None, ..table }),
            ("/pg_tblspc/77/PG_15_202209061/5/16385", RelationFile { tablespace: Some(oid(77)), ..table }),
        ] {
            assert_eq!(RelationFile::parse(name), Some(file), "{name}");
        }
    }

    #[test]
    fn other_files() {
        for name in [
            "",
            "/",
            "/base",
            "/base/5",
            "/base/5/PG_VERSION",
            "/base/5/pg_filenode.map",
            "/base/5/t3_16385",
            "/base/5/016385",
            "/base/5/0",
            "/base/5/16385.",
            "/base/5/16385.0",
            "/base/5/16385.1.2",
            "/base/5/16385_",
            "/base/5/16385_fsm_vm",
            "/base/5/16385/1",
            "/base/pgsql_tmp/16385",
            "/base/5/99999999999",
            "//base/5/16385",
            "/database/5/16385",
            "/global/5/16385",
            "/global/pg_control",
            "/pg_xact/0000",
            "/pg_tblspc/77/5/16385",
            "/pg_tblspc/77/PG_15_202209061/16385",
        ] {
            assert_eq!(RelationFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn only_main_forks_outside_global_are_paged() {
        for (name, paged) in [
            ("/base/5/16385", true),
            ("/base/5/16385.1", true),
            ("/pg_tblspc/77/PG_15_202209061/5/16385", true),
            ("/global/1262", false),
            ("/base/5/16385_vm", false),
            ("/base/5/16385_init", false),
        ] {
            assert_eq!(RelationFile::parse(name).unwrap().is_paged(), paged, "{name}");
        }
    }

    #[test]
    fn blocks_are_counted_over_segments() {
        let third = RelationFile::parse("/base/5/16385.2").unwrap();
        assert_eq!(third.first_block(131_072), Some(262_144));
        let impossible = RelationFile::parse("/base/5/16385.40000").unwrap();
        assert_eq!(impossible.first_block(131_072), None);
    }

    #[test]
    fn temporary_relations() {
        for (name, temporary) in [
            ("t3_16385", true),
            ("t12_16385_fsm", true),
            ("t3_16385.1", true),
            ("t3_16385_vm.1", true),
            ("t_16385", false),
            ("t3_", false),
            ("t3", false),
            ("tx_1", false),
            ("16385", false),
            ("t3_16385_x", false),
        ] {
            assert_eq!(is_temporary(name), temporary, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}", nearly in "/?(base|global|pg_tblspc)/[0-9é_./PG]{0,30}") {
            let _ = (RelationFile::parse(&text), RelationFile::parse(&nearly), is_temporary(&text));
        }
    }
}
