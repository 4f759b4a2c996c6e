//! All codecs and ciphers together: round trips, wal-g's own objects, and every way an object can be damaged.

use std::io::{Read, Write};
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

const WRITABLE: [Compression; 11] = [
    Compression::Lz4(compression::LZ4_OF_WALG),
    Compression::Zstd(ZstdLevel::DEFAULT),
    Compression::Brotli,
    Compression::Lzma,
    Compression::Gzip(GzipLevel::LOWEST),
    Compression::Bzip2 { level: Bzip2Level::LOWEST, threads: NonZeroUsize::MIN },
    Compression::Xz(XzLevel::LOWEST),
    Compression::Snappy,
    Compression::Lz4(Lz4Level::HIGHEST),
    Compression::Zstd(ZstdLevel::BEST),
    Compression::None,
];

/// Those with a checksum and any number of frames, members or streams.
const CHECKED: [Compression; 6] =
    [WRITABLE[0], WRITABLE[1], WRITABLE[4], WRITABLE[5], WRITABLE[6], Compression::Snappy];

/// Whether an object that lacks its end is told from a whole one.
fn has_an_end(compression: Compression, cipher: &Cipher) -> bool {
    !matches!(compression, Compression::None | Compression::Snappy) || !matches!(cipher, Cipher::None)
}

fn sodium(text: &str, transform: KeyTransform) -> Cipher {
    Cipher::Sodium(KeyRing::parse(text.as_bytes(), transform, KeySource::Inline).unwrap())
}

fn ciphers() -> [Cipher; 2] {
    [Cipher::None, sodium("0123456789abcdef0123456789abcdef", KeyTransform::None)]
}

fn stored(plain: &[u8], compression: Compression, cipher: &Cipher) -> Vec<u8> {
    let mut encoder = encode(Vec::new(), compression, cipher).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn plain(stored: &[u8], method: Method, cipher: &Cipher) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    decode(stored, method, cipher)?.read_to_end(&mut plain)?;
    Ok(plain)
}

/// Bytes that compress like a relation: repetitive, with some noise.
fn page_like(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if i % 5 == 0 { state.to_le_bytes()[0] } else { u8::try_from(i % 64).unwrap() }
        })
        .collect()
}

/// A source that hands out its bytes in small pieces, as a network does.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = out.len().min(self.1).min(self.0.len());
        (&self.0[..count]).read(&mut out[..count])?;
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn golden(name: &str) -> Vec<u8> {
    golden_of("walg", name)
}

fn golden_of(tool: &str, name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{tool}/objects/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn round_trips_at_the_sizes_where_chunks_and_blocks_end() {
    let sizes = [0, 1, 8191, 8192, 8193, 16384, 65536];
    let beyond_an_lz4_block = page_like(4 * 1024 * 1024 + 1);
    for compression in WRITABLE {
        for cipher in &ciphers() {
            let large: &[usize] = match compression {
                Compression::Lz4(_) => &[beyond_an_lz4_block.len() - 1, beyond_an_lz4_block.len()],
                _ => &[],
            };
            for size in sizes.iter().chain(large).copied() {
                let bytes = beyond_an_lz4_block[..size].to_vec();
                let object = stored(&bytes, compression, cipher);
                let back = plain(&object, compression.method(), cipher).unwrap();
                assert!(back == bytes, "{compression:?} {cipher:?} {size}");
            }
        }
    }
}

#[test]
fn reads_what_walg_wrote() {
    let hex = sodium("9fa3f4735751ed402fde18c8ebdfcae4803cdde267b816ec078b0dad5dccd002", KeyTransform::Hex);
    let base64 = sodium("a7uD4GMJ1WLC0PoyiXa7hLx6egf3Ax3eEzzwaHd7yOU=", KeyTransform::Base64);
    let raw = sodium("0123456789abcdef0123456789abcdef", KeyTransform::None);
    let repositories = [
        ("brotli-sodium-hex", "br", &hex, "000000010000000000000002"),
        ("lz4-plain-tablespace", "lz4", &Cipher::None, "000000010000000000000002"),
        ("lzma-sodium-none-waldelta", "lzma", &raw, "000000010000000000000002"),
        ("zstd-sodium-base64-seg1", "zst", &base64, "000000010000000000000007"),
    ];
    for (directory, extension, cipher, start) in repositories {
        let method = Method::from_extension(extension).unwrap();
        let read =
            |name: &str| plain(&golden(&format!("{directory}/{name}.{extension}")), method, cipher).unwrap();
        let history = String::from_utf8(read(&format!("{start}.00000028.backup"))).unwrap();
        assert!(history.starts_with("START WAL LOCATION: 0/"), "{directory}: {history}");
        assert!(history.contains(&format!("(file {start})")), "{directory}: {history}");
        // Two members (the second, tablespace_map, has content only where there is a tablespace) and the end.
        let label_tar_bytes = if directory == "lz4-plain-tablespace" { 3072 } else { 2560 };
        assert_eq!(read("backup_label.tar").len(), label_tar_bytes, "{directory}");
        assert_eq!(read("pg_control.tar").len(), 512 + 8192 + 1024, "{directory}");
    }
    let segment =
        plain(&golden("brotli-sodium-hex/000000010000000000000009.br"), Method::Brotli, &hex).unwrap();
    assert_eq!(segment.len(), 16 * 1024 * 1024);
    let segment =
        plain(&golden("zstd-sodium-base64-seg1/00000001000000000000000A.zst"), Method::Zstd, &base64)
            .unwrap();
    assert_eq!(segment.len(), 1024 * 1024);
}

#[test]
fn the_first_bytes_tell_how_it_is_packed() {
    let lz4 = stored(b"x", Compression::default(), &Cipher::None);
    assert_eq!(lz4[..7], [0x04, 0x22, 0x4d, 0x18, 0x44, 0x50, 0xe6]);
    let lzma = stored(b"x", Compression::Lzma, &Cipher::None);
    assert_eq!(lzma[..13], [0x5d, 0, 0, 0x20, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    let zstd = stored(b"x", Compression::Zstd(ZstdLevel::default()), &Cipher::None);
    assert_eq!(zstd[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(zstd[4] & 0b100, 0b100, "content checksum flag");
}

#[test]
fn every_cut_is_an_error() {
    let bytes = page_like(30_000);
    for compression in WRITABLE {
        for cipher in &ciphers() {
            if !has_an_end(compression, cipher) {
                continue;
            }
            let object = stored(&bytes, compression, cipher);
            let near_the_ends = (0..64).chain(object.len() - 64..object.len());
            let chunk_ends = (0..4).map(|i| 24 + i * 8209).filter(|cut| *cut < object.len());
            for cut in near_the_ends.chain((0..object.len()).step_by(211)).chain(chunk_ends) {
                let error = plain(&object[..cut], compression.method(), cipher)
                    .expect_err(&format!("{compression:?} {cipher:?} cut at {cut} of {}", object.len()));
                assert!(Error::of(&error).is_some(), "{compression:?} {cipher:?} at {cut}: {error:?}");
            }
        }
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    for compression in WRITABLE {
        for cipher in &ciphers() {
            if compression == Compression::None && matches!(cipher, Cipher::None) {
                continue;
            }
            for size in [0, 100, 8192, 30_000] {
                let mut object = stored(&page_like(size), compression, cipher);
                object.push(b'x');
                let error = plain(&object, compression.method(), cipher).unwrap_err();
                assert!(Error::of(&error).is_some(), "{compression:?} {cipher:?} {size}: {error:?}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_found_by_the_cipher() {
    let cipher = &ciphers()[1];
    let object = stored(&page_like(9000), Compression::None, cipher);
    for position in (0..64).chain((64..object.len()).step_by(97)).chain(object.len() - 64..object.len()) {
        let mut altered = object.clone();
        altered[position] ^= 1;
        plain(&altered, Method::None, cipher).expect_err(&format!("flipped at {position}"));
    }
}

#[test]
fn flipped_bits_are_found_by_the_checksums() {
    let bytes = page_like(9000);
    for compression in CHECKED {
        let object = stored(&bytes, compression, &Cipher::None);
        for position in 7..object.len() {
            let mut altered = object.clone();
            altered[position] ^= 0x10;
            if let Ok(back) = plain(&altered, compression.method(), &Cipher::None) {
                assert!(back == bytes, "{compression:?}: flipped at {position}, other data without an error");
            }
        }
    }
}

#[test]
fn several_frames_are_one_object() {
    let (one, two) = (page_like(100_000), page_like(5 * 1024 * 1024));
    for compression in CHECKED {
        let mut object = stored(&one, compression, &Cipher::None);
        object.extend(stored(&two, compression, &Cipher::None));
        let back = plain(&object, compression.method(), &Cipher::None).unwrap();
        assert!(back == [&one[..], &two[..]].concat(), "{compression:?}");
        plain(&object[..object.len() - 1], compression.method(), &Cipher::None).unwrap_err();
    }
}

#[test]
fn reads_what_barman_wrote() {
    for (name, length) in [("000000010000000000000002.00000028.backup", 348), (BARMAN_SEGMENT, 160 << 10)] {
        let contents = BARMANS.map(|method| {
            let object = golden_of("barman", &format!("{name}.{}", method.extension()));
            for cut in (0..object.len()).filter(|_| method != Method::Snappy).step_by(7) {
                plain(&object[..cut], method, &Cipher::None).expect_err(&format!("{method} cut at {cut}"));
            }
            plain(&object, method, &Cipher::None).unwrap()
        });
        assert_eq!(contents[0].len(), length);
        for (content, method) in contents.iter().zip(BARMANS) {
            assert!(*content == contents[0], "{name} {method}");
        }
    }
}

const BARMANS: [Method; 6] =
    [Method::Gzip, Method::Bzip2, Method::Xz, Method::Zstd, Method::Lz4, Method::Snappy];

const BARMAN_SEGMENT: &str = "000000010000000000000004.start";

#[test]
fn stores_what_barman_stores() {
    for method in BARMANS {
        let object = golden_of("barman", &format!("{BARMAN_SEGMENT}.{}", method.extension()));
        let content = plain(&object, method, &Cipher::None).unwrap();
        let compression =
            Compression::of_barman_wal(method, BarmanLevel::default(), NonZeroUsize::MIN).unwrap();
        let ours = stored(&content, compression, &Cipher::None);
        match method {
            Method::Bzip2 | Method::Xz => assert!(ours == object, "{method}"),
            // Another library, with its own idea of each level: see docs/benchmarks/codecs.md.
            Method::Gzip => assert_eq!(ours[..4], object[..4]),
            // Our zstd frame has a checksum.
            _ => assert!(ours.len() <= object.len() + 4, "{method}: {} of {}", ours.len(), object.len()),
        }
    }
}

#[test]
fn all_levels_of_barman_come_back() {
    let bytes = page_like(50_000);
    for method in BARMANS {
        for level in ["-22", "-1", "0", "1", "9", "16", "22"] {
            let level = BarmanLevel::parse(level).unwrap();
            let compression = Compression::of_barman_wal(method, level, NonZeroUsize::MIN).unwrap();
            let object = stored(&bytes, compression, &Cipher::None);
            assert!(plain(&object, method, &Cipher::None).unwrap() == bytes, "{compression:?}");
        }
    }
}

#[test]
fn cuts_of_snappy_are_errors_inside_chunks() {
    let bytes = page_like(3 * 65536);
    let object = stored(&bytes, Compression::Snappy, &Cipher::None);
    let mut ends = vec![10];
    while let Some([_, l0, l1, l2]) = object.get(ends[ends.len() - 1]..).and_then(|rest| rest.first_chunk()) {
        let length = u32::from_le_bytes([*l0, *l1, *l2, 0]);
        ends.push(ends[ends.len() - 1] + 4 + usize::try_from(length).unwrap());
    }
    assert_eq!((ends.len(), ends[3]), (4, object.len()));
    for (chunks, end) in ends.iter().enumerate() {
        let part = plain(&object[..*end], Method::Snappy, &Cipher::None).unwrap();
        assert!(part == bytes[..chunks * 65536], "{chunks} chunks");
    }
    for cut in (0..object.len()).step_by(97).chain(0..20).filter(|cut| !ends.contains(cut)) {
        let error = plain(&object[..cut], Method::Snappy, &Cipher::None).unwrap_err();
        assert!(matches!(Error::of(&error), Some(Error::Truncated(_))), "cut at {cut}: {error}");
    }
}

#[test]
fn chunks_of_snappy() {
    let read = |parts: &[&[u8]]| {
        plain(&parts.concat(), Method::Snappy, &Cipher::None).map_err(|error| error.to_string())
    };
    let start: &[u8] = b"\xff\x06\x00\x00sNaPpY";
    // CRC-32C of "abc" is 364b3fb7, which is stored turned by 15 bits and with a282ead8 added.
    let abc: &[u8] = b"\x01\x07\x00\x00\x6e\x57\xf1\x21abc";
    let padding: &[u8] = b"\xfe\x03\x00\x00\0\0\0";
    assert_eq!(read(&[start, abc, padding, b"\x80\0\0\0", start, abc]), Ok(b"abcabc".to_vec()));
    assert_eq!(read(&[start]), Ok(Vec::new()));
    let damaged = |reason| Err(format!("snappy data is damaged: {reason}"));
    assert_eq!(read(&[abc]), damaged("it does not begin with a stream identifier"));
    assert_eq!(read(&[padding, start]), damaged("it does not begin with a stream identifier"));
    assert_eq!(read(&[b"\xff\x06\x00\x00sNaPpy"]), damaged("a stream identifier has other bytes"));
    assert_eq!(read(&[start, b"\x02\0\0\0"]), damaged("a chunk is of an unknown kind"));
    assert_eq!(read(&[start, b"\x01\x03\0\0abc"]), damaged("a chunk has an impossible size"));
    assert_eq!(read(&[start, b"\x01\x05\0\x01"]), damaged("a chunk has an impossible size"));
    assert_eq!(read(&[start, &abc[..10], b"d"]), damaged("a checksum differs"));
    // A length of 64 KiB and a byte.
    assert_eq!(
        read(&[start, b"\x00\x07\0\0\0\0\0\0\x81\x80\x04"]),
        damaged("a chunk cannot be decompressed")
    );
    assert_eq!(read(&[start, padding, &padding[..6]]), Err("snappy data ends too early".to_owned()));
}

#[test]
fn xz_streams_may_have_padding_between_and_after_them() {
    let xz = stored(b"some text, ", WRITABLE[6], &Cipher::None);
    let read = |parts: &[&[u8]]| plain(&parts.concat(), Method::Xz, &Cipher::None);
    assert_eq!(read(&[&xz, &[0; 8], &xz, &[0; 4]]).unwrap(), b"some text, some text, ");
    for parts in [[&xz[..], &[0; 3]], [&xz[..], b"\xfd7zX"]] {
        assert!(Error::of(&read(&parts).unwrap_err()).is_some());
    }
}

#[test]
fn dropping_an_encoder_leaves_no_readable_object() {
    let bytes = page_like(100_000);
    for compression in WRITABLE {
        for cipher in &ciphers() {
            if !has_an_end(compression, cipher) {
                continue;
            }
            let mut object = Vec::new();
            let mut encoder = encode(&mut object, compression, cipher).unwrap();
            encoder.write_all(&bytes).unwrap();
            drop(encoder);
            plain(&object, compression.method(), cipher).unwrap_err();
        }
    }
}

#[test]
fn an_encoder_does_not_finish_after_a_failed_write() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                self.0 = usize::MAX; // works again later
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= 1;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for compression in WRITABLE {
        let mut encoder = encode(Full(2), compression, &ciphers()[1]).unwrap();
        let noise = page_like(9_000_000);
        let error = encoder.write_all(&noise).expect_err(&format!("{compression:?}"));
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(encoder.finish().is_err(), "{compression:?}");
    }
}

/// A source that fails once its bytes are read.
pub(super) struct Broken<'a>(pub(super) &'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::Error::other("connection reset")),
            count => Ok(count),
        }
    }
}

#[test]
fn errors_of_the_source_pass_unchanged() {
    for compression in WRITABLE {
        for cipher in &ciphers() {
            let object = stored(&page_like(50_000), compression, cipher);
            let broken = Broken(&object[..object.len() / 2]);
            let mut decoder = decode(broken, compression.method(), cipher).unwrap();
            let error = decoder.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.to_string(), "connection reset", "{compression:?} {cipher:?}");
            assert!(Error::of(&error).is_none());
        }
    }
}

#[test]
fn encoders_and_decoders_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Encoder<Vec<u8>>>();
    is_send::<Decoder<&[u8]>>();
    is_send::<Cipher>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_in_any_pieces_come_back(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..6),
        dribble in 1_usize..10_000,
        method in 0_usize..WRITABLE.len(),
        encrypted in 0_usize..2,
    ) {
        let (compression, cipher) = (WRITABLE[method], &ciphers()[encrypted]);
        let mut encoder = encode(Vec::new(), compression, cipher).unwrap();
        for piece in &pieces {
            encoder.write_all(piece).unwrap();
        }
        let object = encoder.finish().unwrap();
        let mut back = Vec::new();
        decode(Dribble(&object, dribble), compression.method(), cipher).unwrap().read_to_end(&mut back).unwrap();
        prop_assert_eq!(back, pieces.concat());
    }

    #[test]
    fn decoders_survive_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..500),
        method in 0_usize..Method::ALL.len(),
        encrypted in 0_usize..2,
        keep in 0_usize..40,
    ) {
        let method = Method::ALL[method];
        let cipher = &ciphers()[encrypted];
        let start = WRITABLE.into_iter().find(|c| c.method() == method).map_or(vec![0x1f, 0x8b, 8], |c| stored(&bytes, c, cipher));
        let damaged = [&start[..keep.min(start.len())], &bytes].concat();
        // Any result will do, as long as there is one; lzma and brotli may expand, so the output is bounded.
        let decoder = decode(&damaged[..], method, cipher).unwrap();
        let _ = decoder.take(1 << 24).read_to_end(&mut Vec::new());
    }
}
