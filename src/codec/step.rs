//! The two loops around a codec that works from buffer to buffer: one that writes, one that reads.

use std::io::{self, BufRead, Read, Write};

use super::error::{Error, Format};
use super::method::Method;

/// What one call of a codec did.
pub(super) struct Step {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes put into the output.
    pub produced: usize,
    /// Whether the compressed stream (zstd: the frame) is complete.
    pub end: End,
}

impl Step {
    /// From a library's running totals of bytes (in, out), as they were and as they are.
    pub fn between(before: (u64, u64), now: (u64, u64), end: End) -> Step {
        let moved = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        Step { consumed: moved(now.0, before.0), produced: moved(now.1, before.1), end }
    }
}

/// Whether a stream is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is more to come.
    No,
    /// This was all.
    Yes,
}

/// Whether the plain bytes end with this input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// More may follow.
    More,
    /// This is all; the codec is to end its stream.
    Last,
}

/// A compressing codec.
pub(super) trait Deflate {
    /// Compresses some of `input` into some of `output`; after [`Input::Last`], `input` is empty.
    fn step(&mut self, input: &[u8], output: &mut [u8], last: Input) -> io::Result<Step>;
}

/// Compresses what is written to it into `inner`.
pub(super) struct Compressor<D, W> {
    deflate: D,
    inner: W,
    buffer: Box<[u8]>,
}

const BUFFER_BYTES: usize = 64 * 1024;

impl<D: Deflate, W: Write> Compressor<D, W> {
    pub fn new(deflate: D, inner: W) -> Self {
        Compressor { deflate, inner, buffer: vec![0; BUFFER_BYTES].into_boxed_slice() }
    }

    /// Ends the compressed stream and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        while self.step(&[], Input::Last)?.end == End::No {}
        Ok(self.inner)
    }

    fn step(&mut self, plain: &[u8], last: Input) -> io::Result<Step> {
        let step = self.deflate.step(plain, &mut self.buffer, last)?;
        self.inner.write_all(self.buffer.get(..step.produced).unwrap_or_default())?;
        Ok(step)
    }
}

impl<D: Deflate, W: Write> Write for Compressor<D, W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut rest = plain;
        while !rest.is_empty() {
            let step = self.step(rest, Input::More)?;
            rest = rest.get(step.consumed..).unwrap_or_default();
        }
        Ok(plain.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A decompressing codec.
pub(super) trait Inflate {
    /// The format, for messages.
    const METHOD: Method;

    /// Decompresses some of `input` into some of `output`; the error is the reason why the data is damaged.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String>;

    /// Prepares for another stream right after the end of one. `No` where the format does not allow that.
    fn another(&mut self) -> Another;
}

/// Whether compressed streams of a format may follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Another {
    /// Yes, and the codec is ready for it.
    Ready,
    /// No, the format is a single stream.
    No,
}

/// Reads the plain bytes of the compressed `source`.
pub(super) struct Decompressor<I, R> {
    inflate: I,
    source: R,
    position: Position,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Inside,
    AfterStream,
}

impl<I: Inflate, R: BufRead> Decompressor<I, R> {
    pub fn new(inflate: I, source: R) -> Self {
        Decompressor { inflate, source, position: Position::Inside }
    }

    const FORMAT: Format = Format::Compressed(I::METHOD);
}

impl<I: Inflate, R: BufRead> Read for Decompressor<I, R> {
    fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        if plain.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.source.fill_buf()?;
            let input_ended = input.is_empty();
            if self.position == Position::AfterStream {
                if input_ended {
                    return Ok(0);
                }
                if self.inflate.another() == Another::No {
                    return Err(Error::TrailingBytes(Self::FORMAT).into());
                }
                self.position = Position::Inside;
            }
            let step = self
                .inflate
                .step(input, plain)
                .map_err(|reason| Error::Damaged { format: Self::FORMAT, reason })?;
            self.source.consume(step.consumed);
            if step.end == End::Yes {
                self.position = Position::AfterStream;
            }
            if step.produced > 0 {
                return Ok(step.produced);
            }
            if step.end == End::No && step.consumed == 0 {
                return Err(match input_ended {
                    true => Error::Truncated(Self::FORMAT).into(),
                    false => {
                        Error::Damaged { format: Self::FORMAT, reason: "the decoder got stuck".to_owned() }
                            .into()
                    }
                });
            }
        }
    }
}

/// Fills `bytes`; the end of the source before that is the end of an object that is cut short.
pub(super) fn read_exact(source: &mut impl Read, bytes: &mut [u8], format: Format) -> io::Result<()> {
    source.read_exact(bytes).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof if e.get_ref().is_none_or(|inner| !inner.is::<Error>()) => {
            Error::Truncated(format).into()
        }
        _ => e,
    })
}
