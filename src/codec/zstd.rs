//! Zstandard: one frame with a content checksum when writing, any number of frames when reading.
//!
//! A frame's end is known to the decoder, and its checksum (xxhash64, low 32 bits) verified, before it reports it.

use std::io;

use zstd::stream::raw::{CParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::Strategy;

use super::compression::{ZstdLevel, ZstdSearch};
use super::method::Method;
use super::step::{self, Another, End, Input, Step};

/// The compressing side.
pub(super) struct Deflate(Encoder<'static>);

impl Deflate {
    pub fn new(level: ZstdLevel) -> io::Result<Self> {
        let mut encoder = Encoder::new(level.get())?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        if level.search() == ZstdSearch::Thorough {
            let thorough = [
                CParameter::Strategy(Strategy::ZSTD_btultra),
                CParameter::MinMatch(3),
                CParameter::ChainLog(21),
                CParameter::HashLog(18),
            ];
            thorough.into_iter().try_for_each(|parameter| encoder.set_parameter(parameter))?;
        }
        Ok(Deflate(encoder))
    }
}

impl step::Deflate for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8], last: Input) -> io::Result<Step> {
        match last {
            Input::More => {
                let status = self.0.run_on_buffers(input, output)?;
                Ok(Step { consumed: status.bytes_read, produced: status.bytes_written, end: End::No })
            }
            Input::Last => {
                let mut output = OutBuffer::around(output);
                let remaining = self.0.finish(&mut output, false)?;
                let end = if remaining == 0 { End::Yes } else { End::No };
                Ok(Step { consumed: 0, produced: output.pos(), end })
            }
        }
    }
}

/// The decompressing side.
pub(super) struct Inflate(Decoder<'static>);

impl Inflate {
    pub fn new() -> io::Result<Self> {
        Ok(Inflate(Decoder::new()?))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Zstd;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        let remaining = self.0.run(&mut input, &mut output).map_err(|e| e.to_string())?;
        let end = if remaining == 0 { End::Yes } else { End::No };
        Ok(Step { consumed: input.pos(), produced: output.pos(), end })
    }

    fn another(&mut self) -> Another {
        // The library starts the next frame by itself.
        Another::Ready
    }
}
