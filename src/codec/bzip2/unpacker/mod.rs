//! Decompresses blocks, which [`packer`](super::packer) describes.
//!
//! Not all that the library reads: what is unusual or damaged is left to it.

mod codes;
mod lengthener;
mod ranks;
mod rotations;

use crc_fast::{CrcAlgorithm, checksum};

use super::bits::BitReader;
use super::packer::{BLOCK_MAGIC, GROUP};
use codes::Codes;
use lengthener::lengthen;
use ranks::LastBytes;
use rotations::Rotations;

/// Decompresses one block after the other. Memory: 0.7 MB times the level, kept for the next block.
pub(super) struct Unpacker {
    /// For each group of symbols the number of its table.
    choices: Vec<u8>,
    last_bytes: LastBytes,
    rotations: Rotations,
}

impl Unpacker {
    pub fn new() -> Self {
        Unpacker { choices: Vec::new(), last_bytes: LastBytes::new(), rotations: Rotations::new() }
    }

    /// The plain bytes of a block of this level that is all of `packed`. `None` if it is none, or one for the library.
    pub fn unpack(&mut self, packed: &Packed) -> Option<Vec<u8>> {
        let mut source = BitReader::new(&packed.bytes);
        if !BLOCK_MAGIC.iter().all(|byte| source.take(8) == u32::from(*byte)) {
            return None;
        }
        let crc = source.take(32);
        // 1 is a block whose bytes were changed at random, which no bzip2 has written since 1999.
        if source.take(1) != 0 {
            return None;
        }
        let origin = source.take(24);
        let occurring = Some(occurring(&mut source)).filter(|occurring| !occurring.is_empty())?;
        let tables = usize::try_from(source.take(3)).ok()?;
        self.take_choices(&mut source, tables)?;
        let symbols = occurring.len() + 2;
        let tables: Vec<Codes> =
            (0..tables).map(|_| Codes::read(&mut source, symbols)).collect::<Option<_>>()?;
        self.take_symbols(&mut source, &tables, &occurring, packed.level)?;
        if source.taken() != packed.bits {
            return None;
        }
        let shortened = self.rotations.block(&self.last_bytes, origin)?;
        let plain = lengthen(shortened)?;
        (checksum(CrcAlgorithm::Crc32Bzip2, &plain) == u64::from(crc)).then_some(plain)
    }

    fn take_choices(&mut self, source: &mut BitReader, tables: usize) -> Option<()> {
        let mut order = [0, 1, 2, 3, 4, 5];
        let possible = order.get(..tables).filter(|possible| possible.len() > 1)?.len();
        let count = source.take(15);
        self.choices.clear();
        for _ in 0..count {
            let rank = (0..possible).find(|_| source.take(1) == 0)?;
            order.get_mut(..=rank)?.rotate_right(1);
            self.choices.extend(order.first());
        }
        Some(())
    }

    /// Fills `last_bytes`.
    fn take_symbols(
        &mut self,
        source: &mut BitReader,
        tables: &[Codes],
        occurring: &[u8],
        level: u8,
    ) -> Option<()> {
        let end = u16::try_from(occurring.len() + 1).ok()?;
        self.last_bytes.begin(occurring, 100_000 * usize::from(level));
        for choice in &self.choices {
            let codes = tables.get(usize::from(*choice))?;
            for _ in 0..GROUP {
                match codes.take(source)? {
                    symbol if symbol == end => return self.last_bytes.put_run(),
                    symbol => self.last_bytes.put(symbol)?,
                }
            }
        }
        None
    }
}

/// A block, from its magic on.
pub(super) struct Packed {
    pub bytes: Vec<u8>,
    /// How many of the bits are the block's.
    pub bits: usize,
    /// That of its stream, 1 to 9.
    pub level: u8,
}

/// Which bytes occur.
fn occurring(source: &mut BitReader) -> Vec<u8> {
    let groups = source.take(16);
    let is_set = |mask: u32, bit: u8| mask >> (15 - bit) & 1 == 1;
    let mut occurring = Vec::new();
    for group in (0..16).filter(|group| is_set(groups, *group)) {
        let bytes = source.take(16);
        occurring.extend((0..16).filter(|byte| is_set(bytes, *byte)).map(|byte| group * 16 + byte));
    }
    occurring
}
