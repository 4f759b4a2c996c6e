//! Compresses several blocks at the same time into one stream.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use super::super::compression::Bzip2Level;
use super::blocks::{Awaited, Workers, compress};
use super::cutter::Cutter;
use super::stream::Stream;

/// A block of nothing but long runs could hold 46 MB of plain bytes. We end it here: it costs some bytes for a block, and
/// bounds the memory.
pub(super) const MOST_PLAIN_BYTES: usize = 4 << 20;

/// Compresses what is written to it into `inner`.
///
/// What fits into one block is compressed without a thread. Memory: for each thread 0.8 MB times the level, and two
/// blocks of up to 4 MiB.
pub(in super::super) struct Encoder<W> {
    level: Bzip2Level,
    cutter: Cutter,
    plain: Vec<u8>,
    workers: Workers,
    /// In the order of the stream.
    awaited: VecDeque<Awaited>,
    most_awaited: usize,
    stream: Stream<W>,
}

impl<W: Write> Encoder<W> {
    pub fn new(inner: W, level: Bzip2Level, threads: NonZeroUsize) -> Self {
        // While the first block is waited for, there is another one for each thread.
        let most_awaited = threads.get().saturating_mul(2);
        Encoder {
            level,
            cutter: Cutter::new(level),
            plain: Vec::new(),
            workers: Workers::new(level, threads, most_awaited),
            awaited: VecDeque::new(),
            most_awaited,
            stream: Stream::new(inner, level),
        }
    }

    /// Ends the stream and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        // This thread would only wait.
        let last = if self.plain.is_empty() { None } else { Some(compress(self.level, &self.plain)?) };
        for block in self.awaited {
            self.stream.write(&block.wait()?)?;
        }
        if let Some(last) = last {
            self.stream.write(&last)?;
        }
        self.stream.finish()
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.cutter.restart();
        while self.awaited.len() >= self.most_awaited
            && let Some(first) = self.awaited.pop_front()
        {
            self.stream.write(&first.wait()?)?;
        }
        self.awaited.push_back(self.workers.start(std::mem::take(&mut self.plain))?);
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut rest = plain;
        while !rest.is_empty() {
            let room = MOST_PLAIN_BYTES - self.plain.len();
            let piece = rest.get(..room).unwrap_or(rest);
            let end = self.cutter.take(piece);
            let count = end.unwrap_or(piece.len());
            self.plain.extend_from_slice(piece.get(..count).unwrap_or_default());
            rest = rest.get(count..).unwrap_or_default();
            if end.is_some() || self.plain.len() == MOST_PLAIN_BYTES {
                self.end_block()?;
            }
        }
        Ok(plain.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
