//! libsodium's secretstream: what was encrypted is read back, and of a stream that was cut or changed nothing passes for
//! the whole, wherever the cut lies.

use std::io::{self, Read, Write};

use seawall::codec::{Cipher, Compression, KeyRing, KeySource, KeyTransform, Method, decode, encode};

const KEY: &[u8] = b"9fa3f4735751ed402fde18c8ebdfcae4803cdde267b816ec078b0dad5dccd002";

/// Plain bytes of one chunk of the stream.
const CHUNK_BYTES: usize = 8192;

fn read(stored: &[u8], cipher: &Cipher) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    decode(stored, Method::None, cipher)?.read_to_end(&mut plain)?;
    Ok(plain)
}

pub fn run(bytes: &[u8]) {
    let cipher = Cipher::Sodium(KeyRing::parse(KEY, KeyTransform::Hex, KeySource::Inline).unwrap());
    let _ = read(bytes, &cipher);
    let [chunks, more, place @ .., bit] = bytes else { return };
    // Up to three whole chunks, and mostly a bit more.
    let length = usize::from(*chunks % 4) * CHUNK_BYTES + usize::from(*more);
    let plain: Vec<u8> = bytes.iter().copied().cycle().take(length).collect();
    let mut encoder = encode(Vec::new(), Compression::None, &cipher).unwrap();
    encoder.write_all(&plain).unwrap();
    let mut stored = encoder.finish().unwrap();
    assert_eq!(read(&stored, &cipher).unwrap(), plain);

    let place =
        place.iter().fold(0_usize, |place, byte| place.wrapping_mul(257).wrapping_add(usize::from(*byte)));
    let place = place % stored.len();
    assert!(read(&stored[..place], &cipher).is_err(), "cut at {place} of {}", stored.len());
    stored[place] ^= 1 << (bit % 8);
    assert!(read(&stored, &cipher).is_err(), "changed at {place} of {}", stored.len());
}
