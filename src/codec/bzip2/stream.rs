//! Takes a block out of the stream that the library put around it, and puts blocks into one stream.

use std::io::{self, Write};

use super::super::compression::Bzip2Level;

const HEADER_BYTES: usize = 4;
pub(super) const END_MARK: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
/// The end mark and the CRC behind it.
const END_BITS: u32 = 80;

/// The bits of a compressed block, with its magic and CRC.
pub(super) struct Block {
    bytes: Vec<u8>,
    /// How many of the bits are the block's.
    bits: usize,
    /// The CRC of its plain bytes.
    crc: u32,
}

impl Block {
    /// Of the stream that holds nothing else; `None` if it is not of that form.
    pub fn of(stream: &[u8]) -> Option<Block> {
        let bytes = stream.get(HEADER_BYTES..)?;
        let crc = u32::from_be_bytes(*bytes.get(6..)?.first_chunk()?);
        // The CRC of a stream of one block is that of the block.
        let end = END_MARK.iter().chain(&crc.to_be_bytes()).fold(0, |end, byte| end << 8 | u128::from(*byte));
        let tail = u128::from_be_bytes(*stream.last_chunk()?);
        // No two places can fit: the mark does not overlap with itself so closely.
        let is_padding =
            |bits: &u32| tail.trailing_zeros() >= *bits && (tail >> bits) % (1 << END_BITS) == end;
        let padding = (0..8).find(is_padding)?;
        let end_bits = usize::try_from(END_BITS + padding).ok()?;
        Some(Block { bytes: bytes.to_vec(), bits: (bytes.len() * 8).checked_sub(end_bits)?, crc })
    }
}

/// Writes one stream.
pub(super) struct Stream<W> {
    inner: W,
    bytes: Vec<u8>,
    /// The bits that do not fill a byte yet, from the highest on, and how many they are.
    started: u8,
    started_bits: u32,
    crc: u32,
}

impl<W: Write> Stream<W> {
    pub fn new(inner: W, level: Bzip2Level) -> Self {
        let header = vec![b'B', b'Z', b'h', b'0' + level.get()];
        Stream { inner, bytes: header, started: 0, started_bits: 0, crc: 0 }
    }

    /// Appends a block.
    pub fn write(&mut self, block: &Block) -> io::Result<()> {
        self.put(&block.bytes, block.bits);
        self.crc = self.crc.rotate_left(1) ^ block.crc;
        self.inner.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Ends the stream and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(&END_MARK, END_MARK.len() * 8);
        self.put(&self.crc.to_be_bytes(), 32);
        if self.started_bits > 0 {
            self.bytes.push(self.started);
        }
        self.inner.write_all(&self.bytes)?;
        Ok(self.inner)
    }

    /// Puts the first `bits` of `bytes`.
    fn put(&mut self, bytes: &[u8], bits: usize) {
        let (whole, last) = bytes.split_at_checked(bits / 8).unwrap_or((bytes, &[]));
        for byte in whole {
            self.bytes.push(self.started | byte >> self.started_bits);
            self.started = byte.checked_shl(8 - self.started_bits).unwrap_or(0);
        }
        let rest_bits = u32::try_from(bits % 8).unwrap_or(0);
        let Some(last) = last.first().filter(|_| rest_bits > 0) else { return };
        let last = last >> (8 - rest_bits) << (8 - rest_bits);
        self.started |= last >> self.started_bits;
        self.started_bits += rest_bits;
        if let Some(left_bits) = self.started_bits.checked_sub(8) {
            self.bytes.push(self.started);
            self.started = last << (rest_bits - left_bits);
            self.started_bits = left_bits;
        }
    }
}
