//! Bzip2: one stream when writing, any number when reading, each block and the stream with its CRC-32 verified.
//!
//! One stream, since the reader that barman-cloud has for base backups stops at the end of the first.
//!
//! | bits | |
//! |---|---|
//! | `BZh`, `1` to `9` | the level: a block holds up to 100,000 bytes times this, after runs were shortened |
//! | `314159265359`, 32, … | a block: magic, CRC of its plain bytes, data; repeated |
//! | `177245385090`, 32, 0 to 7 | end mark, CRC over the CRCs of the blocks, zero bits up to a whole byte |
//!
//! Blocks know nothing of each other, only the bytes they start in: so [`Encoder`] compresses several at the same time
//! and writes bit for bit what one thread would, and [`Decoder`] decompresses several, each by the library. Without other
//! threads there is [`Inflate`], the library alone.
//!
//! Source: bzip2 1.0.8 `compress.c`, `bzlib.c`.

mod bits;
mod decoder;
mod encoder;
mod huffman;
mod marks;
mod packer;
mod ranks;
mod rotations;
mod shortener;
mod stream;
#[cfg(test)]
mod tests;
mod workers;

pub(super) use decoder::Decoder;
pub(super) use encoder::Encoder;

use ::bzip2::{Decompress, Status};

use super::method::Method;
use super::step::{self, Another, End, Step};

/// The decompressing side.
pub(super) struct Inflate(Decompress);

impl Inflate {
    pub fn new() -> Self {
        Inflate(Decompress::new(false))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Bzip2;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        let before = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output).map_err(|e| e.to_string())?;
        Ok(Step::between(before, (self.0.total_in(), self.0.total_out()), end_of(status)))
    }

    fn another(&mut self) -> Another {
        *self = Inflate::new();
        Another::Ready
    }
}

fn end_of(status: Status) -> End {
    if status == Status::StreamEnd { End::Yes } else { End::No }
}
