//! Restores of backups that say what their objects are.

use super::*;
use crate::checksum::Checksum;

/// A chain with a record of each backup.
fn recorded(steps: &[Step]) -> Memory {
    let memory = stored(steps);
    record(&memory, steps);
    memory
}

#[test]
fn what_is_as_it_was_stored_is_restored() {
    let steps = every_case();
    let directory = tempfile::tempdir().unwrap();
    restore_newest(&recorded(&steps), &steps, directory.path(), 4).unwrap();
    assert!(restored(directory.path()) == applied(&steps));
}

/// One bit of each tar, at many places: in content, in headers, in the padding that no reader of tars looks at.
#[test]
fn a_bit_that_changed_ends_the_restore() {
    let steps = every_case();
    let memory = recorded(&steps);
    for key in
        [tar_key(3, 1), tar_key(0, 2), tail(3, names::TarName::Control), tail(3, names::TarName::Labels)]
    {
        let clean = memory.content(&key).unwrap();
        for at in [0, 100, 140, 512, 519, 600, clean.len() / 2, clean.len() - 600, clean.len() - 1] {
            let mut spoiled = clean.to_vec();
            spoiled[at] ^= 1;
            let (recorded, found) = (Checksum::of(&clean), Checksum::of(&spoiled));
            memory.set(&key, spoiled);
            let (directory, case) = (tempfile::tempdir().unwrap(), format!("{key} at {at}"));
            let error = restore_newest(&memory, &steps, directory.path(), 1 + at % 8).expect_err(&case);
            assert_eq!(error.class(), Class::Integrity, "{case}");
            assert_eq!(
                error.to_string(),
                format!("cannot read the content of `{key}`: it has {found}, and {recorded} were stored")
            );
            assert!(error.hint().unwrap().contains("spoiled"), "{case}");
            assert!(is_empty_or_absent(directory.path()), "{case}");
        }
        memory.set(&key, clean);
    }
}

/// Sizes are compared before anything is written, and all that is wrong is said at once.
#[test]
fn tars_of_another_size_are_refused_before_the_first_byte() {
    let mut steps = every_case();
    // No list of files tells that a tar of the full backup is gone; the record does.
    steps[0].lists = Lists::None;
    let (all, memory) = (recorded(&steps), Memory::new());
    let lost = [tar_key(0, 1), tail(3, names::TarName::Control), tail(2, names::TarName::Labels)];
    for key in all.keys().iter().filter(|key| !lost.contains(key)) {
        memory.set(key, all.content(key).unwrap());
    }
    let resized = |step, number, change: i64| {
        let key = tar_key(step, number);
        let whole = all.content(&key).unwrap();
        let size = whole.len().checked_add_signed(isize::try_from(change).unwrap()).unwrap();
        let mut other = whole.to_vec();
        other.resize(size, 0);
        memory.set(&key, other);
        Missing::Resized {
            folder: names::tars_prefix(name(step)),
            name: key.file_name().to_owned(),
            recorded: whole.len() as u64,
            found: size as u64,
        }
    };
    let (longer, shorter) = (resized(3, 1, 512), resized(1, 1, -1));
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("data");
    let ctx = context(Arc::new(memory));
    let outcome = restore(&ctx, 3, options(&target, 4));
    assert!(!target.exists());
    assert_eq!(ctx.progress.snapshot().bytes_stored, 0);
    assert_eq!(missing(outcome), [longer, tar(3, "pg_control.tar"), shorter, tar(0, "part_001.tar")]);
}

#[test]
fn a_tar_that_was_not_stored_with_the_backup_is_left_out() {
    let steps = every_case();
    let memory = recorded(&steps);
    let other = stored(&[step(vec![("base/1/stranger", 1, whole(&[1]))])]);
    memory.set(&tar_key(3, 7), other.content(&tar_key(0, 1)).unwrap());
    let directory = tempfile::tempdir().unwrap();
    restore_newest(&memory, &steps, directory.path(), 4).unwrap();
    assert!(restored(directory.path()) == applied(&steps));
}

#[test]
fn a_list_of_files_that_changed_is_not_believed() {
    let steps = every_case();
    for (number, key) in (0..4).map(|number| (number, names::files_metadata_key(name(number)))) {
        let memory = recorded(&steps);
        let mut list = memory.content(&key).unwrap().to_vec();
        list.push(b' ');
        memory.set(&key, list);
        let directory = tempfile::tempdir().unwrap();
        let error = restore_newest(&memory, &steps, directory.path(), 4).unwrap_err();
        assert_eq!(error.class(), Class::Integrity, "{number}");
        assert!(error.to_string().starts_with(&format!("cannot use `{key}`: it has ")), "{error}");
        assert!(is_empty_or_absent(directory.path()));
    }
}

#[test]
fn a_record_that_cannot_be_read_ends_the_restore() {
    let steps = every_case();
    let memory = recorded(&steps);
    memory.set(&names::checksums_key(name(1)), "{\"Objects\":");
    let directory = tempfile::tempdir().unwrap();
    let error = restore_newest(&memory, &steps, directory.path(), 4).unwrap_err();
    assert_eq!(error.class(), Class::Integrity);
    assert!(error.to_string().contains("checksums.json"), "{error}");
    assert!(error.hint().unwrap().contains("without this object"));
}

/// wal-g may take a backup under the same name, and leaves the record of the one before.
#[test]
fn the_record_of_a_backup_that_was_replaced_is_not_used() {
    let steps = every_case();
    let memory = recorded(&steps);
    let record = names::checksums_key(name(0));
    let mut sums: serde_json::Value = serde_json::from_slice(&memory.content(&record).unwrap()).unwrap();
    let objects = sums["Objects"].as_object_mut().unwrap();
    let tars: u64 = objects
        .iter_mut()
        .filter(|(object, _)| object.starts_with("tar_partitions/"))
        .map(|(_, of)| {
            of["SHA256"] = "00".repeat(32).into();
            of["Size"].as_u64().unwrap()
        })
        .sum();
    memory.set(&record, sums.to_string());
    let sentinel = names::sentinel_key(name(0));
    let clean: serde_json::Value = serde_json::from_slice(&memory.content(&sentinel).unwrap()).unwrap();
    for (stored, is_used) in [(tars, true), (tars + 1, false)] {
        let mut changed = clean.clone();
        changed["CompressedSize"] = stored.into();
        memory.set(&sentinel, changed.to_string());
        let directory = tempfile::tempdir().unwrap();
        let outcome = restore_newest(&memory, &steps, directory.path(), 4);
        assert_eq!(outcome.is_err(), is_used, "{outcome:?}");
        assert!(is_used || restored(directory.path()) == applied(&steps));
    }
}
