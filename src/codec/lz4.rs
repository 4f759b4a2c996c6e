//! LZ4 frames.
//!
//! | bytes | |
//! |---|---|
//! | `04 22 4d 18` | magic |
//! | FLG | version 1, block independence, block checksums, content size, content checksum, dictionary id |
//! | BD | largest block |
//! | (8) (4) HC | content size and dictionary id when flagged, header checksum |
//! | u32 LE, data, (4) | a block: size (top bit: stored), data, checksum when flagged; repeated |
//! | 4 × `00`, (4) | end mark, content checksum (xxh32) when flagged |
//!
//! Ours begin `04 22 4d 18 44 50 e6`: linked blocks of 256 KiB, content checksum. wal-g writes independent blocks of 4 MiB
//! (`64 70 b9`); linked ones lose nothing at their borders, so they may be small, which spares 8 MiB for each encoder.
//! barman-cloud has linked blocks of 64 KiB, no checksum, and the size of the content with WAL. Both read any of these.
//! The walk over the frame's structure beside the library's decoder is there because the library reports the end
//! of the input inside a frame as the end of the data, and may read beyond a frame's end.
//!
//! Source: `lz4_Frame_format.md` of the LZ4 project.

use std::io::{self, BufRead, Read, Write};

use ::lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder, liblz4::BlockChecksum};

use super::compression::Lz4Level;
use super::error::{Error, Format};
use super::method::Method;
use super::step::read_exact;

/// Starts a frame on `inner`. Its header does not tell the size of the content, which is not known yet.
pub(super) fn encoder<W: Write>(inner: W, level: Lz4Level) -> io::Result<::lz4::Encoder<W>> {
    EncoderBuilder::new()
        .block_size(BlockSize::Max256KB)
        .block_mode(BlockMode::Linked)
        .block_checksum(BlockChecksum::NoBlockChecksum)
        .checksum(ContentChecksum::ChecksumEnabled)
        .level(u32::from(level.get()))
        .build(inner)
}

/// Reads the plain bytes of one frame or several.
pub(super) struct Decoder<R: BufRead>(Place<R>);

enum Place<R: BufRead> {
    BeforeFirst(R),
    Inside(Box<::lz4::Decoder<Frame<R>>>),
    Between(R),
    /// Only while one of the others is being replaced, or after an error.
    Nowhere,
}

impl<R: BufRead> Decoder<R> {
    pub fn new(source: R) -> Self {
        Decoder(Place::BeforeFirst(source))
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        if plain.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.0, Place::Nowhere) {
                Place::Between(mut source) => {
                    if source.fill_buf()?.is_empty() {
                        self.0 = Place::Between(source);
                        return Ok(0);
                    }
                    self.0 = Place::BeforeFirst(source);
                }
                Place::BeforeFirst(source) => {
                    self.0 = Place::Inside(Box::new(::lz4::Decoder::new(Frame::new(source))?));
                }
                Place::Inside(mut decoder) => {
                    let count = decoder.read(plain).map_err(|e| match decoder.reader().failure {
                        Failure::None => damaged(e.to_string()).into(),
                        Failure::Reported => e,
                    })?;
                    if count > 0 {
                        self.0 = Place::Inside(decoder);
                        return Ok(count);
                    }
                    let (frame, complete) = decoder.finish();
                    complete.map_err(|_| Error::Truncated(FORMAT))?;
                    self.0 = Place::Between(frame.source);
                }
                Place::Nowhere => return Err(damaged("read again after an error".to_owned()).into()),
            }
        }
    }
}

const FORMAT: Format = Format::Compressed(Method::Lz4);

/// Passes the bytes of one frame through and ends where it ends.
struct Frame<R> {
    source: R,
    part: Part,
    /// Bytes of the frame's structure not yet handed on, from `handed` to `staged`.
    stage: [u8; LARGEST_STAGE],
    handed: usize,
    staged: usize,
    /// Bytes of the current block not yet handed on.
    block_rest: usize,
    block_trailer: usize,
    content_trailer: usize,
    failure: Failure,
}

/// Whether an error came through here, so that the library's own can be told from it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    None,
    Reported,
}

#[derive(Clone, Copy)]
enum Part {
    Header,
    Blocks,
    End,
}

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY_ID: u8 = 1;
const STORED_BLOCK: u32 = 1 << 31;
const LARGEST_BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Magic, FLG, BD, content size, dictionary id, header checksum.
const LARGEST_STAGE: usize = 4 + 2 + 8 + 4 + 1;

impl<R: BufRead> Frame<R> {
    fn new(source: R) -> Self {
        Frame {
            source,
            part: Part::Header,
            stage: [0; LARGEST_STAGE],
            handed: 0,
            staged: 0,
            block_rest: 0,
            block_trailer: 0,
            content_trailer: 0,
            failure: Failure::None,
        }
    }

    fn pass(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.handed == self.staged && self.block_rest == 0 {
            (self.handed, self.staged) = (0, 0);
            match self.part {
                Part::Header => self.stage_header()?,
                Part::Blocks => self.stage_block_size()?,
                Part::End => return Ok(0),
            }
        }
        if let Some(waiting) = self.stage.get(self.handed..self.staged).filter(|w| !w.is_empty()) {
            let count = (&mut &*waiting).read(out)?;
            self.handed += count;
            return Ok(count);
        }
        let room = out.len().min(self.block_rest);
        let count = self.source.read(out.get_mut(..room).unwrap_or_default())?;
        if count == 0 {
            return Err(Error::Truncated(FORMAT).into());
        }
        self.block_rest -= count;
        Ok(count)
    }

    fn stage_header(&mut self) -> io::Result<()> {
        let [m0, m1, m2, m3, flags, _] = self.stage_bytes::<6>()?;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(damaged("it does not begin with a frame".to_owned()).into());
        }
        if flags & CONTENT_SIZE != 0 {
            self.stage_bytes::<8>()?;
        }
        if flags & DICTIONARY_ID != 0 {
            self.stage_bytes::<4>()?;
        }
        self.stage_bytes::<1>()?;
        self.block_trailer = if flags & BLOCK_CHECKSUMS != 0 { 4 } else { 0 };
        self.content_trailer = if flags & CONTENT_CHECKSUM != 0 { 4 } else { 0 };
        self.part = Part::Blocks;
        Ok(())
    }

    fn stage_block_size(&mut self) -> io::Result<()> {
        let size = u32::from_le_bytes(self.stage_bytes()?) & !STORED_BLOCK;
        if size == 0 {
            self.block_rest = self.content_trailer;
            self.part = Part::End;
            return Ok(());
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > LARGEST_BLOCK_BYTES {
            return Err(damaged("a block is larger than the format allows".to_owned()).into());
        }
        self.block_rest = size + self.block_trailer;
        Ok(())
    }

    fn stage_bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        read_exact(&mut self.source, &mut bytes, FORMAT)?;
        if let Some(place) = self.stage.get_mut(self.staged..self.staged + N) {
            place.copy_from_slice(&bytes);
        }
        self.staged += N;
        Ok(bytes)
    }
}

impl<R: BufRead> Read for Frame<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.pass(out).inspect_err(|_| self.failure = Failure::Reported)
    }
}

fn damaged(reason: String) -> Error {
    Error::Damaged { format: FORMAT, reason }
}
