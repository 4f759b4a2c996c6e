//! Looks for runs of equal bytes, many bytes at a time.

/// Runs of so many bytes are shortened.
pub(super) const LONG: usize = 4;

/// How many bytes a [`Window`] is of.
pub(super) const WINDOW: usize = 16;
/// The highest bit of each byte.
const EACH_BYTE: u128 = u128::from_ne_bytes([0x80; WINDOW]);

/// Some bytes, each compared with the next.
pub(super) struct Window {
    /// The highest bit of each byte that differs from the next.
    differs: u128,
}

impl Window {
    /// The first bytes, and the one behind them; `None` if there are not as many.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let ([bytes @ .., _], [_, next @ ..]): (&[u8; WINDOW + 1], &[u8; WINDOW + 1]) =
            (bytes.first_chunk()?, bytes.first_chunk()?);
        Some(Window { differs: not_zero(u128::from_le_bytes(*bytes) ^ u128::from_le_bytes(*next)) })
    }

    /// Where [`LONG`] equal bytes begin.
    pub fn long_run(&self) -> Option<usize> {
        // A set bit: this byte and the three after it are equal.
        let long = !(self.differs | self.differs >> 8 | self.differs >> 16) & EACH_BYTE >> 16;
        (long != 0).then(|| usize::try_from(long.trailing_zeros() / 8).unwrap_or(WINDOW))
    }

    /// Behind the last byte that differs from the next. There is one, unless there is a long run.
    pub fn last_end(&self) -> usize {
        usize::try_from((u128::BITS - self.differs.leading_zeros()) / 8).unwrap_or(WINDOW)
    }
}

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
