//! Restores of tars that lack the mark of their end, as the last ones of wal-g's remote backups do.

use std::io::Write;

use super::*;
use crate::codec::{Cipher, Compression, KeyRing, KeySource, KeyTransform, Method, encode};
use crate::layout::walg::names::TarName;
use crate::ops::Context;

/// What a tar ends with: 1024 zero bytes.
const MARK_BYTES: usize = 1024;

/// The same objects, with each tar of data cut by so many bytes.
fn cut_by(memory: &Memory, bytes: usize) -> Memory {
    let cut = Memory::new();
    for key in memory.keys() {
        let content = memory.content(&key).unwrap();
        let is_data = key.file_name().starts_with("part_");
        cut.set(&key, content.slice(..content.len() - if is_data { bytes } else { 0 }));
    }
    cut
}

#[test]
fn where_a_list_names_every_file_no_mark_is_needed() {
    for lists in [Lists::All, Lists::NoTarFileSets] {
        let mut steps = every_case();
        steps.iter_mut().for_each(|step| step.lists = lists);
        for lost in [1, 512, MARK_BYTES] {
            let (memory, directory) = (cut_by(&stored(&steps), lost), tempfile::tempdir().unwrap());
            restore_newest(&memory, &steps, directory.path(), 4).unwrap();
            assert!(restored(directory.path()) == applied(&steps), "{lists:?}, {lost}");
        }
    }
}

/// A full backup whose files are nowhere listed.
fn unlisted() -> [Step; 1] {
    let files = vec![
        ("PG_VERSION", 1, Content::Whole(b"15\n".to_vec())),
        ("base/1/1", 1, whole(&[1, 2])),
        ("base/1/2", 1, whole(&[3])),
    ];
    [Step { lists: Lists::None, files }]
}

#[test]
fn where_nothing_tells_the_mark_is_needed() {
    let steps = unlisted();
    let whole = stored(&steps);
    let last_member = MARK_BYTES + 512 + PAGE_BYTES;
    for lost in [1, MARK_BYTES, last_member] {
        let (memory, directory) = (cut_by(&whole, lost), tempfile::tempdir().unwrap());
        let error = restore_newest(&memory, &steps, directory.path(), 2).unwrap_err();
        assert!(error.to_string().ends_with("the tar has no end, it was cut short"), "{lost}: {error}");
        assert_eq!(error.class(), Class::Integrity);
        assert!(is_empty_or_absent(directory.path()));

        // What is recorded of the object tells that nothing is missing but the mark.
        if lost <= MARK_BYTES {
            record(&memory, &steps);
            restore_newest(&memory, &steps, directory.path(), 2).unwrap();
            assert!(restored(directory.path()) == applied(&steps), "{lost}");
        }
    }
}

/// The same tars, compressed and encrypted.
fn packed(memory: &Memory, compression: Compression, cipher: &Cipher) -> Memory {
    let packed = Memory::new();
    for key in memory.keys() {
        let content = memory.content(&key).unwrap();
        let tar = match key.file_name() {
            "part_001.tar" => TarName::Part(1),
            "pg_control.tar" => TarName::Control,
            "backup_label.tar" => TarName::Labels,
            _ => {
                packed.set(&key, content);
                continue;
            }
        };
        let mut encoder = encode(Vec::new(), compression, cipher).unwrap();
        encoder.write_all(&content).unwrap();
        packed.set(&names::tar_key(name(0), tar, compression.method()), encoder.finish().unwrap());
    }
    packed
}

#[test]
fn a_compression_or_a_cipher_that_has_an_end_tells() {
    let steps = unlisted();
    let unmarked = cut_by(&stored(&steps), MARK_BYTES);
    let keys = KeyRing::parse(b"0123456789abcdefghijklmnopqrstuv", KeyTransform::None, KeySource::Inline);
    let keys = Cipher::Sodium(keys.unwrap());
    for (compression, cipher, tells) in [
        (Compression::parse("lz4", None).unwrap(), Cipher::None, true),
        (Compression::None, keys, true),
        (Compression::None, Cipher::None, false),
    ] {
        let restore_from = |memory: Memory, target: &Path| {
            let ctx = Context { cipher: cipher.clone(), ..context(Arc::new(memory)) };
            restore(&ctx, 0, options(target, 2))
        };
        let (memory, directory) = (packed(&unmarked, compression, &cipher), tempfile::tempdir().unwrap());
        let outcome = restore_from(memory.clone(), directory.path());
        assert_eq!(outcome.is_ok(), tells, "{compression:?}: {outcome:?}");
        if tells {
            assert!(restored(directory.path()) == applied(&steps), "{compression:?}");
            let directory = tempfile::tempdir().unwrap();
            let cut = cut_by(&memory, 1);
            assert_eq!(restore_from(cut, directory.path()).unwrap_err().class(), Class::Integrity);
            assert!(is_empty_or_absent(directory.path()));
        }
    }
    assert!(Method::ALL.iter().filter(|method| !method.has_end()).eq(&[Method::Snappy, Method::None]));
}
