//! Move to front: each byte becomes its rank among the bytes that came before, latest first; and runs of rank 0, which
//! is nearly all that the sort has left, become numbers.
//!
//! | symbol | |
//! |---|---|
//! | 0, 1 | the digits 1 and 2, lowest first, of the length of a run of rank 0 |
//! | 2 to 256 | the ranks 1 to 255 |
//! | the number of bytes that occur + 1 | the end of the block |
//!
//! Source: bzip2 1.0.8 `compress.c` (`generateMTFValues`).

use super::super::runs::leading;

/// The symbols of a block: of 256 bytes, the two digits, and the end less the rank 0.
pub(super) const MOST_SYMBOLS: usize = 258;

const WORD: usize = size_of::<u64>();
/// The highest bit of each byte.
const EACH_BYTE: u64 = u64::from_le_bytes([0x80; WORD]);

/// The symbols of a block.
pub(super) struct Ranks {
    pub symbols: Vec<u16>,
    /// How often each of them occurs, up to the end.
    pub counts: Vec<u32>,
    /// Which bytes occur.
    pub occurs: [bool; 256],
    /// The bytes, latest first; each word from its lowest byte on.
    order: [u64; 256 / WORD],
}

impl Ranks {
    pub fn new() -> Self {
        Ranks { symbols: Vec::new(), counts: Vec::new(), occurs: [false; 256], order: [0; 256 / WORD] }
    }

    /// Makes symbols of `bytes`.
    pub fn replace(&mut self, bytes: &[u8]) {
        self.begin(bytes);
        let mut rest = bytes;
        let mut zeros = 0;
        while let Some((byte, after)) = rest.split_first() {
            let more = leading(after, *byte);
            rest = after.get(more..).unwrap_or_default();
            match self.rank(*byte) {
                // Only the first byte: all others are not what the run before was made of.
                0 => zeros = 1 + more,
                rank => {
                    self.put_zeros(zeros);
                    self.put(rank + 1);
                    zeros = more;
                }
            }
        }
        self.put_zeros(zeros);
        let end = self.counts.len().saturating_sub(1);
        self.put(u16::try_from(end).unwrap_or_default());
    }

    /// The bytes that occur come first, in their own order.
    fn begin(&mut self, bytes: &[u8]) {
        self.occurs = [false; 256];
        for byte in bytes {
            if let Some(occurs) = self.occurs.get_mut(usize::from(*byte)) {
                *occurs = true;
            }
        }
        let occurring = (0..=u8::MAX).zip(&self.occurs).filter(|(_, occurs)| **occurs);
        let mut order = [0; 256];
        for (place, (byte, _)) in order.iter_mut().zip(occurring) {
            *place = byte;
        }
        let (words, _) = order.as_chunks();
        for (word, bytes) in self.order.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        self.symbols.clear();
        self.counts.clear();
        self.counts.resize(self.occurs.iter().filter(|occurs| **occurs).count() + 2, 0);
    }

    /// The rank of a byte that occurs; it is the first one then.
    fn rank(&mut self, byte: u8) -> u16 {
        let pattern = u64::from_le_bytes([byte; WORD]);
        let mut moved = u64::from(byte);
        let mut rank = 0;
        for word in &mut self.order {
            let differs = *word ^ pattern;
            let equal = !(((differs & !EACH_BYTE) + !EACH_BYTE) | differs) & EACH_BYTE;
            let shifted = *word << 8 | moved;
            if equal != 0 {
                let stays = u64::MAX << equal.trailing_zeros() << 1;
                *word = *word & stays | shifted & !stays;
                return rank + u16::try_from(equal.trailing_zeros() / 8).unwrap_or_default();
            }
            moved = *word >> (u64::BITS - 8);
            *word = shifted;
            rank += 8;
        }
        rank
    }

    fn put_zeros(&mut self, mut length: usize) {
        while length > 0 {
            self.put(u16::from(length.is_multiple_of(2)));
            length = (length - 1) / 2;
        }
    }

    fn put(&mut self, symbol: u16) {
        self.symbols.push(symbol);
        if let Some(count) = self.counts.get_mut(usize::from(symbol)) {
            *count += 1;
        }
    }
}
