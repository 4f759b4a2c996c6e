//! The header of a member, byte for byte as Go's `archive/tar` writes it for wal-g.
//!
//! | offset | bytes | field | |
//! |---|---|---|---|
//! | 0 | 100 | name | |
//! | 100, 108, 116 | 8 each | mode, uid, gid | octal digits, zero-filled, NUL |
//! | 124, 136 | 12 each | size, mtime | octal digits, zero-filled, NUL |
//! | 148 | 8 | checksum | six octal digits, NUL, space |
//! | 156 | 1 | type | `0` file, `2` symlink, `5` directory, `x` PAX records |
//! | 157 | 100 | link target | |
//! | 257 | 8 | magic, version | `ustar`, NUL, `00` |
//! | 265, 297 | 32 each | user, group name | |
//! | 329, 337 | 8 each | device numbers | octal zero |
//! | 345 | 155 | prefix of the name | |
//!
//! What does not fit (names that cannot be split, text beyond ASCII, sizes of 8 GiB and more, large ids) goes
//! into a PAX header before it: `LENGTH key=value` lines, sorted by key; the plain field then holds what is
//! left, ASCII only and cut, or zero for numbers.
//!
//! Source: Go 1.23 `archive/tar/{writer,format,common}.go`, wal-g `internal/tar_ball_queue.go`; checked against
//! archives written by wal-g 3.0.9.

use std::collections::BTreeMap;

use super::{BLOCK_BYTES, padding_bytes};

/// What a header says about a file, a directory or a symbolic link, apart from its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The member's name as it is to be stored, with the leading slash of wal-g's names where that is wanted.
    pub name: String,
    /// Permission bits, with the set-id and sticky bits.
    pub mode: u32,
    /// Owner, as a number and a name (empty: unknown).
    pub uid: u32,
    /// The owner's name; empty when unknown.
    pub user: String,
    /// Group, as a number.
    pub gid: u32,
    /// The group's name; empty when unknown.
    pub group: String,
    /// Modification time: seconds since the epoch.
    pub mtime_seconds: i64,
    /// Modification time: nanoseconds within the second. Headers hold whole seconds, rounded half up.
    pub mtime_nanoseconds: u32,
}

/// Why a header cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// A text holds a NUL byte, which no format can store.
    #[error("its {0} contains a NUL byte")]
    Nul(&'static str),
    /// The mode has bits beyond what the field can hold.
    #[error("its mode {0:o} is out of range")]
    Mode(u32),
}

/// The type of a member, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type<'a> {
    /// A file of this many bytes.
    File(u64),
    Symlink(&'a str),
    Directory,
}

/// Returns the header blocks of a member: one, or a PAX header with its records and one.
pub(super) fn header_blocks(entry: &Entry, member_type: Type<'_>) -> Result<Vec<u8>, HeaderError> {
    let (flag, size, link) = match member_type {
        Type::File(size) => (b'0', size, ""),
        Type::Symlink(target) => (b'2', 0, target),
        Type::Directory => (b'5', 0, ""),
    };
    for (text, what) in [
        (entry.name.as_str(), "name"),
        (link, "link target"),
        (&entry.user, "user name"),
        (&entry.group, "group name"),
    ] {
        if text.contains('\0') {
            return Err(HeaderError::Nul(what));
        }
    }
    if !fits_octal(8, i128::from(entry.mode)) {
        return Err(HeaderError::Mode(entry.mode));
    }
    let mtime = rounded_seconds(entry.mtime_seconds, entry.mtime_nanoseconds);

    let mut records = BTreeMap::new();
    let split = split_name(&entry.name);
    if !entry.name.is_ascii() || (entry.name.len() > NAME_BYTES && split.is_none()) {
        records.insert("path", entry.name.clone());
    }
    for (key, text, room) in
        [("linkpath", link, NAME_BYTES), ("uname", &entry.user, 32), ("gname", &entry.group, 32)]
    {
        if !text.is_ascii() || text.len() > room {
            records.insert(key, text.to_owned());
        }
    }
    for (key, number, room) in [
        ("uid", i128::from(entry.uid), 8),
        ("gid", i128::from(entry.gid), 8),
        ("size", i128::from(size), 12),
        ("mtime", i128::from(mtime), 12),
    ] {
        if !fits_octal(room, number) {
            records.insert(key, number.to_string());
        }
    }

    let mut blocks = Vec::with_capacity(BLOCK_BYTES);
    let (prefix, name) = match split {
        Some((prefix, name)) if records.is_empty() => (prefix, name),
        _ => ("", entry.name.as_str()),
    };
    if !records.is_empty() {
        // Go repeats every name that is too long for its field among the records, splittable or not.
        if entry.name.len() > NAME_BYTES {
            records.insert("path", entry.name.clone());
        }
        blocks.extend(pax_blocks(&entry.name, &records));
    }
    let mut block = Block::new(name, flag);
    block.octal(100, 8, i128::from(entry.mode));
    block.octal(108, 8, i128::from(entry.uid));
    block.octal(116, 8, i128::from(entry.gid));
    block.octal(124, 12, i128::from(size));
    block.octal(136, 12, i128::from(mtime));
    block.text(157, NAME_BYTES, link);
    block.text(265, 32, &entry.user);
    block.text(297, 32, &entry.group);
    block.octal(329, 8, 0);
    block.octal(337, 8, 0);
    block.text(345, PREFIX_BYTES, prefix);
    blocks.extend(block.with_checksum());
    Ok(blocks)
}

const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

fn rounded_seconds(seconds: i64, nanoseconds: u32) -> i64 {
    if nanoseconds >= 500_000_000 { seconds.saturating_add(1) } else { seconds }
}

/// Whether a number fits into an octal field of `room` bytes, one of which is the closing NUL.
fn fits_octal(room: u32, number: i128) -> bool {
    (0..1_i128 << ((room - 1) * 3)).contains(&number)
}

/// Splits a name too long for its field at a slash, the last one the prefix has room for.
fn split_name(name: &str) -> Option<(&str, &str)> {
    if name.len() <= NAME_BYTES || !name.is_ascii() {
        return None;
    }
    let searched =
        if name.len() > PREFIX_BYTES + 1 { PREFIX_BYTES + 1 } else { name.trim_end_matches('/').len() };
    let at = name.get(..searched)?.rfind('/')?;
    let (prefix, rest) = (name.get(..at)?, name.get(at + 1..)?);
    let fits = !prefix.is_empty() && prefix.len() <= PREFIX_BYTES && (1..=NAME_BYTES).contains(&rest.len());
    fits.then_some((prefix, rest))
}

/// The PAX header of a member: a member itself, named after it, whose content are the records.
fn pax_blocks(name: &str, records: &BTreeMap<&str, String>) -> Vec<u8> {
    let content: String = records.iter().map(|(key, value)| pax_record(key, value)).collect();
    let (directory, file) = name.rsplit_once('/').map_or(("", name), |(directory, file)| (directory, file));
    let root = if name.starts_with('/') { "/" } else { "" };
    let parts = directory.split('/').chain(["PaxHeaders.0"]).chain([file]).filter(|part| !part.is_empty());
    let pax_name = format!("{root}{}", parts.collect::<Vec<_>>().join("/"));
    let pax_name: String = pax_name.chars().filter(char::is_ascii).take(NAME_BYTES).collect();

    let mut block = Block::new(pax_name.trim_end_matches('/'), b'x');
    for (offset, room) in [(100, 8), (108, 8), (116, 8), (136, 12)] {
        block.octal(offset, room, 0);
    }
    block.octal(124, 12, content.len() as i128);
    let mut blocks = block.with_checksum().to_vec();
    blocks.extend(content.as_bytes());
    blocks.resize(blocks.len() + padding_bytes(content.len() as u64), 0);
    blocks
}

/// `LENGTH key=value`, where the length counts the whole line with its own digits and the line break.
fn pax_record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    format!("{length} {key}={value}\n")
}

struct Block([u8; BLOCK_BYTES]);

impl Block {
    fn new(name: &str, flag: u8) -> Self {
        let mut block = Block([0; BLOCK_BYTES]);
        block.text(0, NAME_BYTES, name);
        block.bytes(156, &[flag]);
        block.bytes(257, b"ustar\x0000");
        block
    }

    fn bytes(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    /// Writes the ASCII part of a text, cut to its field; a slash where it is cut goes too, as in Go, since old
    /// readers take a trailing one for a directory.
    fn text(&mut self, offset: usize, room: usize, text: &str) {
        let ascii: String = text.chars().filter(char::is_ascii).collect();
        match ascii.get(..room) {
            Some(cut) if ascii.len() > room => self.bytes(offset, cut.trim_end_matches('/').as_bytes()),
            _ => self.bytes(offset, ascii.as_bytes()),
        }
    }

    /// Writes a number, or zero when it does not fit (a PAX record has it then).
    fn octal(&mut self, offset: usize, room: u32, number: i128) {
        let number = if fits_octal(room, number) { number } else { 0 };
        let digits = usize::try_from(room - 1).unwrap_or_default();
        self.bytes(offset, format!("{number:0digits$o}\0").as_bytes());
    }

    /// The sum of all bytes of the block, its own field counted as spaces.
    fn with_checksum(mut self) -> [u8; BLOCK_BYTES] {
        self.bytes(148, b"        ");
        let sum: u32 = self.0.iter().copied().map(u32::from).sum();
        self.bytes(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}
