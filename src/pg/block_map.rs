//! Which blocks of relations changed in a stretch of WAL.
//!
//! Only main forks outside of `global` are in the map, the files that a delta backup takes by blocks. Besides single
//! blocks it knows the *limit* of a relation: the smallest length it was cut to. From there on nothing of an older
//! copy of the file is of use, also where no record names a block: a relation can be extended by empty pages without
//! WAL. A relation made anew, or dropped, has the limit 0, and a database made by copying files has it for all its
//! relations. PostgreSQL's own incremental backup keeps the same (`common/blkreftable.c`, "limit block").

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use roaring::RoaringBitmap;

use super::{Oid, RelationFile};

/// Pages of a relation in one segment file (`RELSEG_SIZE` of an ordinary build).
pub const BLOCKS_PER_SEGMENT: u32 = 131_072;

/// `pg_default`, the tablespace of `base` (`DEFAULTTABLESPACE_OID`, `catalog/pg_tablespace.dat`).
const DEFAULT_TABLESPACE: u32 = 1663;

/// `pg_global`, the tablespace of `global` (`GLOBALTABLESPACE_OID`, there).
const GLOBAL_TABLESPACE: u32 = 1664;

/// A database in one tablespace, where its relations of that tablespace lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabasePlace {
    /// The tablespace; `None` for `pg_default`, whose place is `base`.
    pub tablespace: Option<Oid>,
    /// The database.
    pub database: Oid,
}

impl DatabasePlace {
    /// The place that WAL names by the numbers of tablespace and database.
    ///
    /// `None` for the shared catalogs' place, and for numbers that stand for no object.
    pub fn of_numbers(tablespace: u32, database: u32) -> Option<DatabasePlace> {
        let tablespace = match tablespace {
            GLOBAL_TABLESPACE => return None,
            DEFAULT_TABLESPACE => None,
            other => Some(Oid::new(other)?),
        };
        Some(DatabasePlace { tablespace, database: Oid::new(database)? })
    }

    /// The numbers of tablespace and database by which WAL names the place.
    pub fn numbers(self) -> (u32, u32) {
        (self.tablespace.map_or(DEFAULT_TABLESPACE, Oid::as_u32), self.database.as_u32())
    }
}

/// A relation by the names of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationPlace {
    /// Its database and tablespace.
    pub database: DatabasePlace,
    /// The number its files are called by.
    pub filenode: Oid,
}

impl RelationPlace {
    /// The relation of a main fork's segment file; `None` for other forks and for shared catalogs.
    pub fn of(file: &RelationFile) -> Option<RelationPlace> {
        if !file.is_paged() {
            return None;
        }
        let database = DatabasePlace { tablespace: file.tablespace, database: file.database? };
        Some(RelationPlace { database, filenode: file.filenode })
    }

    /// The relation that WAL names by the numbers of tablespace, database and file (`RelFileLocator`,
    /// `storage/relfilelocator.h`).
    ///
    /// `None` for shared catalogs, and for numbers that stand for no object.
    pub fn of_numbers(tablespace: u32, database: u32, filenode: u32) -> Option<RelationPlace> {
        let database = DatabasePlace::of_numbers(tablespace, database)?;
        Some(RelationPlace { database, filenode: Oid::new(filenode)? })
    }
}

/// The blocks that changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockMap {
    relations: HashMap<RelationPlace, RelationChanges, BuildHasherDefault<NumberHasher>>,
    /// Databases whose files were copied or removed as a whole.
    replaced: HashSet<DatabasePlace>,
}

/// What changed in one relation.
#[derive(Debug, Clone, Default, PartialEq)]
struct RelationChanges {
    /// The smallest length in blocks that the relation was cut to; `None` if it never was.
    limit: Option<u32>,
    blocks: RoaringBitmap,
}

/// A hash of the numbers of relations. The standard library's, made against keys that somebody chose, would make
/// reading WAL a third slower.
#[derive(Debug, Clone, Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio; the table looks at the lowest and the highest bits.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What the map says of one segment file.
#[derive(Debug, Clone, PartialEq)]
pub enum FileChanges {
    /// Nothing of an older copy is of use.
    Replaced,
    /// These blocks changed, ascending, counted from the start of this file; the others are as they were.
    Blocks(Vec<u32>),
}

impl BlockMap {
    /// A record changed this block.
    pub fn mark(&mut self, relation: RelationPlace, block: u32) {
        self.relations.entry(relation).or_default().blocks.insert(block);
    }

    /// Records changed these blocks.
    pub fn mark_all(&mut self, relation: RelationPlace, blocks: impl IntoIterator<Item = u32>) {
        self.relations.entry(relation).or_default().blocks.extend(blocks);
    }

    /// The relation was cut to `blocks`; 0 when it was dropped or made anew.
    pub fn cut(&mut self, relation: RelationPlace, blocks: u32) {
        let limit = &mut self.relations.entry(relation).or_default().limit;
        *limit = Some(limit.map_or(blocks, |known| known.min(blocks)));
    }

    /// All files of a database were copied from elsewhere, or removed.
    pub fn replace(&mut self, database: DatabasePlace) {
        self.replaced.insert(database);
    }

    /// Adds what another stretch of WAL changed.
    pub fn merge(&mut self, other: BlockMap) {
        self.replaced.extend(other.replaced);
        for (relation, changes) in other.relations {
            let known = self.relations.entry(relation).or_default();
            known.blocks |= changes.blocks;
            known.limit = match (known.limit, changes.limit) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }

    /// What changed in a segment file of a main fork that now has `file_blocks` blocks.
    ///
    /// Blocks from the relation's limit on count as changed, named by WAL or not.
    pub fn changes(&self, relation: RelationPlace, segment: u32, file_blocks: u32) -> FileChanges {
        if self.replaced.contains(&relation.database) {
            return FileChanges::Replaced;
        }
        let Some(changes) = self.relations.get(&relation) else { return FileChanges::Blocks(Vec::new()) };
        // A segment that cannot exist has no blocks either.
        let Some(first) = segment.checked_mul(BLOCKS_PER_SEGMENT) else { return FileChanges::Replaced };
        let end = first.saturating_add(file_blocks);
        if changes.limit.is_some_and(|limit| limit <= first) {
            return FileChanges::Replaced;
        }
        let limit = changes.limit.unwrap_or(end).min(end);
        let named = changes.blocks.range(first..limit);
        FileChanges::Blocks(named.chain(limit..end).map(|block| block - first).collect())
    }

    /// Every relation that has blocks or a limit, in no order, with both.
    pub fn relations(&self) -> impl Iterator<Item = (RelationPlace, Option<u32>, &RoaringBitmap)> {
        self.relations.iter().map(|(place, changes)| (*place, changes.limit, &changes.blocks))
    }

    /// The databases that were replaced as a whole, in no order.
    pub fn replaced(&self) -> impl Iterator<Item = DatabasePlace> {
        self.replaced.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(filenode: u32) -> RelationPlace {
        let database = DatabasePlace { tablespace: None, database: Oid::new(5).unwrap() };
        RelationPlace { database, filenode: Oid::new(filenode).unwrap() }
    }

    #[test]
    fn blocks_are_counted_from_the_start_of_the_file() {
        let mut map = BlockMap::default();
        for block in [0, 7, BLOCKS_PER_SEGMENT - 1, BLOCKS_PER_SEGMENT, BLOCKS_PER_SEGMENT + 3] {
            map.mark(relation(1), block);
        }
        let changes = |segment, blocks| map.changes(relation(1), segment, blocks);
        assert_eq!(changes(0, BLOCKS_PER_SEGMENT), FileChanges::Blocks(vec![0, 7, BLOCKS_PER_SEGMENT - 1]));
        assert_eq!(changes(1, 10), FileChanges::Blocks(vec![0, 3]));
        // The file is shorter than the highest block that was changed.
        assert_eq!(changes(1, 2), FileChanges::Blocks(vec![0]));
        assert_eq!(changes(2, 10), FileChanges::Blocks(vec![]));
        assert_eq!(map.changes(relation(2), 0, 10), FileChanges::Blocks(vec![]));
    }

    #[test]
    fn everything_from_the_limit_on_has_changed() {
        let mut map = BlockMap::default();
        map.mark(relation(1), 1);
        map.cut(relation(1), 6);
        map.cut(relation(1), 4);
        map.cut(relation(1), 5);
        assert_eq!(map.changes(relation(1), 0, 7), FileChanges::Blocks(vec![1, 4, 5, 6]));
        assert_eq!(map.changes(relation(1), 0, 3), FileChanges::Blocks(vec![1]));
        assert_eq!(map.changes(relation(1), 1, 9), FileChanges::Replaced);
        map.cut(relation(1), 0);
        assert_eq!(map.changes(relation(1), 0, 7), FileChanges::Replaced);
    }

    #[test]
    fn a_replaced_database_is_replaced_in_its_tablespace_only() {
        let mut map = BlockMap::default();
        map.replace(relation(1).database);
        assert_eq!(map.changes(relation(1), 0, 1), FileChanges::Replaced);
        let mut elsewhere = relation(1);
        elsewhere.database.tablespace = Oid::new(16384);
        assert_eq!(map.changes(elsewhere, 0, 1), FileChanges::Blocks(vec![]));
    }

    #[test]
    fn merging_keeps_every_block_and_the_smaller_limit() {
        let mut one = BlockMap::default();
        one.mark(relation(1), 1);
        one.cut(relation(1), 8);
        let mut other = BlockMap::default();
        other.mark(relation(1), 2);
        other.cut(relation(1), 6);
        other.mark(relation(2), 3);
        other.replace(DatabasePlace { tablespace: None, database: Oid::new(6).unwrap() });
        one.merge(other);
        assert_eq!(one.changes(relation(1), 0, 7), FileChanges::Blocks(vec![1, 2, 6]));
        assert_eq!(one.changes(relation(2), 0, 7), FileChanges::Blocks(vec![3]));
        assert_eq!(one.replaced().count(), 1);
    }
}
