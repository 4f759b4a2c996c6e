//! The legacy `.lzma` format ("lzma alone").
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | `5d` | lc 3, lp 0, pb 2 |
//! | 1 | `00 00 20 00` | dictionary of 2 MiB |
//! | 5 | 8 × `ff` | size unknown: the stream ends with an end marker |
//!
//! The format has no checksum: only its structure can be found damaged. wal-g writes a dictionary of 8 MiB there, and
//! reads any.

use std::io;

use liblzma::stream::{Action, LzmaOptions, Status, Stream};

use super::method::Method;
use super::step::{self, Another, End, Input, Step};

/// See `docs/benchmarks/codecs.md`.
const PRESET: u32 = 3;

/// A quarter of wal-g's: the encoder takes seven times as much memory, and there is one for each core.
const DICTIONARY_BYTES: u32 = 2 * 1024 * 1024;

/// Memory a reader may be made to use: enough for every preset (the largest dictionary is 64 MiB), and a bound
/// against a damaged header that asks for gigabytes.
pub(super) const DECODER_MEMORY_LIMIT: u64 = 128 * 1024 * 1024;

/// The compressing side.
pub(super) struct Deflate(Stream);

impl Deflate {
    pub fn new() -> io::Result<Self> {
        let mut options = LzmaOptions::new_preset(PRESET)?;
        options.dict_size(DICTIONARY_BYTES);
        Ok(Deflate(Stream::new_lzma_encoder(&options)?))
    }
}

impl step::Deflate for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8], last: Input) -> io::Result<Step> {
        compress(&mut self.0, input, output, last)
    }
}

/// The decompressing side.
pub(super) struct Inflate(Stream);

impl Inflate {
    pub fn new() -> io::Result<Self> {
        Ok(Inflate(Stream::new_lzma_decoder(DECODER_MEMORY_LIMIT)?))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Lzma;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        process(&mut self.0, input, output, Action::Run).map_err(|e| e.to_string())
    }

    fn another(&mut self) -> Another {
        Another::No
    }
}

/// One step of an encoder.
pub(super) fn compress(
    stream: &mut Stream,
    input: &[u8],
    output: &mut [u8],
    last: Input,
) -> io::Result<Step> {
    let action = match last {
        Input::More => Action::Run,
        Input::Last => Action::Finish,
    };
    Ok(process(stream, input, output, action)?)
}

/// One call of the library.
pub(super) fn process(
    stream: &mut Stream,
    input: &[u8],
    output: &mut [u8],
    action: Action,
) -> Result<Step, liblzma::stream::Error> {
    let before = (stream.total_in(), stream.total_out());
    let status = stream.process(input, output, action)?;
    let end = if status == Status::StreamEnd { End::Yes } else { End::No };
    Ok(Step::between(before, (stream.total_in(), stream.total_out()), end))
}
