//! Two data directories, page by page.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: usize = 8192;

/// Panics unless both directories have the same relation files, of the same length, with the same pages.
///
/// `later` was copied after `earlier`: its pages with an LSN past `since`, where the earlier backup began, may differ.
/// Unlogged relations and free space maps are not looked at, they are not in WAL.
pub fn compare(earlier: &Path, later: &Path, since: u64) {
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
            assert!(
                differs == 0 || lsn(other) > since || is_hints_only(block, other),
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

/// The files of logged relations by their names below the directory, main forks and visibility maps.
fn relation_files(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for place in ["base", "pg_tblspc"] {
        collect(&root.join(place), place, &mut files);
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

fn collect(dir: &Path, name: &str, files: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &name, files);
        } else {
            files.insert(name, path);
        }
    }
}
