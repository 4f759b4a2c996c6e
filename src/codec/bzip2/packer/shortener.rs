//! The first step: runs are shortened, and where blocks end.
//!
//! Of 4 to 255 equal bytes four are kept, followed by the number of the others. A block is full when that has made enough
//! bytes of the runs before the current one, which then opens the next block: bzip2's own rule, so that our blocks are
//! those of any other writer.
//!
//! Source: bzip2 1.0.8 `bzlib.c` (`add_pair_to_block`, `copy_input_until_stop`).

use crc_fast::{CrcAlgorithm, Digest};

use super::super::super::compression::Bzip2Level;
use super::super::runs::{LONG, WINDOW, Window, leading};

/// The longest run; what follows it is another one, even of the same byte.
const LONGEST_RUN: usize = 255;

/// A block of nothing but long runs could hold 46 MB of plain bytes. Ours end here: it costs some bytes for a block, and
/// lets a reader decompress several at the same time in bounded memory.
pub(in super::super) const MOST_PLAIN_BYTES: usize = 4 << 20;

/// A block whose runs were shortened; never empty.
pub(in super::super) struct Shortened {
    pub bytes: Vec<u8>,
    /// The CRC of its plain bytes.
    pub crc: u32,
}

/// Shortens the runs of one block after the other.
pub(in super::super) struct Shortener {
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
        if self.run < LONG { self.run } else { LONG + 1 }
    }

    fn put_run(&mut self) {
        let end = self.bytes.len() + self.made_of_run();
        let others = u8::try_from(self.run.saturating_sub(LONG)).unwrap_or(u8::MAX);
        self.bytes.extend_from_slice(&[self.byte, self.byte, self.byte, self.byte, others]);
        self.bytes.truncate(end);
        self.run = 0;
    }

    /// From the beginning of a run on: copies whole runs that stay as they are, and returns the rest, where a run begins
    /// that may be long. Leaves the last bytes of a block and of `plain` alone.
    fn copy_short_runs<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        let mut rest = plain;
        while let Some(bytes) = rest.get(..WINDOW)
            && let Some(window) = Window::of(rest)
            && self.bytes.len() + WINDOW < self.full
        {
            // Three bytes in a row that are equal to the next would be a long run: so runs end here.
            let long_run = window.long_run();
            let end = long_run.unwrap_or_else(|| window.last_end());
            let before = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            self.bytes.truncate(before + end);
            rest = rest.get(end..).unwrap_or_default();
            if long_run.is_some() {
                break;
            }
        }
        rest
    }
}

/// CRC-32 with the bits in bzip2's order: the highest first.
fn new_crc() -> Digest {
    Digest::new(CrcAlgorithm::Crc32Bzip2)
}
