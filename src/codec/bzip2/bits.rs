//! Bits, from the highest of a byte on, as all of bzip2's are.

/// Collects bits in bytes.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// The last bits, at the lower end; those above were put into `bytes`.
    held: u64,
    /// Less than 32.
    held_bits: u32,
}

impl BitWriter {
    /// Begins with `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        BitWriter { bytes, held: 0, held_bits: 0 }
    }

    /// Puts the lower `count` bits of `bits`, up to 32; the others have to be 0.
    pub fn put(&mut self, count: u32, bits: u32) {
        self.held = self.held << count | u64::from(bits);
        self.held_bits += count;
        if let Some(rest) = self.held_bits.checked_sub(32) {
            let [_, _, _, _, full @ ..] = (self.held >> rest).to_be_bytes();
            self.bytes.extend_from_slice(&full);
            self.held_bits = rest;
        }
    }

    /// Puts the first `count` bits of `bytes`.
    pub fn put_bytes(&mut self, bytes: &[u8], count: usize) {
        let (words, _) = bytes.get(..count / 8).unwrap_or(bytes).as_chunks::<4>();
        for word in words {
            self.put(32, u32::from_be_bytes(*word));
        }
        let mut left = count - words.len() * 32;
        for byte in bytes.iter().skip(words.len() * 4) {
            let bits = u32::try_from(left.min(8)).unwrap_or(8);
            self.put(bits, u32::from(*byte).checked_shr(8 - bits).unwrap_or(0));
            left -= left.min(8);
        }
    }

    /// How many bits there are that were not taken.
    pub fn len(&self) -> usize {
        self.bytes.len() * 8 + usize::try_from(self.held_bits).unwrap_or(0)
    }

    /// The bytes that are full; call [`clear`](Self::clear) when they are used.
    pub fn full_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the bytes that are full.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// All bytes, the last one filled up with zero bits.
    pub fn finish(mut self) -> Vec<u8> {
        let rest = self.held << (64 - self.held_bits).min(63) << u32::from(self.held_bits == 0);
        let bytes = usize::try_from(self.held_bits.div_ceil(8)).unwrap_or(0);
        self.bytes.extend_from_slice(rest.to_be_bytes().get(..bytes).unwrap_or_default());
        self.bytes
    }
}

/// Takes bits from bytes. Behind the last byte there are zeros.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, taken: 0 }
    }

    /// The next `count` bits, 1 to 32, which stay the next.
    pub fn peek(&self, count: u32) -> u32 {
        let rest = self.bytes.get(self.taken / 8..).unwrap_or_default();
        let word = rest.first_chunk().map_or_else(|| filled_up(rest), |word| u64::from_be_bytes(*word));
        let bits = word << (self.taken % 8) >> (u64::BITS - count);
        u32::try_from(bits).unwrap_or(u32::MAX)
    }

    /// Takes bits that were looked at.
    pub fn skip(&mut self, count: u32) {
        self.taken += usize::try_from(count).unwrap_or_default();
    }

    /// Takes the next `count` bits, 1 to 32.
    pub fn take(&mut self, count: u32) -> u32 {
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// How many bits were taken.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

/// The bytes, fewer than eight, and zeros.
fn filled_up(bytes: &[u8]) -> u64 {
    let mut word = [0; size_of::<u64>()];
    for (place, byte) in word.iter_mut().zip(bytes) {
        *place = *byte;
    }
    u64::from_be_bytes(word)
}
