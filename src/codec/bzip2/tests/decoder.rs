//! What several threads read is what the library reads; and where it finds a fault, so do they.

use super::*;
use crate::codec::decode_on;
use crate::codec::error::Error;
use crate::codec::tests::Broken;

fn by_threads(stored: &[u8], threads: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let threads = NonZeroUsize::new(threads).unwrap();
    decode_on(threads, stored, Method::Bzip2, &Cipher::None)?.read_to_end(&mut plain)?;
    Ok(plain)
}

fn assert_read(stored: &[u8], expected: &[u8], case: &str) {
    for threads in [1, 2, 3] {
        let plain = by_threads(stored, threads).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert!(plain == expected, "{case}: {} of {} bytes", plain.len(), expected.len());
    }
}

#[test]
fn streams_of_all_writers() {
    let bytes = [noise(250_000, 1), vec![7; 400_000], noise(120_000, 2)].concat();
    assert_read(&stored(&[&bytes], 2), &bytes, "ours");
    assert_read(&by_library(&bytes), &bytes, "the library's");
    assert_read(&by_library(&[]), &[], "an empty one");
    assert_read(&by_library(b"x"), b"x", "one byte");
}

#[test]
fn streams_after_each_other() {
    let (one, two) = (noise(250_000, 3), noise(90_000, 4));
    let mut of_level_9 = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::new(9));
    of_level_9.write_all(&one).unwrap();
    let of_level_9 = of_level_9.finish().unwrap();
    let empty = by_library(&[]);
    let streams = [&empty, &by_library(&two), &of_level_9, &empty, &empty, &by_library(&one)];
    let bytes = [&two[..], &one, &one].concat();
    assert_read(&streams.map(|stream| &stream[..]).concat(), &bytes, "several streams");
}

#[test]
fn blocks_that_are_large() {
    let large = 3 * MOST_PLAIN_BYTES + 1;
    let bytes = [noise(250_000, 5), vec![1; large], noise(150_000, 6), vec![2; large]].concat();
    assert_read(&by_library(&bytes), &bytes, "in the middle and last");
    assert_read(&by_library(&bytes[250_000..]), &bytes[250_000..], "first");
}

/// A block says which bytes occur in it, 16 bits for each 16 bytes: so bytes can be chosen that spell a mark there.
fn with_mark(mark: [u16; 3], length: usize) -> Vec<u8> {
    let occurs = |byte: &u8| mark[usize::from(byte / 16)] >> (15 - byte % 16) & 1 == 1;
    let occurring: Vec<u8> = (0..48).filter(occurs).collect();
    noise(length, 7).iter().map(|byte| occurring[usize::from(*byte) % occurring.len()]).collect()
}

#[test]
fn marks_by_chance() {
    let block = with_mark([0x3141, 0x5926, 0x5359], 80_000);
    let end = with_mark([0x1772, 0x4538, 0x5090], 80_000);
    let other = noise(200_000, 8);
    for (case, parts) in [
        ("alone", vec![&block[..]]),
        ("an end", vec![&end]),
        ("first", vec![&block, &end, &other, &block]),
        ("between", vec![&other, &block, &other, &end, &end, &other]),
    ] {
        let bytes = parts.concat();
        let stored = by_library(&bytes);
        let mut marks = 0;
        Finder::new().look(&stored, |_, _| marks += 1);
        let blocks = bytes.len().div_ceil(BLOCK_BYTES);
        assert!(marks > blocks + 1, "{case}: {marks} marks for {blocks} blocks");
        assert_read(&stored, &bytes, case);
        for threads in [1, 2] {
            by_threads(&stored[..stored.len() - 11], threads).unwrap_err();
        }
    }
}

#[test]
fn marks_at_every_bit() {
    for (mark, expected) in [(BLOCK_MAGIC, Kind::Block), (END_MARK, Kind::End)] {
        for before in 0..24 {
            let mut bits = BitWriter::new(Vec::new());
            bits.put(before, 0);
            bits.put_bytes(&mark, 48);
            bits.put_bytes(&mark, 48);
            let mut found = Vec::new();
            let mut finder = Finder::new();
            for byte in bits.finish() {
                finder.look(&[byte], |at, kind| found.push((at, kind)));
            }
            let before = u64::from(before);
            assert_eq!(found, [(before, expected), (before + 48, expected)]);
        }
    }
}

#[test]
fn the_kind_of_fault() {
    let bytes = noise(220_000, 9);
    let stored = by_library(&bytes);
    for cut in (0..20).chain((20..stored.len()).step_by(7001)).chain(stored.len() - 20..stored.len()) {
        for threads in [1, 2] {
            let error = by_threads(&stored[..cut], threads).unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::Truncated(_))), "cut at {cut}: {error}");
        }
    }
    for position in
        (0..20).chain((20..stored.len() - 20).step_by(7001)).chain(stored.len() - 20..stored.len() - 1)
    {
        let mut damaged = stored.clone();
        damaged[position] ^= 0x11;
        let library = plain_by_library(&damaged).unwrap_err();
        for threads in [1, 2] {
            let ours = by_threads(&damaged, threads).unwrap_err();
            let truncated = matches!(Error::of(&ours), Some(Error::Truncated(_)));
            assert_eq!(truncated, library.kind() == io::ErrorKind::UnexpectedEof, "damaged at {position}");
        }
    }
}

fn plain_by_library(stored: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    ::bzip2::read::MultiBzDecoder::new(stored).read_to_end(&mut plain)?;
    Ok(plain)
}

#[test]
fn errors_of_the_source_come_back_where_they_are() {
    let stored = by_library(&noise(300_000, 10));
    for (cut, threads) in
        [0, 3, 20, 70_000, stored.len() - 3].into_iter().flat_map(|cut| [(cut, 1), (cut, 2)])
    {
        let source = Broken(&stored[..cut]);
        let threads = NonZeroUsize::new(threads).unwrap();
        let mut decoder = decode_on(threads, source, Method::Bzip2, &Cipher::None).unwrap();
        let error = decoder.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "connection reset", "cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn damage_is_found_or_harmless(
        parts in prop::collection::vec((any::<bool>(), 1_usize..120_000), 1..5),
        streams in 1_usize..3,
        threads in 1_usize..3,
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..4, any::<prop::sample::Index>()), 0..3),
    ) {
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|(run, length)| if *run { vec![9; *length] } else { noise(*length, *length as u64) })
            .collect();
        let mut stored = by_library(&bytes).repeat(streams);
        for (place, kind, other) in damages {
            if stored.is_empty() {
                break;
            }
            let (place, other) = (place.index(stored.len()), other.index(stored.len()));
            match kind {
                0 => stored[place] ^= 1 << (other % 8),
                1 => drop(stored.remove(place)),
                2 => stored.swap(place, other),
                _ => drop(stored.drain(place.min(other)..place.max(other))),
            }
        }
        prop_assume!(!stored.is_empty());
        match (by_threads(&stored, threads), plain_by_library(&stored)) {
            (Ok(ours), Ok(library)) => prop_assert!(ours == library),
            (Err(ours), Err(_)) => prop_assert!(Error::of(&ours).is_some(), "{}", ours),
            (ours, library) => prop_assert!(false, "ours {:?}, the library {:?}", ours.err(), library.err()),
        }
    }
}
