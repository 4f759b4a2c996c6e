//! What packing a relation file into a tar and verifying its pages costs: `cargo bench --bench tar_and_pages`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::io;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seawall::pg::page;
use seawall::tarball::{Entry, ReadError, Writer, read_members};

const PAGE_BYTES: usize = 8192;
const PAGES: usize = 2048;
const SMALL_FILES: usize = 1000;

fn entry(name: &str) -> Entry {
    Entry { name: name.to_owned(), mode: 0o600, ..Entry::default() }
}

fn relation() -> Vec<u8> {
    (0..PAGES * PAGE_BYTES).map(|i| u8::try_from((i ^ (i >> 7)) & 0xff).unwrap()).collect()
}

fn tar(criterion: &mut Criterion) {
    let relation = relation();
    let mut group = criterion.benchmark_group("tar");
    group.throughput(Throughput::Bytes(relation.len() as u64));
    group.bench_function("write one file", |b| {
        b.iter(|| {
            let mut writer = Writer::new(io::sink());
            writer.file(&entry("/base/5/16384"), relation.len() as u64, black_box(&relation[..])).unwrap()
        });
    });
    let archive = {
        let mut writer = Writer::new(Vec::new());
        writer.file(&entry("/base/5/16384"), relation.len() as u64, &relation[..]).unwrap();
        writer.finish().unwrap()
    };
    group.bench_function("read one file", |b| {
        b.iter(|| {
            read_members(black_box(&archive[..]), |member| {
                io::copy(member, &mut io::sink()).map_err(ReadError::Archive).map(drop)
            })
            .unwrap();
        });
    });
    group.throughput(Throughput::Elements(SMALL_FILES as u64));
    group.bench_function("write small files", |b| {
        b.iter(|| {
            let mut writer = Writer::new(io::sink());
            for _ in 0..SMALL_FILES {
                writer.file(&entry("/base/5/16384_fsm"), 14, &b"free space map"[..]).unwrap();
            }
        });
    });
    group.finish();
}

fn pages(criterion: &mut Criterion) {
    let relation = relation();
    let mut group = criterion.benchmark_group("pages");
    group.throughput(Throughput::Bytes(relation.len() as u64));
    group.bench_function("checksum", |b| {
        b.iter(|| {
            (0_u32..)
                .zip(black_box(&relation).chunks(PAGE_BYTES))
                .map(|(block, page)| page::checksum(page, block))
                .fold(0, std::ops::BitXor::bitxor)
        });
    });
    group.finish();
}

criterion_group!(benches, tar, pages);
criterion_main!(benches);
