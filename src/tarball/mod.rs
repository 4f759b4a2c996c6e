//! Tar archives with exactly the headers wal-g writes, and a checked reader.
//!
//! An archive is a sequence of members, each a header of 512 bytes and its content filled up to a multiple of 512
//! with zero bytes, and ends with two blocks of zeroes. The formats are USTAR and, for what does not fit into it,
//! PAX (POSIX.1-2001, chapter `pax`). Contents are streams: no member is ever in memory as a whole.

mod header;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use header::{Entry, HeaderError};
pub use reader::{Ending, Kind, Member, Owner, ReadError, read_members};
pub use writer::{Copied, WriteError, Writer};

/// The unit of an archive, in bytes.
pub(crate) const BLOCK_BYTES: usize = 512;

/// Zero bytes that fill a member's content up to a whole number of blocks.
pub(crate) fn padding_bytes(content_bytes: u64) -> usize {
    let block = BLOCK_BYTES as u64;
    usize::try_from((block - content_bytes % block) % block).unwrap_or(0)
}
