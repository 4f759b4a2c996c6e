//! Snappy's framing format.
//!
//! | bytes | |
//! |---|---|
//! | `ff 06 00 00`, `sNaPpY` | stream identifier: first, and again wherever another stream was appended |
//! | `00`, u24 LE, u32 LE, data | CRC-32C of the plain bytes, at most 64 KiB of them, compressed |
//! | `01`, u24 LE, u32 LE, data | CRC-32C of the plain bytes, the plain bytes |
//! | `80` to `fe`, u24 LE, data | padding and extensions, to be skipped |
//!
//! The lengths count what follows them. There is no end mark: an object cut between two chunks reads as a shorter one,
//! so what it holds must tell its own end, as a WAL segment and a tar do.
//!
//! Source: `framing_format.txt` of the Snappy project.

use std::io::{self, BufRead, Read, Write};
use std::ops::Range;

use super::error::{Error, Format};
use super::method::Method;
use super::step::read_exact;

const IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";
const IDENTIFIER_CHUNK: u8 = 0xff;
const COMPRESSED_CHUNK: u8 = 0x00;
const PLAIN_CHUNK: u8 = 0x01;
const FIRST_SKIPPED_CHUNK: u8 = 0x80;
const CRC_BYTES: usize = 4;
/// The most plain bytes in a chunk.
const CHUNK_BYTES: usize = 64 * 1024;

/// Compresses what is written to it into `inner`.
pub(super) struct Encoder<W> {
    inner: W,
    raw: snap::raw::Encoder,
    plain: Vec<u8>,
    packed: Box<[u8]>,
}

impl<W: Write> Encoder<W> {
    pub fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(&IDENTIFIER)?;
        Ok(Encoder {
            inner,
            raw: snap::raw::Encoder::new(),
            plain: Vec::with_capacity(CHUNK_BYTES),
            packed: vec![0; snap::raw::max_compress_len(CHUNK_BYTES)].into_boxed_slice(),
        })
    }

    /// Writes what is left and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.plain.is_empty() {
            self.write_chunk()?;
        }
        Ok(self.inner)
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let packed_bytes = self.raw.compress(&self.plain, &mut self.packed)?;
        // What saves less than an eighth is not worth the time to read it, as the format's authors advise.
        let (kind, data) = match self.packed.get(..packed_bytes) {
            Some(packed) if packed.len() < self.plain.len() / 8 * 7 => (COMPRESSED_CHUNK, packed),
            _ => (PLAIN_CHUNK, &self.plain[..]),
        };
        let [l0, l1, l2, ..] = (data.len() + CRC_BYTES).to_le_bytes();
        self.inner.write_all(&[kind, l0, l1, l2])?;
        self.inner.write_all(&masked_crc(&self.plain).to_le_bytes())?;
        self.inner.write_all(data)?;
        self.plain.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.plain.len();
        let taken = plain.get(..room).unwrap_or(plain);
        self.plain.extend_from_slice(taken);
        if self.plain.len() == CHUNK_BYTES {
            self.write_chunk()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the plain bytes of the compressed `source`.
pub(super) struct Decoder<R> {
    source: R,
    place: Place,
    raw: snap::raw::Decoder,
    packed: Vec<u8>,
    plain: Vec<u8>,
    /// What of `plain` is still to be handed on.
    waiting: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeIdentifier,
    BetweenChunks,
}

impl<R: BufRead> Decoder<R> {
    pub fn new(source: R) -> Self {
        Decoder {
            source,
            place: Place::BeforeIdentifier,
            raw: snap::raw::Decoder::new(),
            packed: Vec::new(),
            plain: Vec::new(),
            waiting: 0..0,
        }
    }

    /// Reads one chunk.
    fn read_chunk(&mut self) -> io::Result<()> {
        let mut header = [0; 4];
        read_exact(&mut self.source, &mut header, FORMAT)?;
        let [kind, l0, l1, l2] = header;
        let length = u32::from_le_bytes([l0, l1, l2, 0]);
        if self.place == Place::BeforeIdentifier && kind != IDENTIFIER_CHUNK {
            return Err(damaged("it does not begin with a stream identifier"));
        }
        match kind {
            IDENTIFIER_CHUNK => self.read_identifier(header),
            COMPRESSED_CHUNK | PLAIN_CHUNK => self.read_data(kind, length),
            FIRST_SKIPPED_CHUNK.. => self.skip(length),
            _ => Err(damaged("a chunk is of an unknown kind")),
        }
    }

    fn read_identifier(&mut self, header: [u8; 4]) -> io::Result<()> {
        let mut text = [0; 6];
        read_exact(&mut self.source, &mut text, FORMAT)?;
        if IDENTIFIER != *[&header[..], &text].concat() {
            return Err(damaged("a stream identifier has other bytes"));
        }
        self.place = Place::BetweenChunks;
        Ok(())
    }

    fn read_data(&mut self, kind: u8, length: u32) -> io::Result<()> {
        let most = match kind {
            PLAIN_CHUNK => CHUNK_BYTES,
            _ => snap::raw::max_compress_len(CHUNK_BYTES),
        };
        let data_bytes = usize::try_from(length).unwrap_or(usize::MAX).checked_sub(CRC_BYTES);
        let data_bytes = data_bytes
            .filter(|bytes| *bytes <= most)
            .ok_or_else(|| damaged("a chunk has an impossible size"))?;
        let mut crc = [0; CRC_BYTES];
        read_exact(&mut self.source, &mut crc, FORMAT)?;
        self.packed.resize(data_bytes, 0);
        read_exact(&mut self.source, &mut self.packed, FORMAT)?;
        let sound = match kind {
            PLAIN_CHUNK => {
                std::mem::swap(&mut self.plain, &mut self.packed);
                true
            }
            _ => self.unpack().is_some(),
        };
        if !sound || masked_crc(&self.plain) != u32::from_le_bytes(crc) {
            return Err(damaged(if sound { "a checksum differs" } else { "a chunk cannot be decompressed" }));
        }
        self.waiting = 0..self.plain.len();
        Ok(())
    }

    fn unpack(&mut self) -> Option<()> {
        let plain_bytes = snap::raw::decompress_len(&self.packed).ok()?;
        if plain_bytes > CHUNK_BYTES {
            return None;
        }
        self.plain.resize(plain_bytes, 0);
        self.raw.decompress(&self.packed, &mut self.plain).ok().map(drop)
    }

    fn skip(&mut self, length: u32) -> io::Result<()> {
        let mut rest = self.source.by_ref().take(u64::from(length));
        if io::copy(&mut rest, &mut io::sink())? < u64::from(length) {
            return Err(Error::Truncated(FORMAT).into());
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(mut waiting) = self.plain.get(self.waiting.clone()).filter(|bytes| !bytes.is_empty())
            {
                let count = waiting.read(out)?;
                self.waiting.start += count;
                return Ok(count);
            }
            if self.place == Place::BetweenChunks && self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.read_chunk()?;
        }
    }
}

const FORMAT: Format = Format::Compressed(Method::Snappy);

/// The checksum as the format stores it: of data that holds checksums itself, the plain one would be a poor check.
fn masked_crc(plain: &[u8]) -> u32 {
    crc32c::crc32c(plain).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn damaged(reason: &str) -> io::Error {
    Error::Damaged { format: FORMAT, reason: reason.to_owned() }.into()
}
