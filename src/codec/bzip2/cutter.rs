//! Where blocks end: the library's own rule, so that blocks compressed apart are those of a single stream.
//!
//! Before anything else bzip2 shortens runs: of 4 to 255 equal bytes four are kept, followed by the number of the others.
//! A block is full when that has made enough bytes of the runs before the current one, which then opens the next block.

use super::super::compression::Bzip2Level;

/// The longest run; what follows it is another one, even of the same byte.
const LONGEST_RUN: usize = 255;
/// What a run of four and more is made.
const CODED_RUN: usize = 5;

/// Follows the bytes of a block up to its end.
pub(super) struct Cutter {
    full: usize,
    /// What the runs before the current one were made.
    coded: usize,
    /// The byte of the current run.
    byte: u8,
    /// The length of the current run; 0 before the first byte.
    run: usize,
}

impl Cutter {
    pub fn new(level: Bzip2Level) -> Self {
        // The library's margin for the last run.
        Cutter { full: 100_000 * usize::from(level.get()) - 19, coded: 0, byte: 0, run: 0 }
    }

    /// Takes the next bytes up to the end of the block, if that is among them: then returns how many these were.
    pub fn take(&mut self, plain: &[u8]) -> Option<usize> {
        let (mut coded, mut byte, mut run) = (self.coded, self.byte, self.run);
        for (count, next) in plain.iter().copied().enumerate() {
            if next == byte && run != 0 && run != LONGEST_RUN {
                run += 1;
                continue;
            }
            coded += if run < 4 { run } else { CODED_RUN };
            if coded >= self.full {
                return Some(count);
            }
            (byte, run) = (next, 1);
        }
        (self.coded, self.byte, self.run) = (coded, byte, run);
        None
    }

    /// Begins a block.
    pub fn restart(&mut self) {
        (self.coded, self.run) = (0, 0);
    }
}
