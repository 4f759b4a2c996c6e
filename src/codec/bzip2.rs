//! Bzip2: one stream when writing, any number when reading, each block and the stream with its CRC-32 verified.
//!
//! One stream, since the reader that barman-cloud has for base backups stops at the end of the first.

use std::io;

use ::bzip2::{Action, Compress, Decompress, Status};

use super::compression::Bzip2Level;
use super::method::Method;
use super::step::{self, Another, End, Input, Step};

/// The library's own choice of when to change from its fast sort to the one that no input makes slow.
const WORK_FACTOR: u32 = 0;

/// The compressing side.
pub(super) struct Deflate(Compress);

impl Deflate {
    pub fn new(level: Bzip2Level) -> Self {
        Deflate(Compress::new(::bzip2::Compression::new(u32::from(level.get())), WORK_FACTOR))
    }
}

impl step::Deflate for Deflate {
    fn step(&mut self, input: &[u8], output: &mut [u8], last: Input) -> io::Result<Step> {
        let action = match last {
            Input::More => Action::Run,
            Input::Last => Action::Finish,
        };
        let before = (self.0.total_in(), self.0.total_out());
        let status = self.0.compress(input, output, action)?;
        Ok(Step::between(before, (self.0.total_in(), self.0.total_out()), end_of(status)))
    }
}

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
