//! Single objects, in both directions between us and the codecs of the real barman-cloud.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;

use seawall::codec::{BarmanLevel, Cipher, Compression, Method, decode_on, encode};
use support::{Barman, Scratch};

const METHODS: [Method; 6] =
    [Method::Gzip, Method::Bzip2, Method::Xz, Method::Snappy, Method::Zstd, Method::Lz4];

const LEVELS: [&str; 6] = ["low", "medium", "high", "-22", "2", "22"];

/// Small, and more than one block of each format: 64 KiB, 900,000 bytes, 4 MiB.
const SIZES: [usize; 3] = [348, 1_000_000, (4 << 20) + 1];

/// Reads files as barman-cloud-wal-restore does; arguments: method, stored file, where to.
const READ_WAL: &str = "
import sys
from barman.clients.cloud_compression import decompress_to_file
method, stored, plain = sys.argv[1:]
decompress_to_file(open(stored, 'rb'), open(plain, 'wb'), method)
";

/// Reads a tar's bytes as barman-cloud-restore does, and no more than the first member or stream.
const READ_TAR: &str = "
import bz2, sys, zlib
from barman.clients.cloud_compression import get_compressor
method, stored, plain = sys.argv[1:]
reader = get_compressor(method) or {'gzip': lambda: zlib.decompressobj(31), 'bzip2': bz2.BZ2Decompressor}[method]()
with open(plain, 'wb') as out:
    out.write(reader.decompress(open(stored, 'rb').read()))
if method in ('gzip', 'bzip2'):
    assert reader.eof and not reader.unused_data
";

/// Writes a file as barman-cloud-wal-archive does; arguments: method, plain file, where to, level.
const WRITE_WAL: &str = "
import sys
from barman.clients.cloud_compression import compress
from barman.config import parse_compression_level
method, plain, stored, level = sys.argv[1:]
open(stored, 'wb').write(compress(open(plain, 'rb'), method, parse_compression_level(level)).read())
";

fn python(barman: &Barman, script: &str, method: Method, files: [&Path; 2], level: Option<&str>) {
    let mut command = Command::new(barman.directory().join("python"));
    command.args(["-c", script, &method.to_string()]).args(files).args(level);
    support::run(&mut command).success();
}

/// Text with repetitions, noise and long runs.
fn content(size: usize) -> Vec<u8> {
    let byte = |i: usize| match i / 10_000 % 3 {
        0 => 0,
        1 => ((i * i) >> 7) % 251,
        _ => (i.wrapping_mul(i).wrapping_mul(2_654_435_761) >> 13) & 255,
    };
    (0..size).map(|i| u8::try_from(byte(i)).unwrap()).collect()
}

fn stored(plain: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = encode(Vec::new(), compression, &Cipher::None).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn threads() -> NonZeroUsize {
    NonZeroUsize::new(2).unwrap()
}

#[test]
fn barman_reads_our_wal() {
    let barman = require!(Barman::real());
    let scratch = Scratch::new();
    let (object, fetched) = (scratch.path().join("object"), scratch.path().join("fetched"));
    for method in METHODS {
        for (level, size) in LEVELS.into_iter().zip(SIZES.into_iter().cycle()) {
            let compression =
                Compression::of_barman_wal(method, BarmanLevel::parse(level).unwrap(), threads()).unwrap();
            fs::write(&object, stored(&content(size), compression)).unwrap();
            python(&barman, READ_WAL, method, [&object, &fetched], None);
            assert!(fs::read(&fetched).unwrap() == content(size), "{compression:?}, {size} bytes");
        }
    }
}

#[test]
fn barman_reads_our_tars_to_their_end() {
    let barman = require!(Barman::real());
    let scratch = Scratch::new();
    let (object, fetched) = (scratch.path().join("object"), scratch.path().join("fetched"));
    for method in [Method::Gzip, Method::Bzip2, Method::Snappy, Method::Lz4] {
        for size in SIZES {
            let compression = Compression::of_barman_backup(method, threads()).unwrap();
            fs::write(&object, stored(&content(size), compression)).unwrap();
            python(&barman, READ_TAR, method, [&object, &fetched], None);
            assert!(fs::read(&fetched).unwrap() == content(size), "{compression:?}, {size} bytes");
        }
    }
}

#[test]
fn we_read_what_barman_archives() {
    let barman = require!(Barman::real());
    let scratch = Scratch::new();
    let (file, object) = (scratch.path().join("file"), scratch.path().join("object"));
    for method in METHODS {
        for (level, size) in LEVELS.into_iter().zip(SIZES.into_iter().cycle()) {
            fs::write(&file, content(size)).unwrap();
            python(&barman, WRITE_WAL, method, [&file, &object], Some(level));
            for threads in [NonZeroUsize::MIN, threads()] {
                let mut plain = Vec::new();
                let object = fs::File::open(&object).unwrap();
                decode_on(threads, object, method, &Cipher::None).unwrap().read_to_end(&mut plain).unwrap();
                assert!(plain == content(size), "{method} {level}, {size} bytes, {threads} threads");
            }
        }
    }
}
