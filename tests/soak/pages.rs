//! Two data directories, page by page.
//!
//! What backends learn of rows from the commit log they note in the page: in heaps whether the transactions of a row
//! committed, and what they would have pruned; in indexes that an entry is dead. With checksums or `wal_log_hints` the
//! first such note after a checkpoint writes WAL. Without, it is in no WAL and gives no new LSN, so a delta may have the
//! page without it, and loses nothing: it is learned again. The marks of pages as all-visible are no such notes, though
//! the page gets no new LSN with them there either: the visibility map relies on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::paths_below;

const PAGE: usize = 8192;

/// What a page may differ in without WAL.
#[derive(Clone, Copy, PartialEq)]
pub enum Unlogged {
    /// In nothing.
    Nothing,
    /// In hints.
    Hints,
}

/// Panics unless both directories have the same relation files, of the same length, with the same pages.
///
/// `later` was copied after `earlier`: its pages with an LSN past `since`, where the earlier backup began, may differ.
/// Unlogged relations and free space maps are not looked at, they are not in WAL.
pub fn compare(earlier: &Path, later: &Path, since: u64, unlogged: Unlogged) {
    let (ours, theirs) = (relation_files(earlier), relation_files(later));
    let names = |files: &BTreeMap<String, PathBuf>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    let mut compared = 0;
    for (name, path) in &ours {
        let (one, other) = (fs::read(path).unwrap(), fs::read(&theirs[name]).unwrap());
        assert_eq!(one.len(), other.len(), "{name}");
        for (block, (one, other)) in one.chunks(PAGE).zip(other.chunks(PAGE)).enumerate() {
            compared += 1;
            let differs = one.iter().zip(other).filter(|(one, other)| one != other).count();
            let is_hint = |one: &[u8], other| {
                let is_map = name.ends_with("_vm");
                unlogged == Unlogged::Hints && !is_map && without_hints(one) == without_hints(other)
            };
            assert!(
                differs == 0 || lsn(other) > since || is_hints_only(block, other) || is_hint(one, other),
                "{name}, block {block}: {differs} bytes differ, LSN {:X} of the delta, {:X} of the full backup",
                lsn(one),
                lsn(other)
            );
        }
    }
    assert!(compared > 100, "only {compared} pages");
}

/// Whether a page is the first of an SP-GiST index, which remembers pages with free space without writing WAL
/// (`SpGistUpdateMetaPage`, `access/spgist/spgutils.c`; `SPGIST_PAGE_ID`).
fn is_hints_only(block: usize, page: &[u8]) -> bool {
    block == 0 && page.ends_with(&[0x82, 0xFF])
}

fn lsn(page: &[u8]) -> u64 {
    let half = |at: usize| u64::from(u32::from_le_bytes(page[at..at + 4].try_into().unwrap()));
    half(0) << 32 | half(4)
}

/// A page with all hints cleared (`storage/bufpage.h`, `storage/itemid.h`, `access/htup_details.h`, `access/nbtree.h`,
/// `access/hash.h`, `access/gist.h`).
fn without_hints(page: &[u8]) -> Vec<u8> {
    let number = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let mut page_of = page.to_vec();
    let mut clear = |at: usize, bits: u16| {
        let [low, high] = (u16::from_le_bytes([page[at], page[at + 1]]) & !bits).to_le_bytes();
        (page_of[at], page_of[at + 1]) = (low, high);
    };
    let (lower, special) = (usize::from(number(12)), usize::from(number(16)));
    let items = (24..lower.max(24)).step_by(4);
    if special == PAGE {
        // A heap: PD_HAS_FREE_LINES and PD_PAGE_FULL, pd_prune_xid, and in t_infomask the four bits that say whether xmin
        // and xmax committed.
        clear(10, 0x0003);
        clear(20, 0xFFFF);
        clear(22, 0xFFFF);
        for item in items {
            let (offset, state) =
                (usize::from(number(item) & 0x7FFF), number(item) >> 15 | number(item + 2) << 1 & 2);
            if state == LP_NORMAL {
                clear(offset + 20, 0x0F00);
            }
        }
    } else if special == PAGE - 16 {
        // An index of whose special space the last two words are flags and the kind. In a B-tree's place of the kind is
        // the number of the last VACUUM to split it, a smaller number than every kind.
        let (flags, kind) = (number(special + 12), number(special + 14));
        let (garbage, has_items) = match kind {
            HASH => (0x0080, flags & 0x0003 != 0),
            GIST => (0x0010, flags & 0x0001 != 0),
            _ => (0x0040, flags & 0x0001 != 0),
        };
        clear(special + 12, garbage);
        if kind < HASH {
            clear(special + 14, 0xFFFF);
        }
        // Between LP_NORMAL and LP_DEAD lies the higher bit of the state.
        items.filter(|_| has_items).for_each(|item| clear(item + 2, 0x0001));
    }
    page_of
}

/// The state of an item with a row.
const LP_NORMAL: u16 = 1;

/// `HASHO_PAGE_ID`.
const HASH: u16 = 0xFF80;

/// `GIST_PAGE_ID`.
const GIST: u16 = 0xFF81;

/// The files of logged relations by their names below the directory, main forks and visibility maps.
fn relation_files(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for place in ["base", "pg_tblspc"] {
        let found = paths_below(&root.join(place)).into_iter();
        files.extend(found.map(|(name, path)| (format!("{place}/{name}"), path)));
    }
    let unlogged: Vec<String> =
        files.keys().filter_map(|name| name.strip_suffix("_init")).map(str::to_owned).collect();
    let is_of = |name: &str, relation: &str| {
        name.strip_prefix(relation).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '_']))
    };
    files.retain(|name, path| {
        let file = name.rsplit('/').next().unwrap();
        let is_looked_at =
            file.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') || file.ends_with("_vm");
        // A dropped relation's first file stays, empty, until the next checkpoint.
        let is_empty = fs::metadata(path).unwrap().len() == 0;
        is_looked_at && !is_empty && !unlogged.iter().any(|relation| is_of(name, relation))
    });
    files
}
