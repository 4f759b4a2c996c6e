//! Every decompressor, on plain and on encrypted objects. The key is that of the fixture `brotli-sodium-hex`.

use std::io::{self, Read};
use std::num::NonZeroUsize;

use seawall::codec::{Cipher, KeyRing, KeySource, KeyTransform, Method, decode, decode_on};

const KEY: &[u8] = b"9fa3f4735751ed402fde18c8ebdfcae4803cdde267b816ec078b0dad5dccd002";

/// A few bytes may spell a great many zeroes.
const MOST_BYTES: u64 = 4 << 20;

const TWO_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

pub fn run(bytes: &[u8]) {
    let keys = KeyRing::parse(KEY, KeyTransform::Hex, KeySource::Inline).unwrap();
    for cipher in [Cipher::None, Cipher::Sodium(keys)] {
        for method in Method::ALL {
            read(decode(bytes, method, &cipher));
        }
        read(decode_on(TWO_THREADS, bytes, Method::Bzip2, &cipher));
    }
}

fn read(decoder: io::Result<impl Read>) {
    let _ = decoder.and_then(|decoder| io::copy(&mut decoder.take(MOST_BYTES), &mut io::sink()));
}
