//! Writes an archive, entry by entry.

use std::io::{self, Read, Write};

use super::header::{Entry, HeaderError, Type, header_blocks};
use super::{BLOCK_BYTES, padding_bytes};

/// Writes members into `inner`. Without [`finish`](Writer::finish) the archive lacks its end.
pub struct Writer<W> {
    inner: W,
    bytes_written: u64,
    buffer: Box<[u8]>,
}

/// Why a member could not be written. What was written before stays; the archive can go on only after
/// [`WriteError::Header`].
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The member cannot be described by a tar header; nothing of it was written.
    #[error("cannot store {name} in a tar archive: {source}")]
    Header {
        /// The member's name.
        name: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// Reading the content failed; the archive ends inside the member.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The member's name.
        name: String,
        /// The reader's error.
        source: io::Error,
    },
    /// Writing the archive failed.
    #[error("cannot write the tar archive: {0}")]
    Write(#[source] io::Error),
}

/// How the content of a file compared with the size announced for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// It had exactly that size.
    Whole,
    /// It ended this many bytes early; zero bytes stand in for them.
    Padded(u64),
    /// It has more bytes, which were left out.
    Cut,
}

const COPY_BUFFER_BYTES: usize = 128 * 1024;

impl<W: Write> Writer<W> {
    /// Starts an archive; nothing is written yet.
    pub fn new(inner: W) -> Self {
        Writer { inner, bytes_written: 0, buffer: vec![0; COPY_BUFFER_BYTES].into_boxed_slice() }
    }

    /// The size of the archive so far, in bytes.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Writes a directory.
    ///
    /// # Errors
    /// [`WriteError::Header`], [`WriteError::Write`]
    pub fn directory(&mut self, entry: &Entry) -> Result<(), WriteError> {
        self.header(entry, Type::Directory)
    }

    /// Writes a symbolic link to `target`.
    ///
    /// # Errors
    /// [`WriteError::Header`], [`WriteError::Write`]
    pub fn symlink(&mut self, entry: &Entry, target: &str) -> Result<(), WriteError> {
        self.header(entry, Type::Symlink(target))
    }

    /// Writes a file of exactly `size_bytes`, whatever happens to its content meanwhile: PostgreSQL goes on writing
    /// while a backup copies, and replay of WAL repairs what changed.
    ///
    /// # Errors
    /// All of [`WriteError`].
    pub fn file(
        &mut self,
        entry: &Entry,
        size_bytes: u64,
        mut content: impl Read,
    ) -> Result<Copied, WriteError> {
        self.header(entry, Type::File(size_bytes))?;
        let read_failed = |source| WriteError::Read { name: entry.name.clone(), source };
        let mut missing = size_bytes;
        while missing > 0 {
            let room = usize::try_from(missing).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..room).unwrap_or_default();
            let count = read_some(&mut content, buffer).map_err(read_failed)?;
            if count == 0 {
                break;
            }
            let chunk = self.buffer.get(..count).unwrap_or_default();
            self.inner.write_all(chunk).map_err(WriteError::Write)?;
            missing -= count as u64;
        }
        let copied = match missing {
            0 if read_some(&mut content, &mut [0]).map_err(read_failed)? > 0 => Copied::Cut,
            0 => Copied::Whole,
            missing => Copied::Padded(missing),
        };
        self.bytes_written += size_bytes - missing;
        self.zeroes(missing)?;
        self.zeroes(padding_bytes(size_bytes) as u64)?;
        Ok(copied)
    }

    /// Writes the end of the archive, two zero blocks and no further padding, and returns the inner writer.
    ///
    /// # Errors
    /// [`WriteError::Write`]
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.zeroes(2 * BLOCK_BYTES as u64)?;
        Ok(self.inner)
    }

    fn header(&mut self, entry: &Entry, member_type: Type<'_>) -> Result<(), WriteError> {
        let blocks = header_blocks(entry, member_type)
            .map_err(|source| WriteError::Header { name: entry.name.clone(), source })?;
        self.inner.write_all(&blocks).map_err(WriteError::Write)?;
        self.bytes_written += blocks.len() as u64;
        Ok(())
    }

    fn zeroes(&mut self, count: u64) -> Result<(), WriteError> {
        io::copy(&mut io::repeat(0).take(count), &mut self.inner).map_err(WriteError::Write)?;
        self.bytes_written += count;
        Ok(())
    }
}

fn read_some(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match content.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
