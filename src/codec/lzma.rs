//! The legacy `.lzma` format ("lzma alone").
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | `5d` | lc 3, lp 0, pb 2 |
//! | 1 | `00 00 80 00` | dictionary of 8 MiB |
//! | 5 | 8 × `ff` | size unknown: the stream ends with an end marker |
//!
//! The format has no checksum: only its structure can be found damaged. wal-g writes the same thirteen bytes.

use std::io;

use liblzma::stream::{Action, LzmaOptions, Status, Stream};

use super::method::Method;
use super::step::{self, Another, End, Input, Step};

/// The fastest preset that stores no more than wal-g, see `docs/benchmarks/codecs.md`.
const PRESET: u32 = 3;

/// wal-g's dictionary.
const DICTIONARY_BYTES: u32 = 8 * 1024 * 1024;

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
