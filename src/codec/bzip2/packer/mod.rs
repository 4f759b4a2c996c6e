//! Compresses blocks.
//!
//! | bits of a block | |
//! |---|---|
//! | 48, 32 | magic, CRC of the plain bytes |
//! | 1, 24 | 0, which of the sorted rotations is the block |
//! | 16, and up to 16 times 16 | which bytes occur: groups of 16, then the bytes of each group that has any |
//! | 3, 15, and one of 1 to 6 for each 50 symbols | number of code tables, number of choices, the choices, moved to front |
//! | for each table: 5, then 1 to 3 or more for each symbol | lengths of codes, as differences |
//! | | the symbols |
//!
//! Source: bzip2 1.0.8 `compress.c`.

mod huffman;
mod ranks;
pub(super) mod rotations;
pub(super) mod shortener;

use std::io;

use super::bits::BitWriter;
use super::stream::Block;
use huffman::{Code, Lengths, codes_of, lengths_for};
use ranks::{MOST_SYMBOLS, Ranks};
use rotations::Rotations;
use shortener::Shortened;

/// So many symbols use the same table.
pub(super) const GROUP: usize = 50;
const MOST_TABLES: usize = 6;
/// How often the tables are made better: each time from the groups that would choose them.
const ROUNDS: usize = 4;
/// The first guess, in bits: what a table is good for, and what it is not.
const CHEAP: u8 = 0;
const DEAR: u8 = 15;

pub(super) const BLOCK_MAGIC: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];

/// Compresses one block after the other. Memory: 0.8 MB times the level, kept for the next block.
pub(super) struct Packer {
    rotations: Rotations,
    ranks: Ranks,
    /// For each group the number of its table.
    choices: Vec<u8>,
}

impl Packer {
    pub fn new() -> Self {
        Packer { rotations: Rotations::new(), ranks: Ranks::new(), choices: Vec::new() }
    }

    /// # Errors
    /// There is not enough memory.
    pub fn pack(&mut self, block: Shortened) -> io::Result<Block> {
        let crc = block.crc;
        self.rotations.sort(block.bytes)?;
        self.ranks.replace(&self.rotations.last_bytes);
        let tables = self.choose_tables();

        // As much as ten symbols of eleven bits for each sixteen bytes.
        let mut bits = BitWriter::new(Vec::with_capacity(self.ranks.symbols.len() / 2 + 1024));
        bits.put_bytes(&BLOCK_MAGIC, BLOCK_MAGIC.len() * 8);
        bits.put(32, crc);
        bits.put(25, self.rotations.origin);
        self.put_occurring(&mut bits);
        self.put_choices(&mut bits, tables.len());
        for table in &tables {
            put_lengths(&mut bits, table.get(..self.ranks.counts.len()).unwrap_or(table));
        }
        self.put_symbols(&mut bits, &tables);
        let count = bits.len();
        Ok(Block { bytes: bits.finish(), bits: count, crc })
    }

    /// Makes the tables and `choices`.
    fn choose_tables(&mut self) -> Vec<Lengths> {
        let symbols = &self.ranks.symbols;
        let alphabet = self.ranks.counts.len();
        let mut tables = first_guess(&self.ranks.counts, symbols.len());
        for _ in 0..ROUNDS {
            let costs = costs_of(&tables);
            let mut counts = [[0_u32; MOST_SYMBOLS]; MOST_TABLES];
            self.choices.clear();
            for group in symbols.chunks(GROUP) {
                let best = cheapest(group, &costs, tables.len());
                self.choices.push(best);
                if let Some(counts) = counts.get_mut(usize::from(best)) {
                    for symbol in group {
                        if let Some(count) = counts.get_mut(usize::from(*symbol)) {
                            *count += 1;
                        }
                    }
                }
            }
            for (table, counts) in tables.iter_mut().zip(&counts) {
                *table = lengths_for(counts.get(..alphabet).unwrap_or(counts));
            }
        }
        tables
    }

    fn put_occurring(&self, bits: &mut BitWriter) {
        let (groups, _) = self.ranks.occurs.as_chunks::<16>();
        let mask = |occur: &mut dyn Iterator<Item = bool>| {
            occur.fold(0, |mask, occurs| mask << 1 | u32::from(occurs))
        };
        let any = |group: &&[bool; 16]| group.contains(&true);
        bits.put(16, mask(&mut groups.iter().map(|group| any(&group))));
        for group in groups.iter().filter(any) {
            bits.put(16, mask(&mut group.iter().copied()));
        }
    }

    fn put_choices(&self, bits: &mut BitWriter, tables: usize) {
        bits.put(3, u32::try_from(tables).unwrap_or_default());
        // Less than 2 to the 15th: there are at most 900,001 symbols.
        bits.put(15, u32::try_from(self.choices.len()).unwrap_or_default());
        let mut order = [0, 1, 2, 3, 4, 5];
        for choice in &self.choices {
            let rank = order.iter().position(|other| other == choice).unwrap_or_default();
            if let Some(moved) = order.get_mut(..=rank) {
                moved.rotate_right(1);
            }
            // So many ones, and a zero.
            let rank = u32::try_from(rank).unwrap_or_default();
            bits.put(rank + 1, (1 << (rank + 1)) - 2);
        }
    }

    fn put_symbols(&self, bits: &mut BitWriter, tables: &[Lengths]) {
        let codes: Vec<[Code; MOST_SYMBOLS]> = tables.iter().map(codes_of).collect();
        for (group, choice) in self.ranks.symbols.chunks(GROUP).zip(&self.choices) {
            let Some(codes) = codes.get(usize::from(*choice)) else { continue };
            for symbol in group {
                let code = codes.get(usize::from(*symbol)).copied().unwrap_or_default();
                bits.put(code.length, code.bits);
            }
        }
    }
}

/// Each table for a range of symbols that together occur about equally often, the last table for the first symbols.
fn first_guess(counts: &[u32], symbols: usize) -> Vec<Lengths> {
    let number = match symbols {
        0..200 => 2,
        200..600 => 3,
        600..1200 => 4,
        1200..2400 => 5,
        _ => MOST_TABLES,
    };
    let mut tables = vec![[DEAR; MOST_SYMBOLS]; number];
    let mut left = u32::try_from(symbols).unwrap_or_default();
    let mut begin = 0;
    for (table, parts) in tables.iter_mut().rev().zip((1..=number).rev()) {
        let share = left / u32::try_from(parts).unwrap_or(1);
        let mut occur = 0;
        let mut end = begin;
        while occur < share
            && let Some(count) = counts.get(end)
        {
            occur += count;
            end += 1;
        }
        // Every second one leaves the symbol that went beyond its share to the next.
        if end > begin + 1 && parts != number && parts != 1 && (number - parts) % 2 == 1 {
            end -= 1;
            occur -= counts.get(end).copied().unwrap_or_default();
        }
        if let Some(range) = table.get_mut(begin..end) {
            range.fill(CHEAP);
        }
        begin = end;
        left -= occur;
    }
    tables
}

/// For each symbol what it costs by each table; side by side, so that those of a group can be added together.
type Costs = [[u16; 8]; MOST_SYMBOLS];

fn costs_of(tables: &[Lengths]) -> Costs {
    let mut costs = [[0; 8]; MOST_SYMBOLS];
    for (column, table) in tables.iter().enumerate() {
        for (costs, length) in costs.iter_mut().zip(table) {
            if let Some(cost) = costs.get_mut(column) {
                *cost = u16::from(*length);
            }
        }
    }
    costs
}

fn cheapest(group: &[u16], costs: &Costs, tables: usize) -> u8 {
    let mut sums = [0_u16; 8];
    for symbol in group {
        if let Some(costs) = costs.get(usize::from(*symbol)) {
            for (sum, cost) in sums.iter_mut().zip(costs) {
                *sum += cost;
            }
        }
    }
    let best = (0..).zip(sums).take(tables).min_by_key(|(_, sum)| *sum);
    best.map_or(0, |(table, _)| table)
}

/// The first length, and for each symbol the steps from that before it: `10` is one more, `11` one less, `0` the end.
fn put_lengths(bits: &mut BitWriter, lengths: &[u8]) {
    let mut current = lengths.first().copied().unwrap_or_default();
    bits.put(5, u32::from(current));
    for length in lengths {
        for _ in current..*length {
            bits.put(2, 0b10);
        }
        for _ in *length..current {
            bits.put(2, 0b11);
        }
        bits.put(1, 0);
        current = *length;
    }
}
