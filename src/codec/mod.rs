//! Compression and encryption as plain blocking readers and writers.
//!
//! A stored object is `encrypt(compress(plain))`, as wal-g stores it. The compression method is told by the
//! extension of the object's name; that an object is encrypted is told by nothing, only by the configured key.
//!
//! | method | extension | written as | read |
//! |---|---|---|---|
//! | lz4 | `lz4` | one frame, linked blocks of 256 KiB, content checksum | frames |
//! | zstd | `zst` | one frame with content checksum | frames |
//! | brotli | `br` | one stream | one stream |
//! | lzma | `lzma` | `.lzma` ("lzma alone"), 2 MiB dictionary, end marker | one stream |
//! | none | (none) | the bytes as they are | the bytes as they are |
//! | gzip | `gz` | one member | members |
//! | bzip2 | `bz2` | one stream, on several threads | streams, on several threads |
//! | xz | `xz` | one stream with CRC-64 | streams |
//! | snappy | `snappy` | framing format | framing format |
//!
//! Invariants of every decoder: the end of the input before the end of the format is an error (snappy and none have no
//! end that could be missing), so is anything after it, and a caller that has read to the end (`Ok(0)`) has had every
//! checksum and the cipher's end mark verified.
//! Faults of the content are [`io::Error`]s carrying an [`Error`]; all other errors come from the source as they are.
//!
//! Source: wal-g `internal/compression` and `internal/crypto`, release 3.0.9; barman 3.19.1 for what only it has.

mod barman;
mod brotli;
mod bzip2;
mod compression;
mod error;
mod gzip;
mod lz4;
mod lzma;
mod method;
mod snappy;
mod sodium;
mod step;
#[cfg(test)]
mod tests;
mod xz;
mod zstd;

use std::io::{self, BufReader, Read, Write};
use std::num::NonZeroUsize;

pub use barman::BarmanLevel;
pub use compression::{Bzip2Level, Compression, GzipLevel, Level, Lz4Level, XzLevel, ZstdLevel};
pub use error::{Error, Format};
pub use method::Method;
pub use sodium::{KeyRing, KeySource, KeyTransform};

use self::sodium::{Opener, Sealer};
use self::step::{Compressor, Decompressor};

/// How objects are encrypted. Cheap to clone; its `Debug` shows no key.
#[derive(Clone, Debug, Default)]
pub enum Cipher {
    /// Objects are stored in the clear.
    #[default]
    None,
    /// libsodium's secretstream: the first key of the ring encrypts, any of them decrypts.
    Sodium(KeyRing),
}

impl Cipher {
    /// Whether an object has an end of its own, so that decryption finds out what was cut.
    #[must_use]
    pub fn has_end(&self) -> bool {
        matches!(self, Cipher::Sodium(_))
    }
}

/// Returns a writer that compresses, then encrypts what is written to it into `inner`.
///
/// The object is complete only after [`Encoder::finish`].
///
/// # Errors
/// Writing the first bytes of the format to `inner` may fail, as may the set-up of the codec.
pub fn encode<W: Write>(inner: W, compression: Compression, cipher: &Cipher) -> io::Result<Encoder<W>> {
    let sealed = match cipher {
        Cipher::None => Sealed::Plain(inner),
        Cipher::Sodium(keys) => Sealed::Sodium(Box::new(Sealer::new(inner, keys)?)),
    };
    let packed = match compression {
        Compression::None => Packed::Plain(sealed),
        Compression::Lz4(level) => Packed::Lz4(lz4::encoder(sealed, level)?),
        Compression::Zstd(level) => Packed::Zstd(Compressor::new(zstd::Deflate::new(level)?, sealed)),
        Compression::Brotli => Packed::Brotli(Compressor::new(brotli::Deflate::new(), sealed)),
        Compression::Lzma => Packed::Lzma(Compressor::new(lzma::Deflate::new()?, sealed)),
        Compression::Gzip(level) => Packed::Gzip(Compressor::new(gzip::Deflate::new(level), sealed)),
        Compression::Bzip2 { level, threads } => {
            Packed::Bzip2(Box::new(bzip2::Encoder::new(sealed, level, threads)))
        }
        Compression::Xz(level) => Packed::Xz(Compressor::new(xz::Deflate::new(level)?, sealed)),
        Compression::Snappy => Packed::Snappy(Box::new(snappy::Encoder::new(sealed)?)),
    };
    Ok(Encoder { packed, broken: false })
}

/// Returns a reader of the plain bytes of the stored object `inner`.
///
/// Read it to the end (`Ok(0)`), also when enough was seen before: checksums and the cipher's end mark are last.
///
/// # Errors
/// The set-up of the codec may fail; nothing is read yet.
pub fn decode<R: Read>(inner: R, method: Method, cipher: &Cipher) -> io::Result<Decoder<R>> {
    decode_on(NonZeroUsize::MIN, inner, method, cipher)
}

/// As [`decode`], on several threads where the method can: bzip2 alone. For each there may be two blocks of 4 MiB in
/// memory, and 8 MB to decompress them.
///
/// # Errors
/// As for [`decode`].
pub fn decode_on<R: Read>(
    threads: NonZeroUsize,
    inner: R,
    method: Method,
    cipher: &Cipher,
) -> io::Result<Decoder<R>> {
    let opened = match cipher {
        Cipher::None => Opened::Plain(BufReader::with_capacity(PLAIN_BUFFER_BYTES, inner)),
        Cipher::Sodium(keys) => Opened::Sodium(Box::new(Opener::new(inner, keys.clone()))),
    };
    Ok(Decoder(match method {
        Method::None => Unpacked::Plain(opened),
        Method::Lz4 => Unpacked::Lz4(lz4::Decoder::new(opened)),
        Method::Zstd => Unpacked::Zstd(Decompressor::new(zstd::Inflate::new()?, opened)),
        Method::Brotli => Unpacked::Brotli(Decompressor::new(brotli::Inflate::new(), opened)),
        Method::Lzma => Unpacked::Lzma(Decompressor::new(lzma::Inflate::new()?, opened)),
        Method::Gzip => Unpacked::Gzip(Decompressor::new(gzip::Inflate::new(), opened)),
        Method::Bzip2 => Unpacked::Bzip2(Box::new(bzip2::Decoder::new(opened, threads))),
        Method::Xz => Unpacked::Xz(Decompressor::new(xz::Inflate::new()?, opened)),
        Method::Snappy => Unpacked::Snappy(snappy::Decoder::new(opened)),
    }))
}

/// Compressed bytes are read from an unencrypted source in pieces of this size.
const PLAIN_BUFFER_BYTES: usize = 64 * 1024;

/// The writing side of one object, see [`encode`].
///
/// Dropped without [`finish`](Encoder::finish), the object lacks its end, and no reader takes it for a whole one
/// (with snappy or no compression, and no cipher, there is no end to lack: a consumer must then go by `finish` alone).
pub struct Encoder<W: Write> {
    packed: Packed<W>,
    broken: bool,
}

enum Packed<W: Write> {
    Plain(Sealed<W>),
    Lz4(::lz4::Encoder<Sealed<W>>),
    Zstd(Compressor<zstd::Deflate, Sealed<W>>),
    Brotli(Compressor<brotli::Deflate, Sealed<W>>),
    Lzma(Compressor<lzma::Deflate, Sealed<W>>),
    Gzip(Compressor<gzip::Deflate, Sealed<W>>),
    Bzip2(Box<bzip2::Encoder<Sealed<W>>>),
    Xz(Compressor<xz::Deflate, Sealed<W>>),
    Snappy(Box<snappy::Encoder<Sealed<W>>>),
}

enum Sealed<W: Write> {
    Plain(W),
    Sodium(Box<Sealer<W>>),
}

impl<W: Write> Encoder<W> {
    /// Writes the end of the compression format and of the cipher, and returns the inner writer.
    ///
    /// # Errors
    /// Those of the inner writer; also when an earlier write had failed, since the object then lacks bytes.
    pub fn finish(self) -> io::Result<W> {
        if self.broken {
            return Err(Error::WriteFailedBefore.into());
        }
        let sealed = match self.packed {
            Packed::Plain(sealed) => sealed,
            Packed::Lz4(encoder) => {
                let (sealed, result) = encoder.finish();
                result?;
                sealed
            }
            Packed::Zstd(compressor) => compressor.finish()?,
            Packed::Brotli(compressor) => compressor.finish()?,
            Packed::Lzma(compressor) => compressor.finish()?,
            Packed::Gzip(compressor) => compressor.finish()?,
            Packed::Bzip2(encoder) => encoder.finish()?,
            Packed::Xz(compressor) => compressor.finish()?,
            Packed::Snappy(encoder) => encoder.finish()?,
        };
        match sealed {
            Sealed::Plain(inner) => Ok(inner),
            Sealed::Sodium(sealer) => sealer.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let written = match &mut self.packed {
            Packed::Plain(sealed) => sealed.write(plain),
            Packed::Lz4(encoder) => encoder.write(plain),
            Packed::Zstd(compressor) => compressor.write(plain),
            Packed::Brotli(compressor) => compressor.write(plain),
            Packed::Lzma(compressor) => compressor.write(plain),
            Packed::Gzip(compressor) => compressor.write(plain),
            Packed::Bzip2(encoder) => encoder.write(plain),
            Packed::Xz(compressor) => compressor.write(plain),
            Packed::Snappy(encoder) => encoder.write(plain),
        };
        self.broken |= written.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::Interrupted);
        written
    }

    /// Does nothing: bytes leave a codec when its block is full or at [`finish`](Encoder::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sealed::Plain(inner) => inner.write(bytes),
            Sealed::Sodium(sealer) => sealer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading side of one object, see [`decode`].
pub struct Decoder<R: Read>(Unpacked<R>);

enum Unpacked<R: Read> {
    Plain(Opened<R>),
    Lz4(lz4::Decoder<Opened<R>>),
    Zstd(Decompressor<zstd::Inflate, Opened<R>>),
    Brotli(Decompressor<brotli::Inflate, Opened<R>>),
    Lzma(Decompressor<lzma::Inflate, Opened<R>>),
    Gzip(Decompressor<gzip::Inflate, Opened<R>>),
    Bzip2(Box<bzip2::Decoder<Opened<R>>>),
    Xz(Decompressor<xz::Inflate, Opened<R>>),
    Snappy(snappy::Decoder<Opened<R>>),
}

enum Opened<R: Read> {
    Plain(BufReader<R>),
    Sodium(Box<Opener<R>>),
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Unpacked::Plain(opened) => opened.read(plain),
            Unpacked::Lz4(decoder) => decoder.read(plain),
            Unpacked::Zstd(decompressor) => decompressor.read(plain),
            Unpacked::Brotli(decompressor) => decompressor.read(plain),
            Unpacked::Lzma(decompressor) => decompressor.read(plain),
            Unpacked::Gzip(decompressor) => decompressor.read(plain),
            Unpacked::Bzip2(decoder) => decoder.read(plain),
            Unpacked::Xz(decompressor) => decompressor.read(plain),
            Unpacked::Snappy(decoder) => decoder.read(plain),
        }
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Opened::Plain(reader) => reader.read(bytes),
            Opened::Sodium(opener) => opener.read(bytes),
        }
    }
}

impl<R: Read> io::BufRead for Opened<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Opened::Plain(reader) => reader.fill_buf(),
            Opened::Sodium(opener) => opener.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Opened::Plain(reader) => reader.consume(count),
            Opened::Sodium(opener) => opener.consume(count),
        }
    }
}
