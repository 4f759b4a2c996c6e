//! What is kept of archived segments until their group is whole, in `pg_wal/walg_data/seawall_blocks`.
//!
//! | file | |
//! |---|---|
//! | `<segment>` | a segment whose group is not stored yet |
//! | `<segment>.tail` | the last one of a stored group: the next group needs the record that is unfinished at its end |
//!
//! Each is written by whoever archives the segment, in one step; two that archive the same segment write the same.
//! Groups are joined, and files removed, by whoever has the lock. wal-g keeps its own parts in `walg_data` under other
//! names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::layout::walg::wal_delta::{GROUP_SEGMENTS, first_of_group};
use crate::ops::{Error, lock_file};
use crate::pg::{SegmentName, SegmentNumber, WalSegmentSize};

/// How many segments behind the newest one a record is still kept: groups are joined within a few calls of wal-push,
/// so the rest of an older one will not come any more.
const KEPT_SEGMENTS: u64 = 8 * 16;

/// How the names of records end that the next group waits for.
const TAIL: &str = ".tail";

/// The records of one `pg_wal`.
#[derive(Debug, Clone)]
pub(super) struct Records {
    directory: PathBuf,
}

/// The segments that are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Those whose group is not stored yet.
    waiting: BTreeSet<SegmentName>,
    /// Those kept for the next group alone.
    tails: BTreeSet<SegmentName>,
}

/// A group of segments all of which are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The segment before the group, whose last record may end in it.
    pub before: SegmentName,
    /// The group's segments, in order.
    pub segments: Vec<SegmentName>,
}

impl Records {
    /// The records beside the WAL file at `path`.
    pub fn beside(path: &Path) -> Records {
        Records { directory: path.parent().unwrap_or(Path::new("")).join("walg_data/seawall_blocks") }
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The record of a segment that waits for its group.
    pub fn path(&self, segment: SegmentName) -> PathBuf {
        self.directory.join(segment.to_string())
    }

    /// The record of a segment that the next group waits for.
    fn tail_path(&self, segment: SegmentName) -> PathBuf {
        self.directory.join(format!("{segment}{TAIL}"))
    }

    /// The record of a segment, whatever it waits for.
    pub fn existing_path(&self, segment: SegmentName) -> PathBuf {
        let tail = self.tail_path(segment);
        if tail.exists() { tail } else { self.path(segment) }
    }

    /// The right to join groups and to remove records; `None` while another process has it.
    pub fn lock(&self) -> Result<Option<File>, Error> {
        let path = self.directory.join(".lock");
        lock_file::try_lock(&path).map_err(Error::file("lock", path))
    }

    /// The segments that are recorded.
    pub fn list(&self) -> Result<Recorded, Error> {
        let read_failed = || Error::file("read", &self.directory);
        let mut recorded = Recorded::default();
        for entry in fs::read_dir(&self.directory).map_err(read_failed())? {
            let name = entry.map_err(read_failed())?.file_name();
            let Some(name) = name.to_str() else { continue };
            match name.strip_suffix(TAIL) {
                Some(segment) => recorded.tails.extend(segment.parse::<SegmentName>().ok()),
                None => recorded.waiting.extend(name.parse::<SegmentName>().ok()),
            }
        }
        Ok(recorded)
    }

    /// Forgets a group that is stored, but for what the next one needs.
    pub fn forget_group(&self, group: &Group) -> Result<(), Error> {
        // Its own group may not be whole yet, when segments are archived out of order.
        remove(&self.tail_path(group.before))?;
        let Some((last, others)) = group.segments.split_last() else { return Ok(()) };
        for segment in others {
            remove(&self.path(*segment))?;
        }
        let path = self.path(*last);
        fs::rename(&path, self.tail_path(*last)).map_err(Error::file("rename", path))
    }

    /// Forgets a segment.
    pub fn forget(&self, segment: SegmentName) -> Result<(), Error> {
        remove(&self.path(segment))?;
        remove(&self.tail_path(segment))
    }
}

/// Removes a file, if there is one.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        _ => Ok(()),
    }
}

impl Recorded {
    /// The groups that are whole and have the segment before them.
    pub fn whole_groups(&self, size: WalSegmentSize) -> Vec<Group> {
        let group = |first: &SegmentName| {
            let before = first.previous(size)?;
            let following = std::iter::successors(Some(*first), |segment| segment.next(size));
            let segments: Vec<_> = following.take(GROUP_SEGMENTS.into()).collect();
            let is_whole = segments.iter().all(|segment| self.waiting.contains(segment))
                && (self.waiting.contains(&before) || self.tails.contains(&before));
            is_whole.then_some(Group { before, segments })
        };
        let firsts = self.waiting.iter().filter(|segment| first_of_group(**segment, size) == Some(**segment));
        firsts.filter_map(group).collect()
    }

    /// The segments that wait for what will not come any more.
    pub fn leftovers(&self, size: WalSegmentSize) -> Vec<SegmentName> {
        let number = |segment: &SegmentName| segment.number(size).map_or(0, SegmentNumber::as_u64);
        let all: BTreeSet<_> = self.waiting.union(&self.tails).copied().collect();
        let newest = all.iter().map(number).max().unwrap_or(0);
        all.into_iter().filter(|segment| number(segment).saturating_add(KEPT_SEGMENTS) < newest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: WalSegmentSize = WalSegmentSize::DEFAULT;

    fn segments(timeline: u32, numbers: impl IntoIterator<Item = u64>) -> BTreeSet<SegmentName> {
        let timeline = crate::pg::TimelineId::new(timeline).unwrap();
        let name = |number| SegmentName::new(timeline, SegmentNumber::new(number), SIZE).unwrap();
        numbers.into_iter().map(name).collect()
    }

    fn waiting(waiting: BTreeSet<SegmentName>) -> Recorded {
        Recorded { waiting, tails: BTreeSet::new() }
    }

    #[test]
    fn a_group_is_whole_with_the_segment_before_it() {
        let first = |recorded: &Recorded| -> Vec<String> {
            recorded.whole_groups(SIZE).iter().map(|group| group.segments[0].to_string()).collect()
        };
        assert_eq!(first(&waiting(segments(1, 15..32))), ["000000010000000000000010"]);
        assert_eq!(
            first(&waiting(segments(1, 0x1EF..0x220))),
            ["0000000100000001000000F0", "000000010000000200000000", "000000010000000200000010"]
        );
        for missing in 15..32 {
            let recorded = waiting(segments(1, (15..32).filter(|number| *number != missing)));
            assert!(first(&recorded).is_empty(), "{missing}");
            let other_kind = Recorded { tails: segments(1, [missing]), ..recorded };
            assert_eq!(first(&other_kind).is_empty(), missing != 15, "{missing}");
        }
        // The first group of all has none before it, and segment 0 never exists.
        assert!(first(&waiting(segments(1, 0..16))).is_empty());
        assert!(
            first(&waiting(segments(1, 15..20).into_iter().chain(segments(2, 20..32)).collect())).is_empty()
        );

        let recorded = waiting(segments(3, 15..40));
        let [group] = &recorded.whole_groups(SIZE)[..] else { panic!("one group is whole") };
        assert_eq!(group.before.to_string(), "00000003000000000000000F");
        assert_eq!(group.segments, segments(3, 16..32).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn records_far_behind_are_leftovers() {
        assert!(Recorded::default().leftovers(SIZE).is_empty());
        assert!(waiting(segments(1, [1, 1 + KEPT_SEGMENTS])).leftovers(SIZE).is_empty());
        let recorded = Recorded {
            waiting: segments(1, [2, 3]).into_iter().chain(segments(2, [3 + KEPT_SEGMENTS])).collect(),
            tails: segments(1, [1, 4]),
        };
        assert_eq!(recorded.leftovers(SIZE), segments(1, [1, 2]).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::beside(&dir.path().join("000000010000000000000007"));
        assert!(records.list().is_err());
        fs::create_dir_all(records.directory()).unwrap();
        let lock = records.lock().unwrap();
        assert!(lock.is_some() && records.lock().unwrap().is_none());
        for name in [".000000010000000000000007.1.seawall-tmp", "other", "other.tail"] {
            fs::write(records.directory().join(name), b"").unwrap();
        }
        for segment in segments(1, 15..34) {
            fs::write(records.path(segment), b"").unwrap();
        }
        assert_eq!(records.list().unwrap(), waiting(segments(1, 15..34)));
        let [group] = &records.list().unwrap().whole_groups(SIZE)[..] else { panic!("one group is whole") };
        records.forget_group(group).unwrap();
        let left = Recorded { waiting: segments(1, [15, 32, 33]), tails: segments(1, [31]) };
        assert_eq!(records.list().unwrap(), left);
        let [tail] = segments(1, [31]).into_iter().collect::<Vec<_>>()[..] else { unreachable!() };
        assert_eq!(records.existing_path(tail), records.tail_path(tail));
        assert_eq!(records.existing_path(group.before), records.path(group.before));

        for segment in segments(1, 34..48) {
            fs::write(records.path(segment), b"").unwrap();
        }
        let [next] = &records.list().unwrap().whole_groups(SIZE)[..] else { panic!("the next is whole") };
        records.forget_group(next).unwrap();
        let left = Recorded { waiting: segments(1, [15]), tails: segments(1, [47]) };
        assert_eq!(records.list().unwrap(), left);
        for segment in segments(1, [15, 47, 48]) {
            records.forget(segment).unwrap();
        }
        assert_eq!(records.list().unwrap(), Recorded::default());
    }
}
