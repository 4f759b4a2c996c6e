//! What lies below a directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The files below a directory, links followed, by their names in it.
pub fn paths_below(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), path);
            }
        }
    }
    files
}

/// The same with their content.
pub fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    paths_below(root).into_iter().map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}
