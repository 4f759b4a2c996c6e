//! What reading WAL for the blocks it changes costs: `cargo bench --bench wal`.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seawall::pg::wal::{SegmentChanges, WalReader};
use seawall::pg::{Lsn, SystemIdentifier, WalSegmentSize};

const SEGMENT: u64 = 16 << 20;
const PAGE: usize = 8192;
const CLUSTER: u64 = 7;

/// A segment of PostgreSQL 17 that is being written.
struct Segment {
    bytes: Vec<u8>,
    previous: u64,
}

impl Segment {
    fn header(&mut self, remaining: usize) {
        let address = SEGMENT + self.bytes.len() as u64;
        let first = self.bytes.is_empty();
        self.bytes.extend(0xD116_u16.to_le_bytes());
        self.bytes.extend((u16::from(first) << 1 | u16::from(remaining > 0)).to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(address.to_le_bytes());
        self.bytes.extend((remaining as u64).to_le_bytes());
        if first {
            self.bytes.extend(CLUSTER.to_le_bytes());
            self.bytes.extend([u32::try_from(SEGMENT).unwrap(), 8192].map(u32::to_le_bytes).concat());
        }
    }

    fn push(&mut self, info: u8, manager: u8, body: &[u8]) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        if self.bytes.len().is_multiple_of(PAGE) {
            self.header(0);
        }
        let mut record = u32::try_from(24 + body.len()).unwrap().to_le_bytes().to_vec();
        record.extend(9_u32.to_le_bytes());
        record.extend(self.previous.to_le_bytes());
        record.extend([info, manager, 0, 0]);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(body), &record);
        record.extend(checksum.to_le_bytes());
        record.extend(body);
        self.previous = SEGMENT + self.bytes.len() as u64;
        let mut rest = &record[..];
        while !rest.is_empty() {
            if self.bytes.len().is_multiple_of(PAGE) {
                self.header(rest.len());
            }
            let (now, later) = rest.split_at(rest.len().min(PAGE - self.bytes.len() % PAGE));
            self.bytes.extend(now);
            rest = later;
        }
    }
}

/// The body of a record of an update: the page of the new row, with data, and that of the old one. With an image of
/// the first, if there is one.
fn update(number: u32, image: u16) -> Vec<u8> {
    let mut body = vec![0, if image > 0 { 0x30 } else { 0x20 }, 90, 0];
    if image > 0 {
        body.extend([image, 100].map(u16::to_le_bytes).concat());
        body.push(3);
    }
    let block = number.wrapping_mul(2_654_435_761) / 7 % 100_000;
    body.extend([1663, 5, 16384 + number % 7, block].map(u32::to_le_bytes).concat());
    body.extend([1, 0x80, 0, 0]);
    body.extend((block + 1).to_le_bytes());
    body.extend([255, 14]);
    body.resize(body.len() + 90 + 14 + usize::from(image), 0xA5);
    body
}

/// A segment full of updates, each `every`th with a page image of so many bytes: the first of a page after a checkpoint.
fn segment(image: u16, every: u32) -> Vec<u8> {
    let mut segment = Segment { bytes: Vec::new(), previous: 0 };
    segment.header(0);
    let mut number = 0;
    while segment.bytes.len() as u64 <= SEGMENT - 20_000 {
        segment.push(0x20, 10, &update(number, if number % every == 0 { image } else { 0 }));
        number += 1;
    }
    // A switch to the next segment.
    segment.push(0x40, 0, &[]);
    segment.bytes.resize(usize::try_from(SEGMENT).unwrap(), 0);
    segment.bytes
}

fn wal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal");
    group.throughput(Throughput::Bytes(SEGMENT));
    for (name, image, every) in [("small records", 1, 1000), ("some images", 6000, 40), ("images", 7500, 1)] {
        let segment = segment(image, every);
        group.bench_function(format!("read {name}"), |b| {
            b.iter(|| {
                let (from, until) = (Lsn::new(SEGMENT), Lsn::new(2 * SEGMENT));
                let cluster = SystemIdentifier::new(CLUSTER);
                let mut reader = WalReader::new(cluster, WalSegmentSize::DEFAULT, from, until);
                reader.read_segment(&mut black_box(&segment[..])).unwrap();
                reader.finish().unwrap()
            });
        });
        group.bench_function(format!("record {name}"), |b| {
            b.iter(|| SegmentChanges::read(&mut black_box(&segment[..]), Lsn::INVALID).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, wal);
criterion_main!(benches);
