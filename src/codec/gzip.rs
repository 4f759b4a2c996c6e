//! Gzip (RFC 1952), read only: any number of members, each with its CRC-32 and length verified.

use flate2::{Decompress, FlushDecompress, Status};

use super::method::Method;
use super::step::{self, Another, End, Step};

/// The decompressing side.
pub(super) struct Inflate(Decompress);

/// Deflate's largest window, 32 KiB, as a power of two.
const WINDOW_BITS: u8 = 15;

impl Inflate {
    pub fn new() -> Self {
        Inflate(Decompress::new_gzip(WINDOW_BITS))
    }
}

impl step::Inflate for Inflate {
    const METHOD: Method = Method::Gzip;

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        let (read_before, written_before) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None).map_err(|e| e.to_string())?;
        let moved = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        Ok(Step {
            consumed: moved(self.0.total_in(), read_before),
            produced: moved(self.0.total_out(), written_before),
            end: if status == Status::StreamEnd { End::Yes } else { End::No },
        })
    }

    fn another(&mut self) -> Another {
        *self = Inflate::new();
        Another::Ready
    }
}
