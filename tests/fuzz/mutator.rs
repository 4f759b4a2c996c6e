//! Inputs that are almost like those that are kept: a few bytes changed, left out, doubled, or taken from another one.

/// Numbers that parsers stumble over, as they are or by one.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// No input is longer.
const MOST_BYTES: usize = 128 * 1024;

/// Makes one input after the other; the same seed and corpus make the same ones.
pub struct Mutator<'a> {
    random: Random,
    corpus: &'a [Vec<u8>],
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to one less than `end`; 0 when `end` is 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A range of `length`, mostly a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        let longest = if self.below(4) == 0 { length - start } else { (length - start).min(16) };
        start..start + self.below(longest + 1)
    }
}

impl<'a> Mutator<'a> {
    /// Every target has inputs of its own.
    pub fn new(seed: u64, target: &str, corpus: &'a [Vec<u8>]) -> Mutator<'a> {
        let seed =
            target.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
        Mutator { random: Random(seed), corpus }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut bytes = self.one_kept().to_vec();
        for _ in 0..=self.random.below(6) {
            self.change(&mut bytes);
        }
        bytes.truncate(MOST_BYTES);
        bytes
    }

    fn one_kept(&mut self) -> &'a [u8] {
        &self.corpus[self.random.below(self.corpus.len())]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        let place = random.below(bytes.len());
        match random.below(10) {
            0 if !bytes.is_empty() => bytes[place] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[place] = random.next() as u8,
            // The next digit or letter.
            2 if !bytes.is_empty() => bytes[place] = bytes[place].wrapping_add(1),
            3 => bytes.truncate(place),
            4 => drop(bytes.drain(random.range(bytes.len()))),
            5 => {
                let twice = bytes[random.range(bytes.len())].to_vec();
                bytes.splice(place..place, twice);
            }
            6 => {
                let length = random.below(9);
                let noise: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
                bytes.splice(place..place, noise);
            }
            7 => {
                let number =
                    NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.below(3) as u64).wrapping_sub(1);
                let width = 1 << random.below(4);
                let number = match random.below(2) {
                    0 => number.to_le_bytes()[..width].to_vec(),
                    _ => number.to_be_bytes()[8 - width..].to_vec(),
                };
                let end = (place + width).min(bytes.len());
                bytes.splice(place..end, number);
            }
            8 => {
                let digits = self.random.next().to_string();
                let end = (place + self.random.below(digits.len())).min(bytes.len());
                bytes.splice(place..end, digits.into_bytes());
            }
            _ => {
                let other = self.one_kept();
                let piece = other[self.random.range(other.len())].to_vec();
                let end = place + self.random.below(piece.len().min(bytes.len() - place) + 1);
                bytes.splice(place..end, piece);
            }
        }
    }
}
