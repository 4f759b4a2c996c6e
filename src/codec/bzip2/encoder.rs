//! Compresses into one stream, several blocks at the same time.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use super::super::compression::Bzip2Level;
use super::packer::Packer;
use super::packer::shortener::{Shortened, Shortener};
use super::stream::{Block, Stream};
use super::workers::{Awaited, Work, Workers};

/// Compresses what is written to it into `inner`.
///
/// The last block, and with one thread all of them, are compressed without another thread. Memory: for each thread 0.8 MB
/// times the level, and two blocks of 0.1 MB times the level.
pub(in super::super) struct Encoder<W> {
    shortener: Shortener,
    packer: Packer,
    workers: Workers<Shortened, io::Result<Block>>,
    /// In the order of the stream.
    awaited: VecDeque<Awaited<io::Result<Block>>>,
    /// 0 with one thread.
    most_awaited: usize,
    stream: Stream<W>,
}

impl<W: Write> Encoder<W> {
    pub fn new(inner: W, level: Bzip2Level, threads: NonZeroUsize) -> Self {
        let most_awaited = match threads {
            NonZeroUsize::MIN => 0,
            // While the first block is waited for, there is another one for each thread.
            several => several.get().saturating_mul(2),
        };
        Encoder {
            shortener: Shortener::new(level),
            packer: Packer::new(),
            workers: Workers::new(threads, most_awaited, new_work),
            awaited: VecDeque::new(),
            most_awaited,
            stream: Stream::new(inner, level),
        }
    }

    /// Ends the stream and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        // This thread would only wait.
        let last = self.shortener.end().map(|last| self.packer.pack(last)).transpose()?;
        for block in self.awaited {
            self.stream.write(&block.wait()??)?;
        }
        if let Some(last) = last {
            self.stream.write(&last)?;
        }
        self.stream.finish()
    }

    fn end_block(&mut self) -> io::Result<()> {
        let Some(block) = self.shortener.end() else { return Ok(()) };
        if self.most_awaited == 0 {
            return self.stream.write(&self.packer.pack(block)?);
        }
        while self.awaited.len() >= self.most_awaited
            && let Some(first) = self.awaited.pop_front()
        {
            self.stream.write(&first.wait()??)?;
        }
        self.awaited.push_back(self.workers.start(block)?);
        Ok(())
    }
}

fn new_work() -> Work<Shortened, io::Result<Block>> {
    let mut packer = Packer::new();
    Box::new(move |block| packer.pack(block))
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut rest = plain;
        loop {
            let count = self.shortener.take(rest);
            rest = rest.get(count..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(plain.len());
            }
            self.end_block()?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
