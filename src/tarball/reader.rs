//! Reads an archive to its last byte, with checked names.
//!
//! Accepted: USTAR, PAX and GNU headers; names with and without a leading slash, directories with and without a
//! trailing one; an archive without its end (the last tars of wal-g's remote backups have none), if it stops between
//! two members or in the padding behind one; zero bytes after the end. Everything else is an error, most of all a
//! member that is cut short and a name that leads out of the directory.
//!
//! The `tar` crate keeps a member's extended headers in memory, whatever size they say: so here it gets no more of them
//! than [`HEADERS_BYTES`].

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with this target, as stored: it is not checked.
    Symlink(PathBuf),
    /// Another name of the member with this name, which has the content; relative and without `.` and `..`.
    HardLink(PathBuf),
    /// A pipe or a device, which PostgreSQL has none of; tar and so barman store what they find.
    Special,
}

/// Whose a member is, by number and by name; a name that is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub user: String,
    /// The group's number.
    pub gid: u32,
    /// The group's name.
    pub group: String,
}

/// A member of an archive, and a reader of its content.
pub struct Member<'a> {
    /// The name, relative and without `.` and `..`; empty for the root directory.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with the set-id and sticky bits.
    pub mode: u32,
    /// `None` when its header tells of no such numbers.
    pub owner: Option<Owner>,
    /// The size of the content.
    pub size_bytes: u64,
    content: &'a mut dyn Read,
    rest_bytes: u64,
}

/// The content of the member; reading less than all of it is fine.
impl Read for Member<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(out)?;
        if count == 0 && self.rest_bytes > 0 && !out.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ReadError::Truncated));
        }
        self.rest_bytes = self.rest_bytes.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed, or the archive is malformed.
    #[error("cannot read the tar archive: {0}")]
    Archive(#[source] io::Error),
    /// The archive ends inside a member.
    #[error("the tar archive ends inside a member")]
    Truncated,
    /// A member's name leads out of the directory it is extracted to, or is none.
    #[error("the tar archive has a member with the unsafe name '{0}'")]
    UnsafeName(String),
    /// A member is of a type that tars of files do not have.
    #[error("the tar archive has a member '{name}' of the unsupported type '{flag}'")]
    UnsupportedType {
        /// The member's name.
        name: String,
        /// The type, as its header spells it.
        flag: char,
    },
    /// A member has longer headers than any name, link or set of attributes needs.
    #[error("the headers of a member of the tar archive are longer than {} KiB", HEADERS_BYTES / 1024)]
    LongHeaders,
    /// Something other than zero bytes follows the end of the archive.
    #[error("the tar archive is followed by other data")]
    TrailingData,
}

/// How an archive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the two zero blocks of every tar: nothing is missing.
    Marked,
    /// Right after a member, with or without its padding. Where nothing else tells its length, it may have been cut there.
    Unmarked,
}

/// Reads all members of `source` in order, hands each to `take`, then reads `source` to its end.
///
/// On success every byte of the source was read, so that checksums of the decoders below were verified.
///
/// # Errors
/// Those of `take` as they are, and [`ReadError`] made an `E`.
pub fn read_members<R, E>(
    source: R,
    mut take: impl FnMut(&mut Member<'_>) -> Result<(), E>,
) -> Result<Ending, E>
where
    R: Read,
    E: From<ReadError>,
{
    let (headers_end, members_end) = (Cell::new(None), Cell::new(0u64));
    let counted = Counted { source, bytes: 0, headers_end: &headers_end, members_end: &members_end };
    let mut archive = tar::Archive::new(counted);
    let mut entries = archive.entries().map_err(ReadError::Archive)?;
    loop {
        headers_end.set(Some(padded(members_end.get()).saturating_add(HEADERS_BYTES)));
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(archive_error)?;
        headers_end.set(None);
        let size_bytes = entry.size();
        members_end.set(entry.raw_file_position().saturating_add(size_bytes));
        let mut member = Member {
            path: checked_path(&entry.path_bytes())?,
            kind: kind(&entry)?,
            mode: entry.header().mode().map_err(ReadError::Archive)? & 0o7777,
            owner: owner(entry.header()),
            size_bytes,
            rest_bytes: size_bytes,
            content: &mut entry,
        };
        take(&mut member)?;
    }
    headers_end.set(None);
    let mut source = archive.into_inner();
    read_zeroes(&mut source)?;
    let after_members = source.bytes.saturating_sub(padded(members_end.get()));
    Ok(if after_members >= 2 * BLOCK_BYTES { Ending::Marked } else { Ending::Unmarked })
}

/// The unit of an archive.
const BLOCK_BYTES: u64 = 512;

/// All headers of one member, extended ones (PAX, and GNU's for long names) included. A name has at most 4096 bytes on
/// Linux (`PATH_MAX`).
const HEADERS_BYTES: u64 = 1 << 20;

/// The end of a member's blocks, of which the last one is filled up.
fn padded(content_end: u64) -> u64 {
    content_end.checked_next_multiple_of(BLOCK_BYTES).unwrap_or(u64::MAX)
}

/// Counts what was read, ends headers that are too long, and fills up the last block of the last member: wal-g's remote
/// backups end with the content.
struct Counted<'a, R> {
    source: R,
    bytes: u64,
    /// Where the headers of the next member have to be over, while they are read.
    headers_end: &'a Cell<Option<u64>>,
    /// Where the content of the last member so far is over.
    members_end: &'a Cell<u64>,
}

impl<R> Counted<'_, R> {
    /// The padding that is still to come, where the content of a member has come.
    fn padding_left(&self) -> usize {
        let content_end = self.members_end.get();
        match self.bytes >= content_end {
            true => usize::try_from(padded(content_end).saturating_sub(self.bytes)).unwrap_or(0),
            false => 0,
        }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.headers_end.get().is_some_and(|end| self.bytes >= end) {
            return Err(io::Error::other(ReadError::LongHeaders));
        }
        let mut count = self.source.read(out)?;
        if count == 0 {
            let padding = out.iter_mut().take(self.padding_left());
            count = padding.map(|byte| *byte = 0).count();
        }
        self.bytes += count as u64;
        Ok(count)
    }
}

fn archive_error(error: io::Error) -> ReadError {
    let error = match error.downcast::<ReadError>() {
        Ok(ours) => return ours,
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::UnexpectedEof if error.get_ref().is_none() => ReadError::Truncated,
        _ => ReadError::Archive(error),
    }
}

fn checked_path(name: &[u8]) -> Result<PathBuf, ReadError> {
    let unsafe_name = || ReadError::UnsafeName(String::from_utf8_lossy(name).into_owned());
    let relative = name.strip_prefix(b"/").unwrap_or(name);
    if name.is_empty() || relative.starts_with(b"/") || name.contains(&0) {
        return Err(unsafe_name());
    }
    let mut path = PathBuf::new();
    for component in relative.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(unsafe_name()),
            component => path.push(Path::new(OsStr::from_bytes(component))),
        }
    }
    Ok(path)
}

fn owner(header: &tar::Header) -> Option<Owner> {
    let number = |number: io::Result<u64>| u32::try_from(number.ok()?).ok();
    let name = |name: Option<&[u8]>| String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
    Some(Owner {
        uid: number(header.uid())?,
        user: name(header.username_bytes()),
        gid: number(header.gid())?,
        group: name(header.groupname_bytes()),
    })
}

fn kind<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Kind, ReadError> {
    let entry_type = entry.header().entry_type();
    match entry_type {
        tar::EntryType::Regular | tar::EntryType::Continuous => Ok(Kind::File),
        tar::EntryType::Directory => Ok(Kind::Directory),
        tar::EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default();
            Ok(Kind::Symlink(PathBuf::from(OsStr::from_bytes(&target))))
        }
        tar::EntryType::Link => {
            Ok(Kind::HardLink(checked_path(&entry.link_name_bytes().unwrap_or_default())?))
        }
        tar::EntryType::Fifo | tar::EntryType::Char | tar::EntryType::Block => Ok(Kind::Special),
        _ => Err(ReadError::UnsupportedType {
            name: String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
            flag: char::from(entry_type.as_byte()),
        }),
    }
}

fn read_zeroes(mut source: impl Read) -> Result<(), ReadError> {
    let mut buffer = [0; 4096];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) if buffer.iter().take(count).all(|byte| *byte == 0) => {}
            Ok(_) => return Err(ReadError::TrailingData),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ReadError::Archive(e)),
        }
    }
}
