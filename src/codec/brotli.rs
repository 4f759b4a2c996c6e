//! Brotli (RFC 7932): one stream, which has an end but no checksum.

use std::io;

use ::brotli::enc::StandardAlloc;
use ::brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct};
use ::brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::method::Method;
use super::step::{self, Another, End, Input, Step};

/// With this one the size is about that of wal-g, whose C library is at 3, see `docs/benchmarks/codecs.md`.
const QUALITY: u32 = 4;

/// A window of 1 MiB, as a power of two. With brotli's default of 4 MiB, at which wal-g leaves it, an encoder takes up
/// to 49 MiB of memory instead of 14 and stores between 0.7 % more and 3.1 % less, see `docs/benchmarks/codecs.md`.
/// Readers take any.
const WINDOW_BITS: u32 = 20;

/// The compressing side.
pub(super) struct Deflate(Box<BrotliEncoderStateStruct<StandardAlloc>>);

impl Deflate {
    pub fn new() -> Self {
        let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
        state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, QUALITY);
        state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, WINDOW_BITS);
        Deflate(Box::new(state))
    }
}

impl step::Deflate for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8], last: Input) -> io::Result<Step> {
        let operation = match last {
            Input::More => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Input::Last => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let (mut available_in, mut consumed) = (input.len(), 0);
        let (mut available_out, mut produced) = (output.len(), 0);
        let done = self.0.compress_stream(
            operation,
            &mut available_in,
            input,
            &mut consumed,
            &mut available_out,
            output,
            &mut produced,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !done {
            return Err(io::Error::other("brotli cannot compress"));
        }
        let end = if self.0.is_finished() { End::Yes } else { End::No };
        Ok(Step { consumed, produced, end })
    }
}

/// The decompressing side.
pub(super) struct Inflate(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>);

impl Inflate {
    pub fn new() -> Self {
        let alloc = StandardAlloc::default;
        Inflate(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Brotli;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        let (mut available_in, mut consumed) = (input.len(), 0);
        let (mut available_out, mut produced) = (output.len(), 0);
        let result = BrotliDecompressStream(
            &mut available_in,
            &mut consumed,
            input,
            &mut available_out,
            &mut produced,
            output,
            &mut 0,
            &mut self.0,
        );
        let end = match result {
            BrotliResult::ResultSuccess => End::Yes,
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => End::No,
            BrotliResult::ResultFailure => return Err(format!("{:?}", self.0.error_code)),
        };
        Ok(Step { consumed, produced, end })
    }

    fn another(&mut self) -> Another {
        Another::No
    }
}
