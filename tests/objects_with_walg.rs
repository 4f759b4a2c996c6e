//! Single objects, in both directions between us and the real wal-g: every compression, every key form.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};

use seawall::codec::{Cipher, Compression, KeyRing, KeySource, KeyTransform, decode, encode};
use support::{Scratch, Tool};

const SEGMENT: &str = "000000010000000000000001";

const METHODS: [&str; 5] = ["lz4", "zstd", "brotli", "lzma", "none"];

/// Text and transform; the one of 26 bytes is filled up, the one of 40 cut.
const KEYS: [(&str, &str); 5] = [
    ("", "none"),
    ("0123456789abcdefghijklmnop", "none"),
    ("0123456789abcdefghijklmnopqrstuvwxyz0123", "none"),
    ("a7uD4GMJ1WLC0PoyiXa7hLx6egf3Ax3eEzzwaHd7yOU=", "base64"),
    ("9fa3f4735751ed402fde18c8ebdfcae4803cdde267b816ec078b0dad5dccd002", "hex"),
];

/// Where chunks of the cipher and blocks of lz4 end.
const SIZES: [usize; 6] = [1, 8191, 8192, 3 * 8192 + 5, 4 << 20, (4 << 20) + 1];

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| u8::try_from(((i * i) >> 7) % 251).unwrap()).collect()
}

fn cipher(text: &str, transform: &str) -> Cipher {
    match text {
        "" => Cipher::None,
        text => {
            let transform = KeyTransform::parse(transform).unwrap();
            Cipher::Sodium(KeyRing::parse(text.as_bytes(), transform, KeySource::Inline).unwrap())
        }
    }
}

/// Calls `each` for every method and key, with wal-g set up for them.
fn for_each_setting(walg: &Tool, mut each: impl FnMut(&Tool, Compression, &Cipher, &str)) {
    for method in METHODS {
        // How a key is spelled has nothing to do with the compression: all spellings with one method will do.
        let keys = if method == "lz4" { &KEYS[..] } else { &KEYS[..2] };
        for &(text, transform) in keys {
            let mut walg = walg.clone().with("WALG_COMPRESSION_METHOD", method);
            if !text.is_empty() {
                walg = walg.with("WALG_LIBSODIUM_KEY", text).with("WALG_LIBSODIUM_KEY_TRANSFORM", transform);
            }
            let case = format!("{method}, key '{text}' {transform}");
            each(&walg, Compression::parse(method, None).unwrap(), &cipher(text, transform), &case);
        }
    }
}

fn object_name(compression: Compression) -> String {
    match compression.method().extension() {
        "" => SEGMENT.to_owned(),
        extension => format!("{SEGMENT}.{extension}"),
    }
}

#[test]
fn walg_reads_our_objects() {
    let scratch = Scratch::new();
    let walg = require!(Tool::walg(&scratch));
    for_each_setting(&walg, |walg, compression, cipher, case| {
        for size in SIZES {
            let place = tempfile::tempdir_in(scratch.path()).unwrap();
            let wal = place.path().join("wal_005");
            std::fs::create_dir(&wal).unwrap();
            let mut encoder = encode(Vec::new(), compression, cipher).unwrap();
            encoder.write_all(&content(size)).unwrap();
            std::fs::write(wal.join(object_name(compression)), encoder.finish().unwrap()).unwrap();
            scratch.own(place.path());

            let fetched = place.path().join("fetched");
            let walg = walg.clone().with("WALG_FILE_PREFIX", place.path().to_str().unwrap());
            walg.run(&scratch, ["wal-fetch", SEGMENT, fetched.to_str().unwrap()]).success();
            assert!(std::fs::read(fetched).unwrap() == content(size), "{case}, {size} bytes");
        }
    });
}

#[test]
fn we_read_walgs_objects() {
    let scratch = Scratch::new();
    let walg = require!(Tool::walg(&scratch));
    for_each_setting(&walg, |walg, compression, cipher, case| {
        for size in SIZES {
            let place = tempfile::tempdir_in(scratch.path()).unwrap();
            let pg_wal = place.path().join("pg_wal");
            std::fs::create_dir_all(pg_wal.join("archive_status")).unwrap();
            std::fs::write(pg_wal.join(SEGMENT), content(size)).unwrap();
            let storage = place.path().join("storage");
            std::fs::create_dir(&storage).unwrap();
            scratch.own(place.path());

            let walg = walg.clone().with("WALG_FILE_PREFIX", storage.to_str().unwrap());
            walg.run(&scratch, ["wal-push", pg_wal.join(SEGMENT).to_str().unwrap()]).success();
            let object = std::fs::read(storage.join("wal_005").join(object_name(compression))).unwrap();
            let mut read = Vec::new();
            decode(&object[..], compression.method(), cipher).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == content(size), "{case}, {size} bytes");
        }
    });
}
