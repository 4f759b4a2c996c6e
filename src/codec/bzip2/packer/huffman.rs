//! Huffman codes of bounded length.
//!
//! Of codes that are equally good, bzip2's: nodes of equal weight are taken in the order that its heap has them in.
//!
//! Source: bzip2 1.0.8 `huffman.c`.

use super::ranks::MOST_SYMBOLS;

/// No code is longer. Readers accept 20; bzip2 itself has written no more than 17 since 1.0.3.
const MOST_BITS: u8 = 17;

/// The number of bits for each symbol.
pub(super) type Lengths = [u8; MOST_SYMBOLS];

/// The code of a symbol.
#[derive(Clone, Copy, Default)]
pub(super) struct Code {
    pub bits: u32,
    pub length: u32,
}

/// The lengths of the codes of symbols that occur as often as `counts` says. One that does not occur has a code all the
/// same.
pub(super) fn lengths_for(counts: &[u32]) -> Lengths {
    // The weight is above the depth of the node, which decides between equal weights.
    let mut weights: Vec<u32> = counts.iter().map(|count| count.max(&1) << 8).collect();
    loop {
        let lengths = lengths_unbounded(&weights);
        if lengths.iter().all(|length| *length <= MOST_BITS) {
            return lengths;
        }
        for weight in &mut weights {
            *weight = (1 + (*weight >> 8) / 2) << 8;
        }
    }
}

fn lengths_unbounded(weights: &[u32]) -> Lengths {
    let mut heap = Heap { weights: weights.to_vec(), nodes: Vec::with_capacity(weights.len()) };
    for node in 0..weights.len() {
        heap.push(node);
    }
    let mut parents = vec![0; 2 * weights.len()];
    while let Some(first) = heap.pop()
        && let Some(second) = heap.pop()
    {
        let parent = heap.weights.len();
        for child in [first, second] {
            if let Some(place) = parents.get_mut(child) {
                *place = parent;
            }
        }
        let (first, second) = (heap.weight(first), heap.weight(second));
        let depth = 1 + (first & 0xff).max(second & 0xff);
        heap.weights.push(((first & !0xff) + (second & !0xff)) | depth);
        heap.push(parent);
    }
    // A parent comes after its children; the root is the last.
    let mut depths = vec![0_u8; heap.weights.len()];
    for node in (0..depths.len().saturating_sub(1)).rev() {
        let parent = parents.get(node).copied().unwrap_or_default();
        let depth = depths.get(parent).copied().unwrap_or_default().saturating_add(1);
        if let Some(place) = depths.get_mut(node) {
            *place = depth;
        }
    }
    let mut lengths = [0; MOST_SYMBOLS];
    for (length, depth) in lengths.iter_mut().zip(depths.iter().take(weights.len())) {
        *length = *depth;
    }
    lengths
}

/// Nodes, the lightest first.
struct Heap {
    /// Of all nodes, also of those that were taken.
    weights: Vec<u32>,
    nodes: Vec<usize>,
}

impl Heap {
    fn weight(&self, node: usize) -> u32 {
        self.weights.get(node).copied().unwrap_or_default()
    }

    /// The node in a slot of the heap, and its weight.
    fn slot(&self, slot: usize) -> Option<(usize, u32)> {
        let node = *self.nodes.get(slot)?;
        Some((node, self.weight(node)))
    }

    fn set(&mut self, slot: usize, node: usize) {
        if let Some(place) = self.nodes.get_mut(slot) {
            *place = node;
        }
    }

    fn push(&mut self, node: usize) {
        let weight = self.weight(node);
        let mut slot = self.nodes.len();
        self.nodes.push(node);
        while slot > 0
            && let Some((above, heavier)) = self.slot((slot - 1) / 2)
            && weight < heavier
        {
            self.set(slot, above);
            slot = (slot - 1) / 2;
        }
        self.set(slot, node);
    }

    fn pop(&mut self) -> Option<usize> {
        let first = *self.nodes.first()?;
        let node = self.nodes.pop()?;
        let weight = self.weight(node);
        let mut slot = 0;
        while let Some(mut below) = self.slot(2 * slot + 1) {
            let mut below_slot = 2 * slot + 1;
            if let Some(other) = self.slot(below_slot + 1)
                && other.1 < below.1
            {
                (below, below_slot) = (other, below_slot + 1);
            }
            if weight < below.1 {
                break;
            }
            self.set(slot, below.0);
            slot = below_slot;
        }
        self.set(slot, node);
        Some(first)
    }
}

/// The codes of these lengths: shorter ones first, those of one length in the order of the symbols.
pub(super) fn codes_of(lengths: &Lengths) -> [Code; MOST_SYMBOLS] {
    let mut codes = [Code::default(); MOST_SYMBOLS];
    let mut bits = 0;
    for length in 1..=MOST_BITS {
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, of)| **of == length) {
            *code = Code { bits, length: u32::from(length) };
            bits += 1;
        }
        bits <<= 1;
    }
    codes
}
