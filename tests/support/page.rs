//! The blocks of a page that tests run as they stand there.

use std::collections::BTreeMap;
use std::path::Path;

/// The blocks of a page of this project by name, which is the second word behind the fence (```` ```sh restore ````). Every
/// block of such a page has one.
pub fn blocks(page: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let mut blocks = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    // one in a list is indented
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                let name = info.split_whitespace().nth(1);
                let name = name.unwrap_or_else(|| panic!("a block of {page} has no name: ```{info}"));
                open = Some((name.to_owned(), String::new()));
            }
            (Some(_), Some((name, text))) => assert!(blocks.insert(name, text).is_none()),
            (None, Some((name, text))) => open = Some((name, text + line + "\n")),
            (None, None) => {}
        }
    }
    blocks
}
