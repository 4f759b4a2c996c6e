//! What compressing, encrypting and reading back one WAL segment costs: `cargo bench --bench codecs`.
//!
//! `SEAWALL_BENCH_WAL` names a segment to use instead of the one in the test fixtures (initdb and a small load).

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seawall::codec::{
    BarmanLevel, Cipher, Compression, KeyRing, KeySource, KeyTransform, Method, decode, encode,
};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/wal-g/lz4-plain-tablespace/storage/wal_005/000000010000000000000001.lz4"
);

/// The pieces in which a file is read.
const PIECE_BYTES: usize = 128 * 1024;

fn segment() -> Vec<u8> {
    match std::env::var_os("SEAWALL_BENCH_WAL") {
        Some(path) => std::fs::read(path).unwrap(),
        None => {
            let object = std::fs::File::open(FIXTURE).unwrap();
            let mut segment = Vec::new();
            decode(object, Method::Lz4, &Cipher::None).unwrap().read_to_end(&mut segment).unwrap();
            segment
        }
    }
}

fn stored(plain: &[u8], compression: Compression, cipher: &Cipher) -> Vec<u8> {
    let mut encoder = encode(Vec::with_capacity(plain.len()), compression, cipher).unwrap();
    for piece in plain.chunks(PIECE_BYTES) {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn read_back(object: &[u8], method: Method, cipher: &Cipher) -> u64 {
    io::copy(&mut decode(object, method, cipher).unwrap(), &mut io::sink()).unwrap()
}

fn codecs(criterion: &mut Criterion) {
    let segment = segment();
    let key = KeyRing::parse(&[b'k'; 32], KeyTransform::None, KeySource::Inline).unwrap();
    let (plain, sodium) = (Cipher::None, Cipher::Sodium(key));
    let zstd = |level| Compression::parse("zstd", Some(level)).unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    let barman =
        |method, threads| Compression::of_barman_wal(method, BarmanLevel::default(), threads).unwrap();
    let cases = [
        ("lz4", Compression::default(), &plain),
        ("zstd fastest", zstd("fastest"), &plain),
        ("zstd default", zstd("default"), &plain),
        ("zstd better", zstd("better"), &plain),
        ("zstd best", zstd("best"), &plain),
        ("brotli", Compression::Brotli, &plain),
        ("lzma", Compression::Lzma, &plain),
        ("barman gzip", barman(Method::Gzip, NonZeroUsize::MIN), &plain),
        ("barman bzip2", barman(Method::Bzip2, NonZeroUsize::MIN), &plain),
        ("barman bzip2, all cores", barman(Method::Bzip2, cores), &plain),
        ("barman xz", barman(Method::Xz, NonZeroUsize::MIN), &plain),
        ("barman zstd", barman(Method::Zstd, NonZeroUsize::MIN), &plain),
        ("barman lz4", barman(Method::Lz4, NonZeroUsize::MIN), &plain),
        ("barman snappy", barman(Method::Snappy, NonZeroUsize::MIN), &plain),
        ("libsodium", Compression::None, &sodium),
        ("lz4 and libsodium", Compression::default(), &sodium),
    ];
    let mut group = criterion.benchmark_group("codecs");
    group.sample_size(10).throughput(Throughput::Bytes(segment.len() as u64));
    for (name, compression, cipher) in cases {
        let object = stored(&segment, compression, cipher);
        group.bench_function(BenchmarkId::new("write", format!("{name} ({} bytes)", object.len())), |b| {
            b.iter(|| stored(black_box(&segment), compression, cipher));
        });
        group.bench_function(BenchmarkId::new("read", name), |b| {
            b.iter(|| read_back(black_box(&object), compression.method(), cipher));
        });
    }
    group.finish();
}

criterion_group!(benches, codecs);
criterion_main!(benches);
