//! Restores of backups of wal-g before 2.0: the list of files is in the sentinel, and the origin's LSN has another name.

use serde_json::{Map, Value};

use super::*;

/// The same backups as wal-g wrote them then.
fn as_before(memory: &Memory, steps: &[Step]) -> Memory {
    let lists: Vec<Key> = (0..steps.len()).map(|step| names::files_metadata_key(name(step))).collect();
    let old = Memory::new();
    for key in memory.keys().iter().filter(|key| !lists.contains(key)) {
        old.set(key, memory.content(key).unwrap());
    }
    for (step, list) in lists.iter().enumerate() {
        let sentinel = names::sentinel_key(name(step));
        let mut fields = fields_of(memory, &sentinel);
        fields.remove("Version");
        if let Some(lsn) = fields.remove("DeltaLSN") {
            fields.insert("DeltaFromLSN".to_owned(), lsn);
        }
        fields.extend(fields_of(memory, list));
        old.set(&sentinel, Value::Object(fields).to_string());
    }
    old
}

fn fields_of(memory: &Memory, document: &Key) -> Map<String, Value> {
    serde_json::from_slice(&memory.content(document).unwrap()).unwrap()
}

#[test]
fn the_list_in_the_sentinel_is_as_good() {
    for lists in [Lists::All, Lists::NoTarFileSets] {
        let mut steps = every_case();
        steps.iter_mut().for_each(|step| step.lists = lists);
        let memory = as_before(&stored(&steps), &steps);
        for newest in 1..=steps.len() {
            let (steps, directory) = (&steps[..newest], tempfile::tempdir().unwrap());
            restore_newest(&memory, steps, directory.path(), 4).unwrap();
            assert!(restored(directory.path()) == applied(steps), "{lists:?}, of {newest}");
        }
        // As good also to tell that something is lost.
        let last = cut_by_a_member(&memory, &tar_key(3, 2));
        let directory = tempfile::tempdir().unwrap();
        let error = restore_newest(&last, &steps, directory.path(), 2).unwrap_err();
        assert!(error.to_string().contains("base/1/new"), "{error}");
        assert!(is_empty_or_absent(directory.path()));
    }
}

/// Without the last member of a tar, which has one page, and without the mark of its end.
fn cut_by_a_member(memory: &Memory, tar: &Key) -> Memory {
    let (cut, content) = (Memory::new(), memory.content(tar).unwrap());
    for key in memory.keys() {
        cut.set(&key, memory.content(&key).unwrap());
    }
    cut.set(tar, content.slice(..content.len() - 1024 - 512 - PAGE_BYTES));
    cut
}

#[test]
fn the_document_counts_where_there_is_one() {
    let steps = every_case();
    let (new, old) = (stored(&steps), as_before(&stored(&steps), &steps));
    for step in 0..steps.len() {
        // What the sentinel of such a backup lists is not looked at.
        let key = names::sentinel_key(name(step));
        let mut sentinel = fields_of(&old, &key);
        sentinel.insert("Files".to_owned(), serde_json::json!({"/other": {}}));
        new.set(&key, Value::Object(sentinel).to_string());
    }
    let directory = tempfile::tempdir().unwrap();
    restore_newest(&new, &steps, directory.path(), 4).unwrap();
    assert!(restored(directory.path()) == applied(&steps));
}

#[test]
fn a_delta_without_either_list_is_refused() {
    let steps = every_case();
    let memory = as_before(&stored(&steps), &steps);
    let key = names::sentinel_key(name(2));
    let mut sentinel = fields_of(&memory, &key);
    sentinel.insert("Files".to_owned(), serde_json::json!({}));
    memory.set(&key, Value::Object(sentinel).to_string());
    let directory = tempfile::tempdir().unwrap();
    let refused = missing(restore_newest(&memory, &steps, directory.path(), 4));
    assert_eq!(refused[0], Missing::List(names::files_metadata_key(name(2))));
    assert!(is_empty_or_absent(directory.path()));
}
