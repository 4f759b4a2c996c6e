//! One stream of blocks that were compressed apart.

use std::io::{self, Write};

use super::super::compression::Bzip2Level;
use super::bits::BitWriter;

pub(super) const END_MARK: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

/// The bits of a compressed block, with its magic and CRC.
pub(super) struct Block {
    pub bytes: Vec<u8>,
    /// How many of the bits are the block's.
    pub bits: usize,
    /// The CRC of its plain bytes.
    pub crc: u32,
}

/// Writes one stream.
pub(super) struct Stream<W> {
    inner: W,
    bits: BitWriter,
    crc: u32,
}

impl<W: Write> Stream<W> {
    pub fn new(inner: W, level: Bzip2Level) -> Self {
        Stream { inner, bits: BitWriter::new(header(level).to_vec()), crc: 0 }
    }

    /// Appends a block.
    pub fn write(&mut self, block: &Block) -> io::Result<()> {
        self.bits.put_bytes(&block.bytes, block.bits);
        self.crc = and_block(self.crc, block.crc);
        self.inner.write_all(self.bits.full_bytes())?;
        self.bits.clear();
        Ok(())
    }

    /// Ends the stream and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.bits.put_bytes(&END_MARK, END_MARK.len() * 8);
        self.bits.put(32, self.crc);
        self.inner.write_all(&self.bits.finish())?;
        Ok(self.inner)
    }
}

/// The first bytes of a stream.
pub(super) fn header(level: Bzip2Level) -> [u8; 4] {
    [b'B', b'Z', b'h', b'0' + level.get()]
}

/// The CRC of a stream with another block.
pub(super) fn and_block(stream: u32, block: u32) -> u32 {
    stream.rotate_left(1) ^ block
}
