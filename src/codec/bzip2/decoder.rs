//! Decompresses block by block, several of a stream at the same time.
//!
//! Where a block ends is known only when it is decompressed; but the next one begins with a magic. So what lies between two
//! marks is taken for a block and decompressed, by a thread if there are several. If it is none, since a mark came by
//! chance or bytes are damaged, or if it is large, the block is decompressed here by the library, piece by piece.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::num::NonZeroUsize;

use ::bzip2::Decompress;

use super::super::error::{Error, Format};
use super::super::method::Method;
use super::marks::{Finder, Kind, MARK_BITS};
use super::stream::and_block;
use super::unpacker::{Packed, Unpacker};
use super::workers::{Awaited, Work, Workers};

const FORMAT: Format = Format::Compressed(Method::Bzip2);

/// `BZh` and the level.
const HEADER_BITS: u64 = 32;
/// A mark and the CRC behind it.
const END_BITS: u64 = 48 + 32;
/// No block has more: 900,001 symbols of up to 20 bits, and less than this for its tables.
const MOST_BLOCK_BITS: u64 = 900_001 * 20 + 300_000;

/// Reads the plain bytes of the streams in `source`.
///
/// With one thread no other one is started. Memory: for each thread 0.8 MB times the level, and two blocks, each of up to
/// 4 MiB.
pub(in super::super) struct Decoder<R> {
    source: R,
    source_ended: bool,
    /// What was read and is still needed, and the number of the first of these bytes.
    bytes: Vec<u8>,
    first: u64,
    finder: Finder,
    /// From the current block on.
    marks: VecDeque<Mark>,
    /// The first mark whose block was not given to a thread yet.
    next: usize,
    /// Without other threads.
    unpacker: Unpacker,
    workers: Workers<Packed, Option<Vec<u8>>>,
    /// 0 with one thread.
    most_at_work: usize,
    /// The number of the next bit.
    position: u64,
    level: u8,
    /// Of the blocks of the stream.
    crc: u32,
    now: Now,
}

struct Mark {
    at: u64,
    kind: Kind,
    /// The block up to the next mark, `None` if it is none or is large; and the level it was taken to have.
    block: Option<(Awaited<Option<Vec<u8>>>, u8)>,
}

/// What comes next.
enum Now {
    /// A stream, or the end.
    Stream,
    /// A block, or the end of the stream.
    Block,
    /// The rest of a decompressed block.
    Plain { bytes: Vec<u8>, from: usize },
    /// The rest of a block that is decompressed here.
    Piecewise(Option<Box<Piecewise>>),
}

struct Piecewise {
    library: Decompress,
    /// The next bit for it.
    fed: u64,
    /// The mark that is taken for the end of the block.
    end: usize,
    /// What it has left of its last piece when the block had come to its end.
    left: Option<Vec<u8>>,
}

impl<R: BufRead> Decoder<R> {
    pub fn new(source: R, threads: NonZeroUsize) -> Self {
        let most_at_work = match threads {
            NonZeroUsize::MIN => 0,
            // While the first block is waited for, there is another one for each thread.
            several => several.get().saturating_mul(2),
        };
        Decoder {
            source,
            source_ended: false,
            bytes: Vec::new(),
            first: 0,
            finder: Finder::new(),
            marks: VecDeque::new(),
            next: 0,
            unpacker: Unpacker::new(),
            workers: Workers::new(threads, most_at_work, new_work),
            most_at_work,
            position: 0,
            level: b'9',
            crc: 0,
            now: Now::Stream,
        }
    }

    /// The number of bits that were read, as of now.
    fn read_bits(&self) -> u64 {
        8 * (self.first + self.bytes.len() as u64)
    }

    /// Reads until there are so many bits from the current one on, and returns whether there are.
    fn has_bits(&mut self, count: u64) -> io::Result<bool> {
        while !self.source_ended && self.read_bits() < self.position + count {
            self.read_more()?;
        }
        Ok(self.read_bits() >= self.position + count)
    }

    fn read_more(&mut self) -> io::Result<()> {
        let Decoder { source, bytes, finder, marks, .. } = self;
        let input = source.fill_buf()?;
        self.source_ended = input.is_empty();
        bytes.extend_from_slice(input);
        finder.look(input, |at, kind| marks.push_back(Mark { at, kind, block: None }));
        let count = input.len();
        source.consume(count);
        Ok(())
    }

    /// Gives blocks to all threads, as far as there are any.
    fn keep_busy(&mut self) -> io::Result<()> {
        loop {
            let at_work = self.marks.iter().take(self.next).filter(|mark| mark.block.is_some()).count();
            let mut free = self.most_at_work.saturating_sub(at_work);
            while free > 0
                && let Some(end) = self.marks.get(self.next + 1).map(|mark| mark.at)
            {
                free -= usize::from(self.start(self.next, end)?);
                self.next += 1;
            }
            let last = self.marks.back().map_or(0, |mark| mark.at).max(self.position);
            if free == 0 || self.source_ended || self.read_bits() > last + MOST_BLOCK_BITS {
                return Ok(());
            }
            self.read_more()?;
        }
    }

    /// Gives a block to the threads, if it may be one.
    fn start(&mut self, index: usize, end: u64) -> io::Result<bool> {
        let Some(packed) = self.packed(index, end) else { return Ok(false) };
        let block = (self.workers.start(packed)?, self.level);
        if let Some(mark) = self.marks.get_mut(index) {
            mark.block = Some(block);
        }
        Ok(true)
    }

    /// What may be a block, from a mark on.
    fn packed(&self, index: usize, end: u64) -> Option<Packed> {
        let begin = self.marks.get(index).filter(|mark| mark.kind == Kind::Block)?.at;
        let bits = end.checked_sub(begin).filter(|bits| (END_BITS..MOST_BLOCK_BITS).contains(bits))?;
        let level = self.level.saturating_sub(b'0');
        Some(Packed { bytes: self.cut(begin, end), bits: usize::try_from(bits).ok()?, level })
    }

    /// The current block, if it is all that is up to the next mark, and not large.
    fn unpacked(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.most_at_work > 0 {
            let Some((block, level)) = self.marks.front_mut().and_then(|mark| mark.block.take()) else {
                return Ok(None);
            };
            return Ok(block.wait()?.filter(|_| level == self.level));
        }
        let most_bits = self.position + MOST_BLOCK_BITS;
        while self.marks.len() < 2 && !self.source_ended && self.read_bits() <= most_bits {
            self.read_more()?;
        }
        let packed = self.marks.get(1).and_then(|next| self.packed(0, next.at));
        Ok(packed.and_then(|packed| self.unpacker.unpack(&packed)))
    }

    fn header(&self) -> Vec<u8> {
        vec![b'B', b'Z', b'h', self.level]
    }

    /// The bits in this range, in whole bytes, with others behind them.
    fn cut(&self, from: u64, to: u64) -> Vec<u8> {
        let bytes = usize::try_from(to.saturating_sub(from).div_ceil(8)).unwrap_or_default();
        let skipped = usize::try_from(from / 8 - self.first).unwrap_or(usize::MAX);
        let shift = u32::try_from(from % 8).unwrap_or_default();
        let bytes = self.bytes.iter().skip(skipped).take(bytes);
        let next = self.bytes.iter().skip(skipped.saturating_add(1)).chain([&0]);
        let joined = |(byte, next): (&u8, &u8)| byte << shift | next.checked_shr(8 - shift).unwrap_or(0);
        bytes.zip(next).map(joined).collect()
    }

    /// The CRC behind a mark.
    fn crc_at(&self, mark: u64) -> u32 {
        let from = mark + u64::from(MARK_BITS);
        self.cut(from, from + 32).first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Forgets what is before the current bit.
    fn forget(&mut self) {
        while self.marks.front().is_some_and(|mark| mark.at < self.position) {
            self.marks.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        let passed =
            usize::try_from(self.position / 8 - self.first).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.drain(..passed);
        self.first += passed as u64;
    }

    /// Reads the header of a stream; `false` at the end of the source.
    fn begin_stream(&mut self) -> io::Result<bool> {
        let whole = self.has_bits(HEADER_BITS)?;
        let header = self.cut(self.position, self.read_bits().min(self.position + HEADER_BITS));
        if header.is_empty() && self.position > 0 {
            return Ok(false);
        }
        Decompress::new(false).decompress(&header, &mut [0]).map_err(|e| damaged(e.to_string()))?;
        let Some(level) = header.last().filter(|_| whole) else {
            return Err(Error::Truncated(FORMAT).into());
        };
        (self.level, self.crc) = (*level, 0);
        self.position += HEADER_BITS;
        Ok(true)
    }

    /// What is at the current mark.
    fn begin_block(&mut self) -> io::Result<Now> {
        self.forget();
        self.keep_busy()?;
        let whole = self.has_bits(u64::from(MARK_BITS))?;
        let Some(mark) = self.marks.front().filter(|mark| mark.at == self.position) else {
            return Err(match whole {
                true => damaged("neither a block nor the end of the stream begins where one must"),
                false => Error::Truncated(FORMAT).into(),
            });
        };
        if mark.kind == Kind::End {
            return self.end_stream();
        }
        if let Some(bytes) = self.unpacked()?
            && let Some(end) = self.marks.get(1).map(|mark| mark.at)
        {
            self.end_block(end);
            return Ok(Now::Plain { bytes, from: 0 });
        }
        let mut block = Piecewise { library: Decompress::new(false), fed: self.position, end: 0, left: None };
        block.step(&self.header(), &mut [0])?;
        Ok(Now::Piecewise(Some(Box::new(block))))
    }

    /// The current block, which was verified, ends before `end`.
    fn end_block(&mut self, end: u64) {
        self.crc = and_block(self.crc, self.crc_at(self.position));
        self.position = end;
    }

    fn end_stream(&mut self) -> io::Result<Now> {
        if !self.has_bits(END_BITS)? {
            return Err(Error::Truncated(FORMAT).into());
        }
        if self.crc_at(self.position) != self.crc {
            return Err(damaged("the checksum of the stream differs"));
        }
        self.position = (self.position + END_BITS).next_multiple_of(8);
        self.forget();
        Ok(Now::Stream)
    }

    /// Decompresses some of the current block into `plain`; nothing at its end.
    fn go_on(&mut self, block: &mut Piecewise, plain: &mut [u8]) -> io::Result<usize> {
        while block.left.is_none() {
            let read = self.read_bits().saturating_sub(block.fed);
            let mark = self.marks.get(block.end + 1).map(|mark| mark.at);
            let end = match mark {
                Some(mark) => mark,
                // No block is so long: the library will say that it is damaged.
                None if self.source_ended && read >= 8 || read > MOST_BLOCK_BITS => block.fed + read / 8 * 8,
                None if self.source_ended => return Err(Error::Truncated(FORMAT).into()),
                None => {
                    self.read_more()?;
                    continue;
                }
            };
            let piece = self.cut(block.fed, end);
            let (consumed, produced) = block.step(&piece, plain)?;
            if produced > 0 {
                block.left = Some(piece.get(consumed..).unwrap_or_default().to_vec());
                return Ok(produced);
            }
            block.fed += 8 * piece.len() as u64;
            block.end += usize::from(mark.is_some());
        }
        let (_, produced) = block.step(&[], plain)?;
        if produced > 0 {
            return Ok(produced);
        }
        // The library has verified the checksum. What is left should be nothing, or was cut off by the end of the source.
        let left = block.left.take().unwrap_or_default();
        block.step(&left, plain)?;
        match self.marks.get(block.end + 1).map(|mark| mark.at) {
            Some(end) if left.is_empty() => self.end_block(end),
            Some(_) => return Err(damaged("a block is followed by something else")),
            None => return Err(Error::Truncated(FORMAT).into()),
        }
        Ok(0)
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        if plain.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.now {
                Now::Stream => match self.begin_stream()? {
                    true => self.now = Now::Block,
                    false => return Ok(0),
                },
                Now::Block => self.now = self.begin_block()?,
                Now::Plain { bytes, from } => {
                    let count = bytes.get(*from..).unwrap_or_default().read(plain)?;
                    if count > 0 {
                        *from += count;
                        return Ok(count);
                    }
                    self.now = Now::Block;
                }
                Now::Piecewise(block) => {
                    let Some(mut block) = block.take() else { return Ok(0) };
                    let produced = self.go_on(&mut block, plain);
                    if !matches!(produced, Ok(0)) {
                        self.now = Now::Piecewise(Some(block));
                        return produced;
                    }
                    self.now = Now::Block;
                }
            }
        }
    }
}

impl Piecewise {
    /// How many bytes of the input were used, and how many of the output were made.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<(usize, usize)> {
        let totals = |library: &Decompress| (library.total_in(), library.total_out());
        let before = totals(&self.library);
        self.library.decompress(input, output).map_err(|e| damaged(e.to_string()))?;
        let now = totals(&self.library);
        let moved = |before, now| usize::try_from(now - before).unwrap_or(usize::MAX);
        Ok((moved(before.0, now.0), moved(before.1, now.1)))
    }
}

fn new_work() -> Work<Packed, Option<Vec<u8>>> {
    let mut unpacker = Unpacker::new();
    Box::new(move |packed| unpacker.unpack(&packed))
}

fn damaged(reason: impl Into<String>) -> io::Error {
    Error::Damaged { format: FORMAT, reason: reason.into() }.into()
}
