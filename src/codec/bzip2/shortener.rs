//! The first step: runs are shortened, and where blocks end.
//!
//! Of 4 to 255 equal bytes four are kept, followed by the number of the others. A block is full when that has made enough
//! bytes of the runs before the current one, which then opens the next block: bzip2's own rule, so that our blocks are
//! those of any other writer.
//!
//! Source: bzip2 1.0.8 `bzlib.c` (`add_pair_to_block`, `copy_input_until_stop`).

use crc_fast::{CrcAlgorithm, Digest};

use super::super::compression::Bzip2Level;

/// The longest run; what follows it is another one, even of the same byte.
const LONGEST_RUN: usize = 255;
/// How long a run is shortened, and how many of its bytes are kept.
const KEPT: usize = 4;

/// A block of nothing but long runs could hold 46 MB of plain bytes. Ours end here: it costs some bytes for a block, and
/// lets a reader decompress several at the same time in bounded memory.
pub(super) const MOST_PLAIN_BYTES: usize = 4 << 20;

/// A block whose runs were shortened; never empty.
pub(super) struct Shortened {
    pub bytes: Vec<u8>,
    /// The CRC of its plain bytes.
    pub crc: u32,
}

/// Shortens the runs of one block after the other.
pub(super) struct Shortener {
    full: usize,
    /// What the runs before the current one were made.
    bytes: Vec<u8>,
    plain_bytes: usize,
    crc: Digest,
    /// The byte of the current run.
    byte: u8,
    /// The length of the current run; 0 before the first byte.
    run: usize,
}

impl Shortener {
    pub fn new(level: Bzip2Level) -> Self {
        // The library's margin for the last run.
        let full = 100_000 * usize::from(level.get()) - 19;
        Shortener { full, bytes: Vec::new(), plain_bytes: 0, crc: new_crc(), byte: 0, run: 0 }
    }

    /// Takes the next bytes into the block and returns how many: all, unless the block is full.
    pub fn take(&mut self, plain: &[u8]) -> usize {
        let room = MOST_PLAIN_BYTES - self.plain_bytes;
        let offered = plain.get(..room).unwrap_or(plain);
        let count = offered.len() - self.shorten(offered).len();
        self.crc.update(offered.get(..count).unwrap_or_default());
        self.plain_bytes += count;
        count
    }

    /// Ends the block and begins another one; `None` if it is empty.
    pub fn end(&mut self) -> Option<Shortened> {
        if self.run == 0 {
            return None;
        }
        self.put_run();
        let next = Vec::with_capacity(self.full + WINDOW);
        let bytes = std::mem::replace(&mut self.bytes, next);
        self.plain_bytes = 0;
        let crc = std::mem::replace(&mut self.crc, new_crc()).finalize();
        // It has 32 bits.
        Some(Shortened { bytes, crc: u32::try_from(crc).unwrap_or_default() })
    }

    /// Returns what is left, since the block is full.
    fn shorten<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        let mut rest = plain;
        loop {
            if self.run > 0 {
                let more = leading(rest.get(..LONGEST_RUN - self.run).unwrap_or(rest), self.byte);
                self.run += more;
                rest = rest.get(more..).unwrap_or_default();
                if rest.is_empty() || self.bytes.len() + self.made_of_run() >= self.full {
                    return rest;
                }
                self.put_run();
            }
            rest = self.copy_short_runs(rest);
            let Some((byte, after)) = rest.split_first() else { return rest };
            (self.byte, self.run, rest) = (*byte, 1, after);
        }
    }

    /// What the current run is made has this many bytes.
    fn made_of_run(&self) -> usize {
        if self.run < KEPT { self.run } else { KEPT + 1 }
    }

    fn put_run(&mut self) {
        let end = self.bytes.len() + self.made_of_run();
        let others = u8::try_from(self.run.saturating_sub(KEPT)).unwrap_or(u8::MAX);
        self.bytes.extend_from_slice(&[self.byte, self.byte, self.byte, self.byte, others]);
        self.bytes.truncate(end);
        self.run = 0;
    }

    /// From the beginning of a run on: copies whole runs that stay as they are, and returns the rest, where a run begins
    /// that may be long. Leaves the last bytes of a block and of `plain` alone.
    fn copy_short_runs<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        let mut rest = plain;
        while let Some(window) = rest.first_chunk::<{ WINDOW + 1 }>()
            && self.bytes.len() + WINDOW < self.full
        {
            let ([bytes @ .., _], [_, next @ ..]) = (window, window);
            let differs = not_zero(u128::from_le_bytes(*bytes) ^ u128::from_le_bytes(*next));
            // A set bit: this byte and the three after it are equal.
            let long = !(differs | differs >> 8 | differs >> 16) & EACH_BYTE >> 16;
            // A run ends in each of the differing bytes. Three bytes in a row that do not differ would be a long run.
            let end = if long == 0 { 128 - differs.leading_zeros() } else { long.trailing_zeros() - 7 } / 8;
            let end = usize::try_from(end).unwrap_or(WINDOW);
            let before = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            self.bytes.truncate(before + end);
            rest = rest.get(end..).unwrap_or_default();
            if long != 0 {
                break;
            }
        }
        rest
    }
}

/// How many bytes [`Shortener::copy_short_runs`] looks at.
const WINDOW: usize = 16;
/// The highest bit of each byte.
const EACH_BYTE: u128 = u128::from_ne_bytes([0x80; WINDOW]);

/// Sets the highest bit of each byte that is not zero, and clears all other bits.
fn not_zero(bytes: u128) -> u128 {
    (((bytes & !EACH_BYTE) + !EACH_BYTE) | bytes) & EACH_BYTE
}

/// How many bytes at the beginning are `byte`.
pub(super) fn leading(bytes: &[u8], byte: u8) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let pattern = u64::from_le_bytes([byte; 8]);
    for (index, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ pattern;
        if differs != 0 {
            return index * 8 + usize::try_from(differs.trailing_zeros() / 8).unwrap_or(8);
        }
    }
    let whole = words.len() * 8;
    whole + bytes.iter().skip(whole).take_while(|next| **next == byte).count()
}

/// CRC-32 with the bits in bzip2's order: the highest first.
fn new_crc() -> Digest {
    Digest::new(CrcAlgorithm::Crc32Bzip2)
}
