//! The stream of several threads is that of one, bit for bit.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::super::compression::{Bzip2Level, Compression};
use super::super::method::Method;
use super::super::{Cipher, decode, encode};
use super::encoder::MOST_PLAIN_BYTES;

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
    let plain = pieces.concat();
    let (several, one) = (stored(pieces, threads), stored(&[&plain], 1));
    assert!(several == one, "{case}: {} bytes stored as {}, not {}", plain.len(), several.len(), one.len());
    let mut back = Vec::new();
    decode(&several[..], Method::Bzip2, &Cipher::None).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == plain, "{case}");
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
    for run in [2, 3, 4, 5, 254, 255, 256, 257, 511, 70_000] {
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
        let mut back = Vec::new();
        decode(&object[..], Method::Bzip2, &Cipher::None).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == bytes);
        assert!(object.len() < stored(&[&bytes], 1).len() + 200);
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
fn the_end_mark_does_not_overlap_with_itself() {
    let mark = super::stream::END_MARK.iter().fold(0_u64, |mark, byte| mark << 8 | u64::from(*byte));
    for shift in 1..8 {
        assert_ne!(mark >> shift, mark & (u64::MAX >> (16 + shift)), "{shift}");
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
        assert_same(&pieces, threads, "mixture");
    }
}
