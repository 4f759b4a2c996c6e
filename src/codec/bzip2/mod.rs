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
//! and writes bit for bit what one thread would, and [`Decoder`] decompresses several. What is unusual it leaves to the
//! library, which also says what is wrong with a block that is damaged.
//!
//! Source: bzip2 1.0.8 `compress.c`, `decompress.c`, `bzlib.c`.

mod bits;
mod decoder;
mod encoder;
mod marks;
mod packer;
mod runs;
mod stream;
#[cfg(test)]
mod tests;
mod unpacker;
mod workers;

pub(super) use decoder::Decoder;
pub(super) use encoder::Encoder;
