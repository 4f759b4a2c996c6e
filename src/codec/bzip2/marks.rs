//! Finds where blocks and the ends of streams may begin: at any bit of the compressed bytes.
//!
//! The magic of a block, and an end mark, are 48 bits, so a block contains one by chance once in 2 to the 48th bits. No two
//! of them overlap by more than 40 bits.

use super::packer::BLOCK_MAGIC;
use super::stream::END_MARK;

/// How many bits a magic and an end mark have.
pub(super) const MARK_BITS: u32 = 48;

/// What may begin at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    End,
}

const KINDS: [(Kind, [u8; 6]); 2] = [(Kind::Block, BLOCK_MAGIC), (Kind::End, END_MARK)];

/// Looks through the bytes that it is given.
pub(super) struct Finder {
    /// The last eight bytes.
    last: u64,
    seen_bits: u64,
    /// For a byte that lies whole within a mark, at two places of it: which marks it may belong to. One bit for each kind
    /// and each number of bits that come after the mark in its last byte.
    fourth: [u16; 256],
    fifth: [u16; 256],
}

impl Finder {
    pub fn new() -> Self {
        let mut finder = Finder { last: 0, seen_bits: 0, fourth: [0; 256], fifth: [0; 256] };
        for (candidate, (_, mark, after)) in candidates().enumerate() {
            let [_, _, _, fourth, fifth, ..] = (mark << after).to_le_bytes();
            for (table, byte) in [(&mut finder.fourth, fourth), (&mut finder.fifth, fifth)] {
                if let Some(fitting) = table.get_mut(usize::from(byte)) {
                    *fitting |= 1 << candidate;
                }
            }
        }
        finder
    }

    /// Tells all marks that end within `bytes`, which follow those of the last call, by the number of their first bit.
    pub fn look(&mut self, bytes: &[u8], mut found: impl FnMut(u64, Kind)) {
        for byte in bytes {
            self.last = self.last << 8 | u64::from(*byte);
            self.seen_bits += 8;
            let [_, _, _, fourth, fifth, ..] = self.last.to_le_bytes();
            let fitting =
                |table: &[u16; 256], byte| table.get(usize::from(byte)).copied().unwrap_or_default();
            if fitting(&self.fourth, fourth) & fitting(&self.fifth, fifth) == 0 {
                continue;
            }
            for (kind, mark, after) in candidates() {
                if self.last >> after & ((1 << MARK_BITS) - 1) == mark {
                    found(self.seen_bits - u64::from(MARK_BITS) - after, kind);
                }
            }
        }
    }
}

/// Each mark with each number of bits that may come after it in its last byte.
fn candidates() -> impl Iterator<Item = (Kind, u64, u64)> {
    KINDS.into_iter().flat_map(|(kind, mark)| {
        let mark = mark.iter().fold(0, |mark, byte| mark << 8 | u64::from(*byte));
        (0..8).map(move |after| (kind, mark, after))
    })
}
