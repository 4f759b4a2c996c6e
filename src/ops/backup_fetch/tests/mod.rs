//! Restores of backups made by hand: chains in wal-g's layout, tars in barman's.

mod barman;
mod chain;
mod grown;
mod old_sentinels;
mod recorded;
mod unmarked;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::layout::walg::increment::PAGE_BYTES;
use crate::layout::walg::names;
use crate::ops::{Class, Error};
use crate::storage::memory::{Fault, Memory, Operation};
use crate::storage::retry::{Retry, RetryPolicy};
use crate::storage::{ErrorKind, Key};

use super::Missing;
use chain::*;

/// A full backup and three deltas with everything that a file can go through.
fn every_case() -> Vec<Step> {
    vec![
        step(vec![
            ("base", 1, Content::Directory),
            ("base/1", 1, Content::Directory),
            ("base/9", 1, Content::Directory),
            ("base/1/grows", 1, whole(&[1, 2, 3])),
            ("base/1/shrinks", 2, whole(&[1, 2, 3, 4])),
            ("base/1/cut_and_regrown", 1, whole(&[1, 2, 3, 4])),
            ("base/1/untouched", 2, whole(&[7, 8])),
            ("base/1/replaced", 1, whole(&[1, 1])),
            ("base/1/gone", 2, whole(&[1])),
            ("base/1/emptied", 2, whole(&[1])),
            ("base/1/zeroed", 1, whole(&[1, 2])),
            ("base/1/empty", 1, whole(&[])),
            ("base/1/odd", 1, Content::Whole(vec![5; PAGE_BYTES + 100])),
        ]),
        step(vec![
            ("base", 1, Content::Directory),
            ("base/1", 1, Content::Directory),
            ("base/1/grows", 1, increment(4, &[(0, 10), (3, 13)])),
            ("base/1/shrinks", 1, increment(4, &[(1, 11), (3, 13)])),
            ("base/1/cut_and_regrown", 1, increment(4, &[(3, 13)])),
            ("base/1/untouched", 1, Content::Skipped),
            ("base/1/replaced", 2, increment(2, &[(0, 10)])),
            ("base/1/gone", 1, increment(1, &[(0, 10)])),
            ("base/1/emptied", 1, Content::Skipped),
            ("base/1/zeroed", 1, Content::Skipped),
            ("base/1/empty", 1, Content::Skipped),
            ("base/1/odd", 1, increment(1, &[])),
        ]),
        step(vec![
            ("base", 1, Content::Directory),
            ("base/1", 1, Content::Directory),
            ("base/1/grows", 1, increment(5, &[(0, 20), (4, 24)])),
            ("base/1/shrinks", 1, increment(2, &[])),
            ("base/1/cut_and_regrown", 1, increment(1, &[])),
            ("base/1/untouched", 1, Content::Skipped),
            ("base/1/replaced", 1, whole(&[20])),
            ("base/1/emptied", 1, increment(0, &[])),
            ("base/1/zeroed", 1, increment(2, &[(1, 0)])),
            ("base/1/empty", 1, Content::Skipped),
            ("base/1/odd", 1, increment(3, &[])),
        ]),
        step(vec![
            ("base", 1, Content::Directory),
            ("base/1", 1, Content::Directory),
            ("base/1/grows", 2, increment(5, &[(4, 34)])),
            ("base/1/shrinks", 1, Content::Skipped),
            ("base/1/cut_and_regrown", 1, increment(4, &[(2, 32)])),
            ("base/1/untouched", 1, Content::Skipped),
            ("base/1/replaced", 1, increment(2, &[(1, 31)])),
            ("base/1/emptied", 1, Content::Skipped),
            ("base/1/zeroed", 1, increment(2, &[])),
            ("base/1/empty", 1, Content::Skipped),
            ("base/1/odd", 1, Content::Skipped),
            ("base/1/new", 2, whole(&[30])),
        ]),
    ]
}

#[test]
fn a_chain_becomes_what_its_backups_applied_one_after_the_other_would() {
    let steps = every_case();
    for newest in 1..=steps.len() {
        let steps = &steps[..newest];
        for concurrency in 1..=8 {
            let directory = tempfile::tempdir().unwrap();
            restore_newest(&stored(steps), steps, directory.path(), concurrency).unwrap();
            assert!(restored(directory.path()) == applied(steps), "of {newest}, {concurrency} at once");
            assert_eq!(directory.path().join("base/9").exists(), newest == 1, "a database that was dropped");
        }
    }
}

#[test]
fn each_page_is_written_once() {
    let steps = every_case();
    let (directory, ctx) = (tempfile::tempdir().unwrap(), context(Arc::new(stored(&steps))));
    restore(&ctx, 3, options(directory.path(), 4)).unwrap();
    let provided = [
        5, // grows
        2, // shrinks
        2, // cut_and_regrown: two of the four pages are in no backup
        2, // untouched
        2, // replaced
        2, // zeroed
        1, // odd
        1, // new
    ];
    let snapshot = ctx.progress.snapshot();
    let label = b"label".len() as u64;
    assert_eq!(snapshot.bytes_done, provided.iter().sum::<u64>() * PAGE_BYTES as u64 + label);
    // The tar that holds nothing but a file that was replaced later is not among them.
    assert_eq!((snapshot.pieces_done, snapshot.pieces_total), (8, 8));
}

/// A file of a backup in a random chain, before it is made to fit what its parent has.
#[derive(Debug, Clone)]
struct AnyContent {
    kind: u8,
    pages: u32,
    blocks: u8,
    fill: u8,
    more_bytes: usize,
    tar: u32,
}

fn any_content() -> impl Strategy<Value = AnyContent> {
    (0..8_u8, 0..7_u32, any::<u8>(), any::<u8>(), prop_oneof![Just(0), 1..PAGE_BYTES], 1..4_u32).prop_map(
        |(kind, pages, blocks, fill, more_bytes, tar)| AnyContent {
            kind,
            pages,
            blocks,
            fill,
            more_bytes,
            tar,
        },
    )
}

const FILES: [&str; 4] = ["PG_VERSION", "base/1/1", "base/1/1.1", "pg_tblspc/16384/PG_15/1/2"];

fn any_chain() -> impl Strategy<Value = Vec<Step>> {
    let lists = prop_oneof![3 => Just(Lists::All), 1 => Just(Lists::NoTarFileSets), 1 => Just(Lists::None)];
    let backup = (lists, prop::array::uniform3(any_content()));
    prop::collection::vec(backup, 1..6).prop_map(|backups| {
        let mut present = BTreeSet::new();
        let mut steps = Vec::new();
        for (lists, contents) in backups {
            // Only a full backup is whole without any list.
            let lists = if steps.is_empty() || lists != Lists::None { lists } else { Lists::All };
            let mut files = vec![(FILES[0], 1, Content::Whole(b"15\n".to_vec()))];
            for (path, content) in FILES[1..].iter().zip(contents) {
                if let Some(made) = fitting(&content, present.contains(path)) {
                    files.push((path, content.tar, made));
                }
            }
            present = files.iter().map(|(path, _, _)| *path).collect();
            steps.push(Step { lists, files });
        }
        steps
    })
}

/// Only what is in the parent can be skipped or incremented. `None` for a file that does not exist.
fn fitting(content: &AnyContent, in_parent: bool) -> Option<Content> {
    match content.kind {
        0 => None,
        1..=3 if in_parent => {
            // Every other page is all zeros, and no less a page.
            let fills = [content.fill, 0].into_iter().cycle();
            // Some files have grown since they were found.
            let pages = (0..content.pages + u32::from(content.kind == 3) * 2).zip(fills);
            let changed = pages.filter(|(block, _)| content.blocks & (1 << block) != 0).collect();
            Some(Content::Increment(content.pages, changed))
        }
        4..=5 if in_parent => Some(Content::Skipped),
        _ => {
            let fills = (0..=u8::MAX).map(|page| page ^ content.fill);
            let size = content.pages as usize * PAGE_BYTES + content.more_bytes;
            Some(Content::Whole(fills.flat_map(|fill| [fill; PAGE_BYTES]).take(size).collect()))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_chain_becomes_what_its_backups_applied_would(steps in any_chain(), concurrency in 1..9_usize) {
        let directory = tempfile::tempdir().unwrap();
        restore_newest(&stored(&steps), &steps, directory.path(), concurrency).unwrap();
        prop_assert!(restored(directory.path()) == applied(&steps));
    }
}

/// An old wal-g has put the labels into one more part, and says so in its list.
#[test]
fn the_labels_may_be_in_a_part_like_any_other() {
    let steps = every_case();
    let (all, memory) = (stored(&steps), Memory::new());
    let list =
        |content: &[u8]| std::str::from_utf8(content).unwrap().replace("backup_label.tar", "part_003.tar");
    for key in all.keys() {
        memory.set(&key, all.content(&key).unwrap());
    }
    for step in 0..steps.len() {
        let (labels, files) = (tail(step, names::TarName::Labels), names::files_metadata_key(name(step)));
        memory.set(&tar_key(step, 3), all.content(&labels).unwrap());
        memory.set(&files, list(&all.content(&files).unwrap()));
        memory.remove(&labels);
    }
    for newest in 1..=steps.len() {
        let (steps, directory) = (&steps[..newest], tempfile::tempdir().unwrap());
        restore_newest(&memory, steps, directory.path(), 4).unwrap();
        assert!(restored(directory.path()) == applied(steps), "of {newest}");
    }
}

fn is_empty_or_absent(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none()) || !directory.exists()
}

/// Each tar of data in turn, cut at many places, while others wait for it.
#[test]
fn a_tar_that_is_cut_ends_the_restore() {
    let steps = every_case();
    let clean = stored(&steps);
    for key in [tar_key(3, 1), tar_key(3, 2), tar_key(2, 1), tar_key(1, 1), tar_key(0, 1), tar_key(0, 2)] {
        let length = clean.content(&key).unwrap().len();
        for cut in [0, 100, 512, 600, 1030, length / 2, length - 1536] {
            let memory = stored(&steps);
            memory.set(&key, clean.content(&key).unwrap().slice(..cut));
            let (directory, case) = (tempfile::tempdir().unwrap(), format!("{key} cut at {cut} of {length}"));
            let error = restore_newest(&memory, &steps, directory.path(), 1 + cut % 8).expect_err(&case);
            // Between two members, it is the list of files that tells.
            let is_found = match &error {
                Error::Content { key: found, .. } => *found == key,
                error => error.to_string().contains(&key.to_string().replace(key.file_name(), "")),
            };
            assert!(is_found, "{case}: {error}");
            assert!(is_empty_or_absent(directory.path()), "{case}");
        }
    }
}

/// Each request fails once.
#[test]
fn a_request_that_fails_ends_the_restore() {
    let steps = every_case();
    let clean = stored(&steps);
    restore_newest(&clean, &steps, tempfile::tempdir().unwrap().path(), 4).unwrap();
    for call in 1..=clean.calls(Operation::Get) {
        for fault in [Fault::Before(ErrorKind::Refused), Fault::CutBody(700)] {
            for concurrency in [1, 2, 8] {
                let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
                memory.fail(Operation::Get, call, fault);
                match restore_newest(&memory, &steps, directory.path(), concurrency) {
                    Ok(()) => assert!(restored(directory.path()) == applied(&steps)),
                    Err(error) => {
                        assert_eq!(error.class(), Class::Storage, "{call} {fault:?}: {error}");
                        assert!(is_empty_or_absent(directory.path()), "{call} {fault:?}");
                    }
                }
            }
        }
    }
}

/// The first of all tars is opened only by the second attempt: it has kept its place before those that wait for it.
#[test]
fn a_tar_that_is_opened_late_is_still_the_first() {
    let steps = every_case();
    for concurrency in [1, 2, 3] {
        let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
        for call in 0..3 {
            memory.fail(Operation::Get, first_tar(&steps) + call, Fault::Before(ErrorKind::Network));
        }
        let policy = RetryPolicy { first_backoff: Duration::from_millis(1), ..RetryPolicy::default() };
        let ctx = context(Arc::new(Retry::new(Arc::new(memory), policy)));
        restore(&ctx, 3, options(directory.path(), concurrency)).unwrap();
        assert!(restored(directory.path()) == applied(&steps));
    }
}

/// The number of the request, among all for objects, that is the first one for a tar.
fn first_tar(steps: &[Step]) -> u32 {
    let clean = stored(steps);
    let ctx = context(Arc::new(clean.clone()));
    let directory = tempfile::tempdir().unwrap();
    restore(&ctx, steps.len() - 1, options(directory.path(), 4)).unwrap();
    clean.calls(Operation::Get) - u32::try_from(ctx.progress.snapshot().pieces_total).unwrap() + 1
}

/// The newest tar never comes, and all others wait for it.
#[test]
fn a_cancelled_restore_waits_for_nobody() {
    let steps = every_case();
    let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
    let hanging = first_tar(&steps);
    memory.fail(Operation::Get, hanging, Fault::Hang);
    let ctx = context(Arc::new(memory.clone()));
    let cancelled = std::thread::spawn({
        let cancel = ctx.cancel.clone();
        move || {
            while memory.calls(Operation::Get) < hanging + 5 {
                std::thread::sleep(Duration::from_millis(1));
            }
            cancel.cancel();
        }
    });
    let outcome = restore(&ctx, 3, options(directory.path(), 8));
    cancelled.join().unwrap();
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    assert!(is_empty_or_absent(directory.path()));
}

fn missing(outcome: Result<(), Error>) -> Vec<Missing> {
    match outcome {
        Err(Error::Incomplete(incomplete)) => incomplete.missing,
        other => panic!("{other:?}"),
    }
}

/// Without the sets of wal-g only the tars themselves tell what they hold: older holders of the file wait meanwhile.
#[test]
fn a_file_that_no_tar_holds_after_all_ends_the_restore() {
    for concurrency in [1, 2, 8] {
        let full = step(vec![("base/1/1", 1, whole(&[1, 2]))]);
        let mut delta = step(vec![
            ("PG_VERSION", 1, Content::Whole(b"15\n".to_vec())),
            ("base/1/1", 2, increment(2, &[(1, 11)])),
        ]);
        delta.lists = Lists::NoTarFileSets;
        let steps = [full, delta];
        let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
        // Its second tar holds something else.
        memory.set(&tar_key(1, 2), memory.content(&tar_key(1, 1)).unwrap());
        let held = Missing::Held { folder: names::tars_prefix(name(1)), files: vec!["base/1/1".to_owned()] };
        assert_eq!(missing(restore_newest(&memory, &steps, directory.path(), concurrency)), [held]);
        assert!(is_empty_or_absent(directory.path()));
    }
}

#[test]
fn what_is_not_an_increment_of_a_file_ends_the_restore() {
    let full = step(vec![("base/1/1", 1, whole(&[1, 2]))]);
    for (content, says) in [
        (Content::Directory, "something else where the backup's list of files has a file"),
        (whole(&[1, 2]), "not an increment"),
    ] {
        let delta = |content| step(vec![("base/1/1", 1, content)]);
        let steps = [full.clone(), delta(increment(2, &[(0, 3)]))];
        let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
        let other = stored(&[full.clone(), delta(content)]);
        memory.set(&tar_key(1, 1), other.content(&tar_key(1, 1)).unwrap());
        let error = restore_newest(&memory, &steps, directory.path(), 2).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(is_empty_or_absent(directory.path()));
    }
    // And the other way round, below the increments and by itself.
    for newest in [increment(2, &[(0, 3)]), Content::Skipped] {
        let steps = [full.clone(), step(vec![("base/1/1", 1, newest)])];
        let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
        let other = stored(&[step(vec![("base/1/1", 1, increment(2, &[]))])]);
        memory.set(&tar_key(0, 1), other.content(&tar_key(0, 1)).unwrap());
        let error = restore_newest(&memory, &steps, directory.path(), 2).unwrap_err();
        assert!(error.to_string().contains("an increment where"), "{error}");
        assert!(is_empty_or_absent(directory.path()));
    }
}

#[test]
fn a_file_that_a_backup_has_twice_ends_the_restore() {
    let steps = [
        step(vec![("base/1/1", 1, whole(&[1, 2]))]),
        step(vec![("base/1/1", 1, increment(2, &[(0, 3)])), ("base/1/1", 2, increment(2, &[(1, 4)]))]),
    ];
    let directory = tempfile::tempdir().unwrap();
    let error = restore_newest(&stored(&steps), &steps, directory.path(), 1).unwrap_err();
    assert!(error.to_string().contains("another member"), "{error}");
    assert!(is_empty_or_absent(directory.path()));
}

/// Restores a chain without these objects; it has to be refused before anything is read or written of it.
#[track_caller]
fn refused(steps: &[Step], lost: &[Key]) -> Vec<Missing> {
    let (all, memory) = (stored(steps), Memory::new());
    for key in all.keys().iter().filter(|key| !lost.contains(key)) {
        memory.set(key, all.content(key).unwrap());
    }
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("data");
    let ctx = context(Arc::new(memory));
    let outcome = restore(&ctx, steps.len() - 1, options(&target, 4));
    assert_eq!(ctx.progress.snapshot().bytes_stored, 0);
    assert!(!target.exists());
    if let Err(error) = &outcome {
        assert_eq!(error.class(), Class::Integrity);
        assert!(error.hint().is_some());
    }
    missing(outcome)
}

fn tail(step: usize, tar: names::TarName) -> Key {
    names::tar_key(name(step), tar, crate::codec::Method::None)
}

fn tar(step: usize, file: &str) -> Missing {
    Missing::Tar { folder: names::tars_prefix(name(step)), name: file.to_owned() }
}

#[test]
fn all_that_is_missing_is_said_at_once() {
    let steps = every_case();
    let lost = [
        tar_key(3, 2),
        tail(3, names::TarName::Control),
        tail(3, names::TarName::Labels),
        tar_key(1, 1),
        tar_key(0, 2),
    ];
    assert_eq!(
        refused(&steps, &lost),
        [
            tar(3, "backup_label.tar"),
            tar(3, "part_002.tar"),
            Missing::ControlTar(names::tars_prefix(name(3))),
            tar(1, "part_001.tar"),
            tar(0, "part_002.tar")
        ]
    );

    // A list in the middle: what is needed of the older ones cannot be told, so all of theirs counts.
    let lost = [names::files_metadata_key(name(2)), tar_key(1, 2), tar_key(0, 1)];
    assert_eq!(
        refused(&steps, &lost),
        [Missing::List(names::files_metadata_key(name(2))), tar(1, "part_002.tar"), tar(0, "part_001.tar")]
    );

    // A parent, and the full backup behind it.
    let lost = [tar_key(3, 1), names::sentinel_key(name(1)), names::sentinel_key(name(0))];
    assert_eq!(
        refused(&steps, &lost),
        [
            tar(3, "part_001.tar"),
            Missing::Parent(names::sentinel_key(name(1))),
            Missing::Parent(names::sentinel_key(name(0)))
        ]
    );
    assert_eq!(
        refused(&steps, &[names::sentinel_key(name(0))]),
        [Missing::Parent(names::sentinel_key(name(0)))]
    );
}

#[test]
fn files_that_no_backup_has_are_named() {
    let mut steps = every_case();
    steps[1].files.retain(|(path, _, _)| !path.ends_with("untouched") && !path.ends_with("odd"));
    let files = vec!["base/1/odd".to_owned(), "base/1/untouched".to_owned()];
    assert_eq!(
        refused(&steps, &[]),
        [Missing::Listed { list: names::files_metadata_key(name(1)), files: files.clone() }]
    );

    for lists in [Lists::All, Lists::NoTarFileSets] {
        let mut steps = every_case();
        steps[0].lists = lists;
        steps[0].files.retain(|(path, _, _)| !path.ends_with("untouched") && !path.ends_with("odd"));
        assert_eq!(
            refused(&steps, &[]),
            [Missing::Held { folder: names::tars_prefix(name(0)), files: files.clone() }]
        );
    }

    // No list says which tars there should be; but some there should.
    let mut steps = every_case();
    steps.truncate(2);
    steps[1].lists = Lists::NoTarFileSets;
    let files = ["base", "base/1", "base/1/cut_and_regrown", "base/1/gone", "base/1/grows", "base/1/odd"];
    let more = ["base/1/replaced", "base/1/shrinks"];
    let files = files.iter().chain(&more).map(|file| (*file).to_owned()).collect();
    assert_eq!(
        refused(&steps, &[tar_key(1, 1), tar_key(1, 2)]),
        [Missing::Held { folder: names::tars_prefix(name(1)), files }]
    );
}

/// Every tar is there and ends as it should; one of a full backup is not the one that was stored.
#[test]
fn a_full_backup_holds_what_it_lists() {
    let page = || whole(&[1]);
    let version = || Content::Whole(b"15\n".to_vec());
    let files =
        || vec![("PG_VERSION", 1, version()), ("base", 1, Content::Directory), ("base/1/1", 2, page())];
    for (lists, lost, files_lost) in [
        (Lists::All, 1, &["PG_VERSION", "base"][..]),
        (Lists::NoTarFileSets, 2, &["base/1/1"]),
        (Lists::None, 1, &["PG_VERSION"]),
    ] {
        let steps = [Step { lists, files: files() }];
        let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
        let other = stored(&[step(vec![("other", 1, page())])]);
        restore_newest(&memory, &steps, directory.path(), 2).unwrap();
        memory.set(&tar_key(0, lost), other.content(&tar_key(0, 1)).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let files = files_lost.iter().map(|file| (*file).to_owned()).collect();
        let held = Missing::Held { folder: names::tars_prefix(name(0)), files };
        assert_eq!(missing(restore_newest(&memory, &steps, directory.path(), 2)), [held]);
        assert!(is_empty_or_absent(directory.path()));
    }
}

#[test]
fn a_delta_with_an_empty_list_is_refused() {
    let steps = every_case();
    let (memory, directory) = (stored(&steps), tempfile::tempdir().unwrap());
    memory.set(&names::files_metadata_key(name(2)), "{}");
    let refused = missing(restore_newest(&memory, &steps, directory.path(), 4));
    assert_eq!(refused, [Missing::Entries(names::files_metadata_key(name(2)))]);
    assert!(is_empty_or_absent(directory.path()));
}

#[test]
fn tars_with_nothing_wanted_are_not_needed() {
    let mut steps = every_case();
    // Of the full backup only the first tar is left over.
    steps.push(step(vec![("base/1/odd", 1, Content::Skipped), ("base/1/replaced", 1, whole(&[40]))]));
    let (all, memory) = (stored(&steps), Memory::new());
    let lost = [tar_key(0, 2), tar_key(1, 2), tar_key(3, 1), tar_key(3, 2), tail(0, names::TarName::Labels)];
    for key in all.keys().iter().filter(|key| !lost.contains(key)) {
        memory.set(key, all.content(key).unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    restore_newest(&memory, &steps, directory.path(), 4).unwrap();
    assert!(restored(directory.path()) == applied(&steps));
}
