//! The blocks that 16 segments of WAL changed: `wal_005/<first segment>_delta.<ext>`.
//!
//! wal-g writes such an object while it archives WAL and reads it for a delta backup. Numbers are little endian.
//!
//! | bytes | |
//! |---|---|
//! | 16 each | locations: tablespace, database, filenode, block, of 4 bytes each; the default tablespace is 1663 |
//! | 16 | zero |
//! | 4 | length of what follows |
//! | that many | the last record of the group as far as it goes: the next segment begins with its rest |
//!
//! Records that begin in the group before and end in this one count here. Blocks are counted over all segment files of
//! a relation. Source: wal-g `internal/databases/postgres/delta_file.go` and `internal/walparser`, release 3.0.9.
//!
//! A delta backup must also know which relations were cut or made anew, for which this form has no place; and from
//! PostgreSQL 15 on wal-g's own recording fails. So only what we wrote is read here, and what that says besides single
//! blocks stands in locations that no file can have and that wal-g, as it looks up the blocks of existing files only,
//! ignores:
//!
//! | location | |
//! |---|---|
//! | 0, 0, 0, 4294967295 | the first one: written by us, with the other two kinds in it |
//! | relation, 4294967295, and then relation, n | the relation was cut to n blocks |
//! | tablespace, database, 0, 4294967295, and then … 0, 0 | all files of the database were replaced |
//!
//! 4294967295 is PostgreSQL's number for no block (`InvalidBlockNumber`, `storage/block.h`). To wal-g, a cut is one
//! changed block more, and a reason to store an otherwise unchanged file as an empty increment, which gives it its
//! right size.

use std::io::{self, Read, Write};

use crate::pg::{BlockMap, DatabasePlace, Oid, RelationPlace, SegmentName, SegmentNumber, WalSegmentSize};

/// Segments that share one object (`WalFileInDelta`).
pub const GROUP_SEGMENTS: u8 = 16;

/// `InvalidBlockNumber`.
const NO_BLOCK: u32 = u32::MAX;

/// The first location of what we write.
const OURS: Location = Location { tablespace: 0, database: 0, filenode: 0, block: NO_BLOCK };

/// After the last location.
const END: Location = Location { tablespace: 0, database: 0, filenode: 0, block: 0 };

/// What one object says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WalDelta {
    /// What the records that end in the group changed.
    pub map: BlockMap,
    /// The unfinished record at the end of the group, without page headers; empty when the last one ends with it.
    pub tail: Vec<u8>,
}

/// What is wrong with an object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed.
    #[error("cannot read the recorded blocks: {0}")]
    Read(#[source] io::Error),
    /// It ends early.
    #[error("the recorded blocks end too early")]
    Truncated,
    /// A location that neither names a block nor has a meaning of ours.
    #[error("the recorded blocks hold an impossible location: {0} {1} {2} {3}")]
    Location(u32, u32, u32, u32),
    /// Bytes follow the unfinished record.
    #[error("the recorded blocks are followed by other data")]
    TrailingData,
}

/// The first segment of the group that a segment belongs to, and so the name of the group; `None` if a segment of
/// this `size` cannot have the name.
pub fn first_of_group(segment: SegmentName, size: WalSegmentSize) -> Option<SegmentName> {
    let number = segment.number(size)?.as_u64();
    SegmentName::new(
        segment.timeline(),
        SegmentNumber::new(number - number % u64::from(GROUP_SEGMENTS)),
        size,
    )
}

impl WalDelta {
    /// Writes the object's plain content: equal maps give equal bytes.
    ///
    /// # Errors
    /// Those of `out`, and an unfinished record of 4 GiB or more, which no server writes.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        OURS.write(&mut out)?;
        let mut replaced: Vec<_> = self.map.replaced().collect();
        replaced.sort_unstable();
        for database in replaced {
            let files = Location::of_database(database);
            Location { block: NO_BLOCK, ..files }.write(&mut out)?;
            files.write(&mut out)?;
        }
        let mut relations: Vec<_> = self.map.relations().collect();
        relations.sort_unstable_by_key(|(relation, ..)| *relation);
        for (relation, limit, blocks) in relations {
            let filenode = relation.filenode.as_u32();
            let place = Location { filenode, ..Location::of_database(relation.database) };
            if let Some(limit) = limit {
                Location { block: NO_BLOCK, ..place }.write(&mut out)?;
                Location { block: limit, ..place }.write(&mut out)?;
            }
            // No relation has a block of that number.
            for block in blocks.range(..NO_BLOCK) {
                Location { block, ..place }.write(&mut out)?;
            }
        }
        END.write(&mut out)?;
        let length = u32::try_from(self.tail.len()).map_err(io::Error::other)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&self.tail)
    }

    /// Reads an object's plain content to its end; `None` when it is not one of ours. Memory is bounded by what the
    /// source really holds.
    ///
    /// # Errors
    /// Every [`Error`].
    pub fn read(mut source: impl Read) -> Result<Option<WalDelta>, Error> {
        if Location::read(&mut source)? != OURS {
            return Ok(None);
        }
        let mut map = BlockMap::default();
        loop {
            let location = Location::read(&mut source)?;
            if location == END {
                break;
            }
            let database = location.database().ok_or_else(|| location.impossible())?;
            let relation = Oid::new(location.filenode).map(|filenode| RelationPlace { database, filenode });
            if location.block != NO_BLOCK {
                map.mark(relation.ok_or_else(|| location.impossible())?, location.block);
                continue;
            }
            let limit = Location::read(&mut source)?;
            match relation {
                _ if (Location { block: limit.block, ..location }) != limit => return Err(limit.impossible()),
                Some(relation) => map.cut(relation, limit.block),
                None if limit.block == 0 => map.replace(database),
                None => return Err(limit.impossible()),
            }
        }
        let length = u32::from_le_bytes(read_bytes(&mut source)?);
        let mut tail = Vec::new();
        source.by_ref().take(length.into()).read_to_end(&mut tail).map_err(Error::Read)?;
        if tail.len() as u64 != u64::from(length) {
            return Err(Error::Truncated);
        }
        match source.read_exact(&mut [0]).map_err(read_error) {
            Err(Error::Truncated) => Ok(Some(WalDelta { map, tail })),
            Err(error) => Err(error),
            Ok(()) => Err(Error::TrailingData),
        }
    }
}

/// Four numbers as they stand in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Location {
    tablespace: u32,
    database: u32,
    filenode: u32,
    block: u32,
}

impl Location {
    /// The files of a database, as one: filenode and block are 0.
    fn of_database(place: DatabasePlace) -> Location {
        let (tablespace, database) = place.numbers();
        Location { tablespace, database, filenode: 0, block: 0 }
    }

    fn database(self) -> Option<DatabasePlace> {
        DatabasePlace::of_numbers(self.tablespace, self.database)
    }

    fn impossible(self) -> Error {
        Error::Location(self.tablespace, self.database, self.filenode, self.block)
    }

    fn read(source: &mut impl Read) -> Result<Location, Error> {
        let mut number = || read_bytes(source).map(u32::from_le_bytes);
        Ok(Location { tablespace: number()?, database: number()?, filenode: number()?, block: number()? })
    }

    fn write(self, out: &mut impl Write) -> io::Result<()> {
        for number in [self.tablespace, self.database, self.filenode, self.block] {
            out.write_all(&number.to_le_bytes())?;
        }
        Ok(())
    }
}

fn read_bytes(source: &mut impl Read) -> Result<[u8; 4], Error> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes).map_err(read_error)?;
    Ok(bytes)
}

fn read_error(error: io::Error) -> Error {
    // A decoder that found its data cut short says so inside its error; this is a plain end.
    match error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        true => Error::Truncated,
        false => Error::Read(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn database(tablespace: u32, database: u32) -> DatabasePlace {
        DatabasePlace { tablespace: Oid::new(tablespace), database: Oid::new(database).unwrap() }
    }

    fn relation(tablespace: u32, of: u32, filenode: u32) -> RelationPlace {
        RelationPlace { database: database(tablespace, of), filenode: Oid::new(filenode).unwrap() }
    }

    fn written(delta: &WalDelta) -> Vec<u8> {
        let mut bytes = Vec::new();
        delta.write(&mut bytes).unwrap();
        bytes
    }

    /// What wal-g gets out of it: locations up to the terminal one, then the record (`LoadDeltaFile`).
    fn as_walg_reads(bytes: &[u8]) -> (Vec<[u32; 4]>, Vec<u8>) {
        let mut locations = Vec::new();
        let (numbers, _) = bytes.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
        loop {
            let location = [(); 4].map(|()| numbers.next().unwrap());
            if location == [0; 4] {
                break;
            }
            locations.push(location);
        }
        let record = &bytes[(locations.len() + 1) * 16..];
        let (length, record) = record.split_at(4);
        assert_eq!(length, u32::try_from(record.len()).unwrap().to_le_bytes());
        (locations, record.to_vec())
    }

    fn sample() -> WalDelta {
        let mut map = BlockMap::default();
        map.mark(relation(0, 5, 16384), 7);
        map.mark(relation(0, 5, 16384), 131_072);
        map.mark(relation(16400, 5, 16385), 0);
        map.cut(relation(16400, 5, 16385), 3);
        map.cut(relation(0, 5, 16386), 0);
        map.replace(database(0, 16390));
        WalDelta { map, tail: b"record".to_vec() }
    }

    #[test]
    fn walg_reads_every_block_and_meets_no_end_before_the_last() {
        let (locations, record) = as_walg_reads(&written(&sample()));
        assert_eq!(
            locations,
            [
                [0, 0, 0, u32::MAX],
                [1663, 16390, 0, u32::MAX],
                [1663, 16390, 0, 0],
                [1663, 5, 16384, 7],
                [1663, 5, 16384, 131_072],
                [1663, 5, 16386, u32::MAX],
                [1663, 5, 16386, 0],
                [16400, 5, 16385, u32::MAX],
                [16400, 5, 16385, 3],
                [16400, 5, 16385, 0],
            ]
        );
        assert_eq!(record, b"record");
    }

    #[test]
    fn what_walg_wrote_is_not_ours() {
        let mut theirs = Vec::new();
        for number in [1663, 5, 16384, 7, 0, 0, 0, 0, 0_u32] {
            theirs.extend(number.to_le_bytes());
        }
        assert!(WalDelta::read(&theirs[..]).unwrap().is_none());
        // No record of the group named a block.
        assert!(WalDelta::read(&[0; 20][..]).unwrap().is_none());
    }

    #[test]
    fn impossible_content_is_refused() {
        let of = |locations: &[[u32; 4]], rest: &[u8]| {
            let mut bytes = Vec::new();
            for number in [[0, 0, 0, u32::MAX]].iter().chain(locations).flatten() {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(rest);
            WalDelta::read(&bytes[..]).map(|_| ()).unwrap_err().to_string()
        };
        let end = [0; 4];
        for (name, error, expected) in [
            ("cut off", of(&[[1663, 5, 1, 2]], &[]), "the recorded blocks end too early"),
            ("no length", of(&[end], &[1]), "the recorded blocks end too early"),
            ("short record", of(&[end], &[2, 0, 0, 0, 9]), "the recorded blocks end too early"),
            ("huge record", of(&[end], &[0xFF, 0xFF, 0xFF, 0xFF, 9]), "the recorded blocks end too early"),
            ("more", of(&[end], &[1, 0, 0, 0, 9, 9]), "the recorded blocks are followed by other data"),
            (
                "no database",
                of(&[[1663, 0, 1, 2]], &[]),
                "the recorded blocks hold an impossible location: 1663 0 1 2",
            ),
            (
                "block of nothing",
                of(&[[1663, 5, 0, 2]], &[]),
                "the recorded blocks hold an impossible location: 1663 5 0 2",
            ),
            (
                "limit of another",
                of(&[[1663, 5, 7, u32::MAX], [1663, 5, 8, 0]], &[]),
                "the recorded blocks hold an impossible location: 1663 5 8 0",
            ),
            (
                "database cut",
                of(&[[1663, 5, 0, u32::MAX], [1663, 5, 0, 1]], &[]),
                "the recorded blocks hold an impossible location: 1663 5 0 1",
            ),
        ] {
            assert_eq!(error, expected, "{name}");
        }
    }

    #[test]
    fn groups_begin_at_multiples_of_sixteen() {
        let group = |name: &str, mebibytes| {
            let size = WalSegmentSize::from_mebibytes(mebibytes).unwrap();
            first_of_group(name.parse().unwrap(), size).map(|first| first.to_string())
        };
        for (segment, size, first) in [
            ("000000010000000000000001", 16, Some("000000010000000000000000")),
            ("00000001000000000000000F", 16, Some("000000010000000000000000")),
            ("0000000200000001000000FF", 16, Some("0000000200000001000000F0")),
            // Four segments of 1 GiB share their upper half: 0x13 is the 79th, counted from 0.
            ("000000010000001300000003", 1024, Some("000000010000001000000000")),
            ("000000010000001300000004", 1024, None),
        ] {
            assert_eq!(group(segment, size).as_deref(), first, "{segment}");
        }
    }

    fn any_map() -> impl Strategy<Value = BlockMap> {
        let place = (prop_oneof![Just(0_u32), 16384_u32..16387], 1_u32..4, 1_u32..6);
        let block = prop_oneof![0_u32..200, 131_000_u32..131_100, Just(u32::MAX - 1)];
        let marks = prop::collection::vec((place.clone(), block.clone()), 0..60);
        let cuts = prop::collection::vec((place.clone(), prop_oneof![block, Just(u32::MAX)]), 0..6);
        let replaced = prop::collection::vec(place, 0..3);
        (marks, cuts, replaced).prop_map(|(marks, cuts, replaced)| {
            let mut map = BlockMap::default();
            for ((tablespace, database, filenode), block) in marks {
                map.mark(relation(tablespace, database, filenode), block);
            }
            for ((tablespace, database, filenode), limit) in cuts {
                map.cut(relation(tablespace, database, filenode), limit);
            }
            for (tablespace, of, _) in replaced {
                map.replace(database(tablespace, of));
            }
            map
        })
    }

    proptest! {
        #[test]
        fn read_is_the_inverse_of_write(map in any_map(), tail: Vec<u8>, cut: prop::sample::Index) {
            let delta = WalDelta { map, tail };
            let bytes = written(&delta);
            prop_assert_eq!(WalDelta::read(&bytes[..]).unwrap(), Some(delta));
            prop_assert!(!matches!(WalDelta::read(&bytes[..cut.index(bytes.len())]), Ok(Some(_))));
        }

        #[test]
        fn walg_finds_every_block(map in any_map(), tail: Vec<u8>) {
            let delta = WalDelta { map, tail };
            let (locations, record) = as_walg_reads(&written(&delta));
            prop_assert_eq!(&record, &delta.tail);
            for (relation, _, blocks) in delta.map.relations() {
                let place = Location::of_database(relation.database);
                for block in blocks {
                    let location = [place.tablespace, place.database, relation.filenode.as_u32(), block];
                    prop_assert!(locations.contains(&location));
                }
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), aligned: Vec<[u8; 4]>) {
            for body in [bytes, aligned.concat()] {
                let mut ours = written(&WalDelta::default());
                ours.truncate(16);
                ours.extend(body);
                let _ = WalDelta::read(&ours[..]);
            }
        }
    }
}
