//! Reads symbols by their codes, which [`packer::huffman`](super::super::packer::huffman) describes.
//!
//! Source: bzip2 1.0.8 `decompress.c`, `huffman.c` (`BZ2_hbCreateDecodeTables`).

use super::super::bits::BitReader;

/// The library reads no longer codes.
const MOST_BITS: u32 = 20;
/// Codes of up to so many bits are looked up.
const SHORT_BITS: u32 = 10;
const SHORT_CODES: usize = 1 << SHORT_BITS;

/// The codes of a table.
pub(super) struct Codes {
    /// For each beginning: symbol and length of the code, or the length 0 if it is longer or none.
    short: Box<[(u16, u8); SHORT_CODES]>,
    /// The lengths above, in their order.
    long: Vec<Long>,
    /// In the order of their codes.
    symbols: Vec<u16>,
}

/// The codes of one length.
struct Long {
    length: u32,
    /// The first code, and the place of its symbol.
    code: u32,
    place: usize,
    /// Filled up to [`MOST_BITS`], what comes after the last code.
    end: u32,
}

impl Codes {
    /// Reads the lengths of so many codes, as the packer's `put_lengths` writes them; `None` if there are none such.
    pub fn read(source: &mut BitReader, symbols: usize) -> Option<Self> {
        let mut lengths = Vec::with_capacity(symbols);
        let mut length = source.take(5);
        for _ in 0..symbols {
            while (1..=MOST_BITS).contains(&length) && source.take(1) == 1 {
                length = if source.take(1) == 0 { length + 1 } else { length - 1 };
            }
            lengths.push(Some(length).filter(|length| (1..=MOST_BITS).contains(length))?);
        }
        Codes::of(&lengths)
    }

    fn of(lengths: &[u32]) -> Option<Self> {
        let mut codes =
            Codes { short: Box::new([(0, 0); SHORT_CODES]), long: Vec::new(), symbols: Vec::new() };
        // The next code, filled up; and how many of the short beginnings are taken.
        let (mut next, mut taken) = (0_u32, 0);
        for length in 1..=MOST_BITS {
            let (place, first) = (codes.symbols.len(), next);
            let with_length = (0..).zip(lengths).filter(|(_, of)| **of == length);
            codes.symbols.extend(with_length.map(|(symbol, _)| symbol));
            let of_length = codes.symbols.get(place..).unwrap_or_default();
            next += u32::try_from(of_length.len()).ok()? << (MOST_BITS - length);
            if next > 1 << MOST_BITS {
                return None;
            }
            if let Some(others) = SHORT_BITS.checked_sub(length) {
                for symbol in of_length {
                    let end = taken + (1 << others);
                    codes.short.get_mut(taken..end)?.fill((*symbol, u8::try_from(length).ok()?));
                    taken = end;
                }
            } else if !of_length.is_empty() {
                codes.long.push(Long { length, code: first >> (MOST_BITS - length), place, end: next });
            }
        }
        Some(codes)
    }

    /// Takes the next symbol; `None` if no code begins so.
    pub fn take(&self, source: &mut BitReader) -> Option<u16> {
        let next = source.peek(MOST_BITS);
        let (symbol, length) = *self.short.get(usize::try_from(next >> (MOST_BITS - SHORT_BITS)).ok()?)?;
        if length > 0 {
            source.skip(u32::from(length));
            return Some(symbol);
        }
        let long = self.long.iter().find(|long| next < long.end)?;
        source.skip(long.length);
        let code = next >> (MOST_BITS - long.length);
        self.symbols.get(long.place + usize::try_from(code - long.code).ok()?).copied()
    }
}
