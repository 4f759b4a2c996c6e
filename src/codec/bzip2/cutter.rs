//! Where blocks end: the library's own rule, so that blocks compressed apart are those of a single stream.
//!
//! Before anything else bzip2 shortens runs: of 4 to 255 equal bytes four are kept, followed by the number of the others.
//! A block is full when that has made enough bytes of the runs before the current one, which then opens the next block.

use super::super::compression::Bzip2Level;

/// The longest run; what follows it is another one, even of the same byte.
const LONGEST_RUN: u8 = 255;

/// Follows the bytes of a block up to its end.
pub(super) struct Cutter {
    full: usize,
    /// What the runs before the current one were made.
    coded: usize,
    byte: u8,
    /// The length of the current run; 0 before the first byte.
    run: u8,
}

impl Cutter {
    pub fn new(level: Bzip2Level) -> Self {
        // The library's margin for the last run.
        Cutter { full: 100_000 * usize::from(level.get()) - 19, coded: 0, byte: 0, run: 0 }
    }

    /// Takes the next bytes up to the end of the block, if that is among them: then returns how many these were.
    pub fn take(&mut self, plain: &[u8]) -> Option<usize> {
        for (count, byte) in plain.iter().enumerate() {
            if *byte == self.byte && (1..LONGEST_RUN).contains(&self.run) {
                self.run += 1;
                continue;
            }
            self.coded += match self.run {
                0..4 => usize::from(self.run),
                4.. => 5,
            };
            if self.coded >= self.full {
                return Some(count);
            }
            (self.byte, self.run) = (*byte, 1);
        }
        None
    }

    /// Begins a block.
    pub fn restart(&mut self) {
        (self.coded, self.run) = (0, 0);
    }
}
