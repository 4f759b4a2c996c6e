//! Restores of relations that grew while wal-g took a delta: its increments have pages beyond the size that they say.

use super::*;

/// A size in pages, and the pages that there are, each with the byte that fills it.
type Increment<'a> = (u32, &'a [(u32, u8)]);

/// A full backup of three pages, then increments.
fn chain(increments: &[Increment<'_>]) -> Vec<Step> {
    let mut steps = vec![step(vec![("base/1/1", 1, whole(&[1, 2, 3]))])];
    steps.extend(
        increments.iter().map(|(pages, changed)| step(vec![("base/1/1", 1, increment(*pages, changed))])),
    );
    steps
}

/// The byte that each page is filled with.
fn pages_of(files: &Files) -> Vec<u8> {
    files["base/1/1"].1.chunks(PAGE_BYTES).map(|page| page[0]).collect()
}

#[test]
fn a_file_is_as_long_as_the_newest_increment_has_pages() {
    let cases: [(&str, &[Increment<'_>], &[u8]); 7] = [
        ("the newest grew", &[(3, &[(1, 12), (3, 13), (4, 14)])], &[1, 12, 3, 13, 14]),
        ("it has nothing else", &[(3, &[(3, 13)])], &[1, 2, 3, 13]),
        ("with a gap", &[(3, &[(5, 15)])], &[1, 2, 3, 0, 0, 15]),
        ("it was shorter than before", &[(1, &[(2, 12)])], &[1, 0, 12]),
        ("an older one grew", &[(3, &[(3, 13), (4, 14)]), (6, &[(4, 24)])], &[1, 2, 3, 13, 24, 0]),
        ("and was cut then", &[(3, &[(3, 13), (4, 14)]), (4, &[(0, 20)])], &[20, 2, 3, 13]),
        ("both grew", &[(3, &[(3, 13), (4, 14)]), (4, &[(4, 24), (5, 25)])], &[1, 2, 3, 13, 24, 25]),
    ];
    for (case, increments, expected) in cases {
        let steps = chain(increments);
        for concurrency in 1..=4 {
            let directory = tempfile::tempdir().unwrap();
            restore_newest(&stored(&steps), &steps, directory.path(), concurrency).unwrap();
            let found = restored(directory.path());
            assert_eq!(pages_of(&found), expected, "{case}");
            assert!(found == applied(&steps), "{case}");
        }
    }
}
