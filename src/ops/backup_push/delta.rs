//! Of each file, what a delta backup takes.
//!
//! | file | by a map of changed blocks | by the LSNs of pages |
//! |---|---|---|
//! | not in the parent | whole | whole |
//! | relation with pages: nothing changed, time as in the parent | skipped | skipped |
//! | relation with pages: made anew since the parent | whole | whole |
//! | relation with pages, any other | the blocks of the map | the blocks with a younger LSN |
//! | anything else: time as in the parent | skipped | skipped |
//! | anything else | whole | whole |
//!
//! *Relation with pages* is a main fork outside of `global` of a whole number of pages. The map alone says what changed;
//! an increment without pages is written where it says nothing and the time differs, for the file's size. Where nearly
//! all blocks changed the file is taken whole, which spares a restore the older copies.
//!
//! *Time as in the parent* counts only when it lies well before the parent's start: the clock for files ticks every few
//! milliseconds, in some file systems every two seconds, and a file that was written again within the tick in which it
//! was copied has the same time still.
//!
//! *Made anew* needs a look at the birth of the file when there is no map. `CREATE DATABASE` by file copy, with the OID
//! of a database dropped before, makes files with the old names whose pages have the template's old LSNs. So by LSNs
//! are taken only files known to have existed when the parent was taken: those born before it, by the clock of the same
//! host in the same directory (a standby replays late: what the parent saw there later may be older here). Where the
//! file system does not tell a file's birth, changed files are taken whole: larger, but never wrong.
//!
//! One change of a page may leave its LSN alone: VACUUM marks a page as all-visible without a new LSN where hint bits are
//! not in WAL. The visibility map, which is taken whole, would come back with the mark and the page without, and later
//! changes of the page would not clear it from the map: index-only scans answer wrong. So by LSNs, in a cluster with
//! neither checksums nor `wal_log_hints`, marked pages are also taken where a page of the visibility map, which has the
//! bits of 255 MiB of a table, has got new bits.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::layout::walg::increment;
use crate::ops::changed_blocks::{ChangedBlocks, Source};
use crate::pg::data_dir::{Member, MemberKind};
use crate::pg::{FileChanges, Lsn, RelationFile, RelationPlace};

use super::verify_delta::VerifyDelta;

/// How long before the parent's start a file's last write must lie for its time to be trusted.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// How far a file's time of birth can lie before its birth: the kernel's clock for files ticks 100 times a second at
/// the least.
const TICK: SignedDuration = SignedDuration::from_millis(100);

/// What a delta backup knows beforehand.
#[derive(Debug)]
pub(super) struct Delta {
    /// When each file of the parent had been changed, by its name in tars.
    pub parent_files: HashMap<String, Timestamp>,
    /// Where the parent's WAL begins.
    pub parent_lsn: Lsn,
    /// When the parent was started.
    pub parent_start: Timestamp,
    /// Whether the parent was taken on this host from this directory.
    pub same_place: bool,
    /// Whether a page surely has got a new LSN when it was marked as all-visible since.
    pub marks_have_lsns: bool,
    /// Which blocks changed since.
    pub changed: ChangedBlocks,
    /// How much of that is proved.
    pub verify: VerifyDelta,
}

/// What is taken of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Take {
    /// All of it.
    Whole,
    /// Nothing: it is as in the parent.
    Skip,
    /// These blocks, ascending, counted from the start of the file.
    Blocks(Vec<u32>),
    /// The blocks that changed since this LSN, by their own LSNs, if the file [was in the parent](Delta::was_in_parent).
    ByPageLsns {
        /// The LSN.
        since: Lsn,
    },
}

impl Delta {
    /// What to take of a member.
    pub fn take(&self, member: &Member) -> Take {
        if !matches!(member.kind, MemberKind::File { .. }) {
            return Take::Whole;
        }
        if !self.parent_files.contains_key(member.name.as_str()) {
            return Take::Whole;
        }
        let is_untouched = self.is_untouched(member.name.as_str(), member.mtime);
        match (PagedFile::of(member), &self.changed) {
            (Some(file), ChangedBlocks::Map(_, map)) => {
                match map.changes(file.relation, file.segment, file.blocks) {
                    FileChanges::Blocks(blocks) if blocks.is_empty() && is_untouched => Take::Skip,
                    FileChanges::Blocks(blocks) if !is_nearly_all(&blocks, file.blocks) => {
                        Take::Blocks(blocks)
                    }
                    FileChanges::Blocks(_) | FileChanges::Replaced => Take::Whole,
                }
            }
            _ if is_untouched => Take::Skip,
            (Some(_), ChangedBlocks::PageLsns(since)) => Take::ByPageLsns { since: *since },
            (None, _) => Take::Whole,
        }
    }

    /// Whether a file of the parent was last written when the parent saw it.
    pub fn is_untouched(&self, name: &str, mtime: Timestamp) -> bool {
        self.parent_files.get(name) == Some(&mtime) && self.is_before_parent(mtime, SETTLED)
    }

    /// Whether a file with this time of birth, if that is known, is the one that the parent had under its name.
    pub fn was_in_parent(&self, born: Option<Timestamp>) -> bool {
        self.same_place && born.is_some_and(|born| self.is_before_parent(born, TICK))
    }

    /// Whether the map has to be held against the pages of a file, by the lot.
    pub fn is_to_prove(&self, member: &Member) -> bool {
        let by_map = matches!(self.changed, ChangedBlocks::Map(..));
        by_map && PagedFile::of(member).is_some() && self.verify.draw()
    }

    /// Where it was learned what changed.
    pub fn source(&self) -> Source {
        match self.changed {
            ChangedBlocks::Map(source, _) => source,
            ChangedBlocks::PageLsns(_) => Source::PageLsns,
        }
    }

    fn is_before_parent(&self, time: Timestamp, margin: SignedDuration) -> bool {
        time.checked_add(margin).is_ok_and(|time| time < self.parent_start)
    }
}

/// A segment file of a relation, of whole pages that all carry the LSN of their last change.
struct PagedFile {
    relation: RelationPlace,
    segment: u32,
    blocks: u32,
}

impl PagedFile {
    /// `None` for any other file.
    fn of(member: &Member) -> Option<PagedFile> {
        let page_bytes = increment::PAGE_BYTES as u64;
        let file = RelationFile::parse(member.name.as_str())?;
        let relation = RelationPlace::of(&file)?;
        let size = Some(member.size()).filter(|size| *size > 0 && size.is_multiple_of(page_bytes))?;
        Some(PagedFile { relation, segment: file.segment, blocks: u32::try_from(size / page_bytes).ok()? })
    }
}

/// Whether more than nine of ten blocks are among these.
pub(super) fn is_nearly_all(blocks: &[u32], file_blocks: u32) -> bool {
    blocks.len() as u64 * 10 > u64::from(file_blocks) * 9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::BlockMap;

    const PAGE: u64 = 8192;

    fn time(text: &str) -> Timestamp {
        format!("2026-11-21T02:{text}Z").parse().unwrap()
    }

    /// A delta whose parent was started at 02:30:00 and has these files, changed at these times.
    fn delta(changed: ChangedBlocks, files: &[(&str, &str)]) -> Delta {
        Delta {
            parent_files: files.iter().map(|(name, mtime)| ((*name).to_owned(), time(mtime))).collect(),
            parent_lsn: Lsn::new(1),
            parent_start: time("30:00"),
            same_place: true,
            marks_have_lsns: true,
            changed,
            verify: VerifyDelta::OFF,
        }
    }

    fn member(name: &str, size: u64, mtime: &str) -> Member {
        Member::for_test(name, MemberKind::File { size }, time(mtime))
    }

    const TABLE: &str = "/base/5/16385";
    const NEW: &str = "/base/5/16390";
    const FILES: &[(&str, &str)] = &[
        (TABLE, "10:00.123456789"),
        ("/base/5/16385.1", "10:00"),
        ("/base/5/16385_vm", "10:00"),
        ("/global/1262", "10:00"),
        ("/pg_xact/0000", "10:00"),
        ("/base/5/busy", "29:59"),
    ];

    #[test]
    fn without_a_map() {
        let since = Lsn::new(1);
        let delta = delta(ChangedBlocks::PageLsns(since), FILES);
        for (name, size, mtime, expected) in [
            (TABLE, 3 * PAGE, "10:00.123456789", Take::Skip),
            (TABLE, 3 * PAGE, "10:00.12345679", Take::ByPageLsns { since }),
            (TABLE, 3 * PAGE, "09:00", Take::ByPageLsns { since }),
            (TABLE, 3 * PAGE + 1, "31:00", Take::Whole),
            (TABLE, 0, "31:00", Take::Whole),
            (NEW, 3 * PAGE, "31:00", Take::Whole),
            ("/base/5/16385_vm", PAGE, "10:00", Take::Skip),
            ("/base/5/16385_vm", PAGE, "31:00", Take::Whole),
            ("/global/1262", PAGE, "31:00", Take::Whole),
            ("/pg_xact/0000", PAGE, "10:00", Take::Skip),
            ("/pg_xact/0000", PAGE, "31:00", Take::Whole),
            ("/base/5/busy", 1, "29:59", Take::Whole),
        ] {
            assert_eq!(delta.take(&member(name, size, mtime)), expected, "{name} {size} {mtime}");
        }
        let directory = Member::for_test("/base/5", MemberKind::Directory, time("10:00"));
        assert_eq!(delta.take(&directory), Take::Whole);
    }

    fn place(name: &str) -> RelationPlace {
        RelationPlace::of(&RelationFile::parse(name).unwrap()).unwrap()
    }

    #[test]
    fn by_a_map() {
        let mut map = BlockMap::default();
        for block in [1, 4, 9, 131_072] {
            map.mark(place(TABLE), block);
        }
        map.cut(place("/base/5/20"), 0);
        map.cut(place("/base/5/30"), 15);
        map.replace(place("/base/6/1").database);
        let files =
            [FILES, &[("/base/5/20", "10:00"), ("/base/5/30", "10:00"), ("/base/6/40", "10:00")]].concat();
        let files = [&files[..], &[("/base/5/50", "10:00"), ("/base/5/60", "29:58")]].concat();
        let delta = delta(ChangedBlocks::Map(Source::Wal, map), &files);
        for (name, size, mtime, expected) in [
            (TABLE, 20 * PAGE, "31:00", Take::Blocks(vec![1, 4, 9])),
            (TABLE, 20 * PAGE, "10:00.123456789", Take::Blocks(vec![1, 4, 9])),
            (TABLE, 5 * PAGE, "31:00", Take::Blocks(vec![1, 4])),
            (TABLE, 5 * PAGE + 1, "31:00", Take::Whole),
            ("/base/5/16385.1", 20 * PAGE, "31:00", Take::Blocks(vec![0])),
            ("/base/5/16385.1", PAGE, "31:00", Take::Whole),
            ("/base/5/50", 20 * PAGE, "10:00", Take::Skip),
            ("/base/5/50", 20 * PAGE, "31:00", Take::Blocks(vec![])),
            ("/base/5/60", 20 * PAGE, "29:58", Take::Blocks(vec![])),
            (NEW, 20 * PAGE, "31:00", Take::Whole),
            ("/base/5/20", 20 * PAGE, "10:00", Take::Whole),
            ("/base/6/40", 20 * PAGE, "10:00", Take::Whole),
            ("/base/5/30", 20 * PAGE, "31:00", Take::Blocks((15..20).collect())),
            ("/base/5/16385_vm", PAGE, "10:00", Take::Skip),
            ("/base/5/16385_vm", PAGE, "31:00", Take::Whole),
            ("/pg_xact/0000", PAGE, "10:00", Take::Skip),
        ] {
            assert_eq!(delta.take(&member(name, size, mtime)), expected, "{name} {size} {mtime}");
        }
    }

    #[test]
    fn a_file_of_the_parent_was_born_before_it() {
        let mut delta = delta(ChangedBlocks::PageLsns(Lsn::new(1)), FILES);
        for (born, expected) in
            [(Some("29:59.8"), true), (Some("29:59.9"), false), (Some("30:01"), false), (None, false)]
        {
            assert_eq!(delta.was_in_parent(born.map(time)), expected, "{born:?}");
        }
        delta.same_place = false;
        assert!(!delta.was_in_parent(Some(time("29:00"))));
    }

    #[test]
    fn nearly_all_is_more_than_nine_of_ten() {
        for (blocks, of, expected) in
            [(0, 1, false), (1, 1, true), (9, 10, false), (10, 10, true), (91, 100, true)]
        {
            assert_eq!(is_nearly_all(&(0..blocks).collect::<Vec<_>>(), of), expected, "{blocks} of {of}");
        }
    }
}
