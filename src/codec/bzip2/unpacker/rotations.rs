//! The Burrows-Wheeler transform backwards.
//!
//! Sorted, the last bytes of the rotations are their first ones; and rotations that begin with the same byte are in the
//! order of those that begin behind it. So it is known of each rotation what its first byte is, and which one begins
//! behind that: a walk through all of them spells the block.
//!
//! But each step of a walk waits for the memory. So there are many walks, some of them under way at the same time, and
//! each one ends where another begins.

use super::ranks::LastBytes;

/// Walks under way at the same time.
const LANES: usize = 8;
/// Walks in a block, but for the one that begins it.
const WALKS: usize = 256;
/// The bytes that a walk spells before they are put to the others.
const PIECE: usize = 1024;

/// What is known of a rotation: which one begins behind its first byte, and in the highest byte that byte. But of one where
/// a walk begins, [`BEGINS`] and the number of the walk.
type Step = u32;
const BYTE_SHIFT: u32 = 24;
/// Above the number of any rotation: a block has 900,000 at most.
const BEGINS: Step = 1 << 23;

/// Undoes the transform of one block after the other. Memory: 0.6 MB times the level, kept for the next block.
pub(super) struct Rotations {
    steps: Vec<Step>,
    /// The first one begins the block.
    walks: Vec<Walk>,
    block: Vec<u8>,
}

#[derive(Default)]
struct Walk {
    /// The step that was where it begins.
    first: Step,
    bytes: Vec<u8>,
    /// The walk that begins where it ends.
    next: usize,
}

impl Rotations {
    pub fn new() -> Self {
        Rotations { steps: Vec::new(), walks: Vec::new(), block: Vec::new() }
    }

    /// The block that is rotation `origin`; `None` if there is no such rotation.
    pub fn block(&mut self, bytes: &LastBytes, origin: u32) -> Option<&[u8]> {
        self.know_steps(bytes)?;
        self.begin_walks(usize::try_from(origin).ok()?)?;
        self.walk()?;
        self.join_walks();
        Some(&self.block)
    }

    fn know_steps(&mut self, bytes: &LastBytes) -> Option<()> {
        let mut places = [0; 256];
        let mut place = 0;
        for (first, count) in places.iter_mut().zip(&bytes.counts) {
            *first = place;
            place += count;
        }
        self.steps.resize(bytes.bytes.len(), 0);
        for (rotation, byte) in (0..).zip(&bytes.bytes) {
            let place = places.get_mut(usize::from(*byte))?;
            *self.steps.get_mut(*place)? = rotation | Step::from(*byte) << BYTE_SHIFT;
            *place += 1;
        }
        Some(())
    }

    fn begin_walks(&mut self, origin: usize) -> Option<()> {
        self.walks.resize_with(WALKS + 1, Walk::default);
        let apart = self.steps.len().div_ceil(WALKS).max(1);
        let others = (0..self.steps.len()).step_by(apart).filter(|begin| *begin != origin);
        let mut number = 0;
        for (begin, walk) in std::iter::once(origin).chain(others).zip(&mut self.walks) {
            let begins = BEGINS | Step::try_from(number).ok()?;
            walk.first = std::mem::replace(self.steps.get_mut(begin)?, begins);
            walk.bytes.clear();
            number += 1;
        }
        self.walks.truncate(number);
        Some(())
    }

    fn walk(&mut self) -> Option<()> {
        let mut others = self.walks.iter_mut();
        let mut lanes: [Option<&mut Walk>; LANES] = std::array::from_fn(|_| None);
        // Of a lane without a walk, `BEGINS` is set before each of its steps, which mean nothing.
        let mut steps = [BEGINS; LANES];
        let mut spelt = [[0; PIECE]; LANES];
        loop {
            for (lane, step) in lanes.iter_mut().zip(&mut steps).filter(|(_, step)| begins(**step)) {
                if let Some(ended) = lane.take() {
                    ended.next = number(*step);
                }
                *lane = others.next();
                *step = lane.as_ref().map_or(BEGINS, |walk| walk.first);
            }
            if lanes.iter().all(Option::is_none) {
                return Some(());
            }
            let count = self::walk(&self.steps, &mut steps, &mut spelt)?;
            for (walk, spelt) in lanes.iter_mut().zip(&spelt) {
                if let Some(walk) = walk {
                    walk.bytes.extend_from_slice(spelt.get(..count)?);
                }
            }
        }
    }

    fn join_walks(&mut self) {
        let length = self.steps.len();
        self.block.clear();
        self.block.reserve_exact(length);
        let mut next = 0;
        // A block that repeats itself has several rounds, or one that is repeated.
        while let Some(walk) = self.walks.get(next)
            && self.block.len() < length
        {
            let room = length - self.block.len();
            self.block.extend_from_slice(walk.bytes.get(..room).unwrap_or(&walk.bytes));
            next = walk.next;
        }
    }
}

/// Goes on with each lane until one of them comes to where a walk begins, or all have spelt a piece; returns how many bytes
/// each has spelt.
fn walk(all: &[Step], steps: &mut [Step; LANES], spelt: &mut [[u8; PIECE]; LANES]) -> Option<usize> {
    let idle = steps.map(|step| step & BEGINS);
    for piece in 0..PIECE {
        let mut ended = 0;
        for ((step, spelt), idle) in steps.iter_mut().zip(&mut *spelt).zip(&idle) {
            let [byte, ..] = step.to_be_bytes();
            *spelt.get_mut(piece)? = byte;
            *step = *all.get(number(*step))? | idle;
            ended |= *step ^ idle;
        }
        if begins(ended) {
            return Some(piece + 1);
        }
    }
    Some(PIECE)
}

/// Whether a walk begins here.
fn begins(step: Step) -> bool {
    step & BEGINS != 0
}

/// The next rotation, or the number of the walk.
fn number(step: Step) -> usize {
    usize::try_from(step & (BEGINS - 1)).unwrap_or_default()
}
