//! The Burrows-Wheeler transform: of all rotations of a block, in their order, the last bytes.
//!
//! A fast sort of suffixes does it: of the least of all rotations, they are in the order in which the rotations are that
//! begin where they do. (It is a Lyndon word, or one repeated. Of a Lyndon word, no suffix that begins another one is
//! greater: so what follows the end does not matter. Of one repeated, suffixes whose rotations are equal have the same
//! byte before them, so that their order does not matter either.)

use std::cmp::Ordering;
use std::io;

use libsais::SuffixArrayConstruction;

/// The last bytes of a block's rotations, in the order of the rotations.
pub(in super::super) struct Rotations {
    /// For the sort: where each suffix begins. Four times the size of a block.
    starts: Vec<i32>,
    pub last_bytes: Vec<u8>,
    /// Which of the rotations is the block itself.
    pub origin: u32,
}

impl Rotations {
    pub fn new() -> Self {
        Rotations { starts: Vec::new(), last_bytes: Vec::new(), origin: 0 }
    }

    /// Transforms `block`, which is not empty.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn sort(&mut self, mut block: Vec<u8>) -> io::Result<()> {
        let least = least_rotation(&block);
        block.rotate_left(least);
        let begin = if least == 0 { 0 } else { block.len() - least };
        self.starts.resize(block.len(), 0);
        SuffixArrayConstruction::for_text(&block)
            .in_borrowed_buffer(&mut self.starts)
            .single_threaded()
            .run()
            .map_err(|e| io::Error::other(format!("cannot sort a block for bzip2: {e:?}")))?;
        let is_origin = |start: &i32| usize::try_from(*start) == Ok(begin);
        let origin = self.starts.iter().position(is_origin).unwrap_or_default();
        self.origin = u32::try_from(origin).unwrap_or_default();
        let last = block.last().copied().unwrap_or_default();
        let before = |start: &i32| usize::try_from(*start - 1).ok().and_then(|before| block.get(before));
        self.last_bytes.clear();
        self.last_bytes.extend(self.starts.iter().map(|start| before(start).copied().unwrap_or(last)));
        Ok(())
    }
}

/// Where the least of all rotations begins.
///
/// All places before `next` but `best` are ruled out. Where the two rotations differ after `equal` bytes, so are the
/// places of the greater one up to there, since each has the same place of the lesser one against it. So no byte is
/// looked at more than a few times.
fn least_rotation(block: &[u8]) -> usize {
    let (mut best, mut next, mut equal) = (0, 1, 0);
    while equal < block.len() {
        if equal == 0
            && let Some(byte) = block.get(best)
            && let Some(rest) = block.get(next..)
        {
            next += rest.iter().take_while(|other| *other > byte).count();
        }
        if next >= block.len() {
            break;
        }
        let (same, order) = compare(block, best + equal, next + equal);
        equal += same;
        match order {
            Ordering::Equal => {}
            Ordering::Less => (next, equal) = (next + equal + 1, 0),
            Ordering::Greater => {
                best = next.max(best + equal + 1);
                (next, equal) = (best + 1, 0);
            }
        }
    }
    best
}

/// Compares some bytes from these two places on, which may be beyond the end of the block: how many are the same, and the
/// order of those behind them, unless that is still open.
fn compare(block: &[u8], one: usize, other: usize) -> (usize, Ordering) {
    let word = |place| block.get(place..)?.first_chunk().map(|word| u64::from_be_bytes(*word));
    if let (Some(one), Some(other)) = (word(one), word(other)) {
        let same = (one ^ other).leading_zeros() / 8;
        return (usize::try_from(same).unwrap_or(8), one.cmp(&other));
    }
    let byte = |place| block.get(place).or_else(|| block.get(place - block.len()));
    let order = byte(one).cmp(&byte(other));
    (usize::from(order == Ordering::Equal), order)
}
