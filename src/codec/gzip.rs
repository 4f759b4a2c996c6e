//! Gzip (RFC 1952): one member when writing, any number when reading, each with its CRC-32 and length verified.
//!
//! One member, since the reader that barman-cloud has for base backups stops at the end of the first.

use std::io;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use super::compression::GzipLevel;
use super::method::Method;
use super::step::{self, Another, End, Input, Step};

/// Deflate's largest window, 32 KiB, as a power of two.
const WINDOW_BITS: u8 = 15;

/// The library's level 1 is a method of its own, which stores up to a third more than zlib does at 1; 2 stores less and
/// is still faster than zlib, see `docs/benchmarks/codecs.md`.
const LOWEST: u32 = 2;

/// The compressing side.
pub(super) struct Deflate(Compress);

impl Deflate {
    pub fn new(level: GzipLevel) -> Self {
        let level = u32::from(level.get()).max(LOWEST);
        Deflate(Compress::new_gzip(flate2::Compression::new(level), WINDOW_BITS))
    }
}

impl step::Deflate for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8], last: Input) -> io::Result<Step> {
        let flush = match last {
            Input::More => FlushCompress::None,
            Input::Last => FlushCompress::Finish,
        };
        let before = (self.0.total_in(), self.0.total_out());
        let status = self.0.compress(input, output, flush)?;
        Ok(Step::between(before, (self.0.total_in(), self.0.total_out()), end_of(status)))
    }
}

/// The decompressing side.
pub(super) struct Inflate(Decompress);

impl Inflate {
    pub fn new() -> Self {
        Inflate(Decompress::new_gzip(WINDOW_BITS))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Gzip;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        let before = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None).map_err(|e| e.to_string())?;
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
