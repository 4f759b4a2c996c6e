//! The `.xz` format: one stream with a CRC-64 when writing, any number of streams and their padding when reading.
//!
//! Source: `xz-file-format.txt` of XZ Utils.

use std::io;

use liblzma::stream::{Action, CONCATENATED, Check, Stream};

use super::compression::XzLevel;
use super::lzma::{DECODER_MEMORY_LIMIT, compress, process};
use super::method::Method;
use super::step::{self, Another, Input, Step};

/// The compressing side.
pub(super) struct Deflate(Stream);

impl Deflate {
    pub fn new(level: XzLevel) -> io::Result<Self> {
        Ok(Deflate(Stream::new_easy_encoder(u32::from(level.get()), Check::Crc64)?))
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
        Ok(Inflate(Stream::new_stream_decoder(DECODER_MEMORY_LIMIT, CONCATENATED)?))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Xz;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        // Streams may follow each other up to the end of the input, so the library must be told that this is it.
        let action = if input.is_empty() { Action::Finish } else { Action::Run };
        process(&mut self.0, input, output, action).map_err(|e| e.to_string())
    }

    fn another(&mut self) -> Another {
        // The library has started all streams that there are by itself.
        Another::No
    }
}
