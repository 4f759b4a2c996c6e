//! The stream of several threads is that of one, and of the library, bit for bit.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::super::compression::{Bzip2Level, Compression};
use super::super::method::Method;
use super::super::{Cipher, decode, encode};
use super::bits::BitWriter;
use super::marks::{Finder, Kind};
use super::packer::BLOCK_MAGIC;
use super::packer::rotations::Rotations;
use super::packer::shortener::MOST_PLAIN_BYTES;
use super::stream::END_MARK;

mod decoder;

/// What a block of level 1 holds.
const BLOCK_BYTES: usize = 99_981;

fn stored(pieces: &[&[u8]], threads: usize) -> Vec<u8> {
    let threads = NonZeroUsize::new(threads).unwrap();
    let compression = Compression::Bzip2 { level: Bzip2Level::LOWEST, threads };
    let mut encoder = encode(Vec::new(), compression, &Cipher::None).unwrap();
    for piece in pieces {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn assert_same(pieces: &[&[u8]], threads: usize, case: &str) {
    let bytes = pieces.concat();
    let (ours, library) = (stored(pieces, threads), by_library(&bytes));
    assert!(ours == library, "{case}: {} bytes stored as {}, not {}", bytes.len(), ours.len(), library.len());
    assert!(plain(&ours) == bytes, "{case}");
}

fn by_library(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::new(1));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn plain(stored: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    decode(stored, Method::Bzip2, &Cipher::None).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

/// Bytes without runs.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut last = 0;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let byte = state.to_be_bytes()[0] % 16;
            last = if byte == last { byte + 16 } else { byte };
            last
        })
        .collect()
}

#[test]
fn sizes_around_the_ends_of_blocks() {
    for size in [0, 1, 2, 1000] {
        assert_same(&[&noise(size, 1)], 2, "small");
    }
    let bytes = noise(3 * BLOCK_BYTES + 10, 2);
    for blocks in 1..=3 {
        for size in blocks * BLOCK_BYTES - 6..=blocks * BLOCK_BYTES + 6 {
            assert_same(&[&bytes[..size]], 2, "around the end of a block");
        }
    }
}

#[test]
fn runs_across_the_end_of_a_block() {
    for run in [2, 3, 4, 5, 255, 256, 511, 70_000] {
        for before in BLOCK_BYTES - 7..=BLOCK_BYTES + 1 {
            let bytes = [&noise(before, 3)[..], &vec![b'r'; run], &noise(20, 4)].concat();
            assert_same(&[&bytes], 3, &format!("{before}, run of {run}"));
            assert_same(&[&bytes[..before + run]], 3, &format!("{before}, run of {run} at the end"));
        }
    }
}

#[test]
fn pieces_that_end_where_blocks_do() {
    let bytes = noise(2 * BLOCK_BYTES + 5, 5);
    for cut in BLOCK_BYTES - 2..=BLOCK_BYTES + 2 {
        let (one, two) = bytes.split_at(cut);
        assert_same(&[one, two], 2, &format!("cut at {cut}"));
        assert_same(&[one, &two[..1], &two[1..]], 2, &format!("cut at {cut} and after it"));
    }
}

#[test]
fn long_runs_are_cut_into_blocks_of_bounded_size() {
    let bytes = [vec![0; 2 * MOST_PLAIN_BYTES + 1], noise(500_000, 6), vec![0; MOST_PLAIN_BYTES]].concat();
    for threads in [2, 3] {
        let object = stored(&[&bytes], threads);
        assert!(object == stored(&[&bytes], 1));
        assert!(plain(&object) == bytes);
        assert!(object.len() < by_library(&bytes).len() + 200);
    }
}

#[test]
fn an_error_of_the_writer_comes_back() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bytes = noise(12 * BLOCK_BYTES, 7);
    let level = Bzip2Level::LOWEST;
    for writes in 0..13 {
        let threads = NonZeroUsize::new(2).unwrap();
        let mut encoder = encode(Full(writes), Compression::Bzip2 { level, threads }, &Cipher::None).unwrap();
        let error = encoder.write_all(&bytes).and_then(|()| encoder.finish().map(drop)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "after {writes} writes");
    }
}

#[test]
fn the_order_of_rotations() {
    let fibonacci = fibonacci(3000);
    let of = |unit: &[u8], times: usize| unit.repeat(times);
    for (case, block) in [
        ("one byte", b"x".to_vec()),
        ("two bytes", b"ba".to_vec()),
        ("all of one byte", of(b"x", 1000)),
        ("least last", b"bbbbbbbbba".to_vec()),
        ("period of 2", of(b"ba", 500)),
        ("period of 2 and a half", [&of(b"ba", 500)[..], b"b"].concat()),
        ("period of 3", of(b"bab", 333)),
        ("period of 100", of(&noise(100, 8), 9)),
        ("Fibonacci", fibonacci.clone()),
        ("Fibonacci, twice", of(&fibonacci, 2)),
        ("all bytes", (0..=255).rev().collect()),
    ] {
        assert_order(&block, case);
    }
}

/// A word that is its own beginning as often as a word without a period can be.
fn fibonacci(length: usize) -> Vec<u8> {
    let (mut last, mut word) = (b"b".to_vec(), b"a".to_vec());
    while word.len() < length {
        (last, word) = (word.clone(), [word, last].concat());
    }
    word.truncate(length);
    word
}

fn assert_order(block: &[u8], case: &str) {
    let turned = |by: usize| [&block[by..], &block[..by]].concat();
    let mut expected: Vec<Vec<u8>> = (0..block.len()).map(turned).collect();
    expected.sort();
    let mut rotations = Rotations::new();
    rotations.sort(block.to_vec()).unwrap();
    let last_bytes: Vec<u8> = expected.iter().map(|rotation| *rotation.last().unwrap()).collect();
    assert!(rotations.last_bytes == last_bytes, "{case}: {block:?}");
    assert!(expected[usize::try_from(rotations.origin).unwrap()] == block, "{case}: {block:?}");
}

#[test]
fn what_makes_sorts_slow_and_codes_long() {
    let random: Vec<u8> = (0..300_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let steep: Vec<u8> = (0..20_u8).flat_map(|byte| [byte].repeat(1 << byte.min(17))).collect();
    let cases = [
        ("random", random),
        ("zeroes", vec![0; 1 << 20]),
        ("a period of 1000", noise(1000, 9).repeat(1 << 10)),
        ("a period of 99,981", noise(BLOCK_BYTES, 10).repeat(3)),
        ("Fibonacci", fibonacci(250_000)),
        ("pairs", b"ab".repeat(100_000)),
        ("each byte", (0..=255).collect()),
        ("counts that double", steep.chunks(3).rev().flatten().copied().collect()),
    ];
    for (case, bytes) in cases {
        let several = stored(&[&bytes], 2);
        assert!(several == stored(&[&bytes], 1), "{case}");
        // Where rotations are equal, the library may take another one of them for the block.
        assert_eq!(several.len(), by_library(&bytes).len(), "{case}");
        assert!(plain(&several) == bytes, "{case}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_mixture_of_noise_and_runs(
        parts in prop::collection::vec(
            (prop_oneof![Just(0_u8), any::<u8>()], prop_oneof![1_usize..9, 250_usize..260, 1_usize..90_000]),
            0..30,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        threads in 2_usize..5,
    ) {
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|(byte, length)| match byte % 3 {
                0 => vec![*byte; *length],
                _ => noise(*length, u64::from(*byte)),
            })
            .collect();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        let object = stored(&pieces, threads);
        prop_assert!(object == stored(&[&bytes], 1));
        prop_assert_eq!(object.len(), by_library(&bytes).len());
        prop_assert!(plain(&object) == bytes);
    }

    #[test]
    fn the_order_of_any_rotations(
        unit in prop::collection::vec(0_u8..3, 1..60),
        times in 1_usize..6,
        behind in prop::collection::vec(0_u8..3, 0..30),
    ) {
        assert_order(&[&unit.repeat(times)[..], &behind].concat(), "any");
    }
}
