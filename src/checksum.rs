//! What bytes are known by: their number and their SHA-256, taken while they pass by.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The size and the SHA-256 of an object as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// Bytes.
    pub size: u64,
    /// Their hash.
    pub sha256: Sha256Sum,
}

/// A SHA-256. Written as 64 hexadecimal digits, as `sha256sum` does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256Sum([u8; 32]);

/// A text that is no SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no SHA-256 in hexadecimal digits", .0.escape_debug())]
pub struct InvalidSha256(String);

/// Bytes are not those that were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {found}, and {recorded} were stored")]
pub struct Mismatch {
    /// What the backup says of the object.
    pub recorded: Checksum,
    /// What the object is.
    pub found: Checksum,
}

impl Mismatch {
    /// What a person can do about it.
    pub const HINT: &str = "the object was changed or spoiled since it was stored; a bucket with versions may still have the \
                            right one, else restore another backup: `backup-list` shows them";
}

impl Checksum {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum { size: bytes.len() as u64, sha256: Sha256Sum(Sha256::digest(bytes).into()) }
    }

    /// Whether something with the checksum `found` is what this one was recorded of.
    pub fn check(&self, found: Checksum) -> Result<(), Mismatch> {
        match found == *self {
            true => Ok(()),
            false => Err(Mismatch { recorded: *self, found }),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with SHA-256 {}", self.size, self.sha256)
    }
}

impl fmt::Display for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256Sum({self})")
    }
}

impl FromStr for Sha256Sum {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Sha256Sum, InvalidSha256> {
        let mut sum = [0; 32];
        hex::decode_to_slice(text, &mut sum).map_err(|_| InvalidSha256(text.to_owned()))?;
        Ok(Sha256Sum(sum))
    }
}

/// A reader or writer that takes the checksum of all that passes through.
#[derive(Debug)]
pub struct Summing<T> {
    inner: T,
    size: u64,
    sha256: Sha256,
}

impl<T> Summing<T> {
    /// Nothing has passed yet.
    pub fn new(inner: T) -> Summing<T> {
        Summing { inner, size: 0, sha256: Sha256::new() }
    }

    /// What has passed.
    pub fn finish(self) -> Checksum {
        Checksum { size: self.size, sha256: Sha256Sum(self.sha256.finalize().into()) }
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.passed(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(data)?;
        self.passed(data.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Takes at most two bytes at a time.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.extend(data.iter().take(2));
            Ok(data.len().min(2))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_passes_is_summed_once() {
        let expected = Checksum { size: 3, sha256: ABC.parse().unwrap() };
        assert_eq!(Checksum::of(b"abc"), expected);
        let mut writer = Summing::new(Narrow(Vec::new()));
        writer.write_all(b"abc").unwrap();
        assert_eq!(writer.finish(), expected);
        let mut reader = Summing::new(&b"abc"[..]);
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "abc");
        assert_eq!(reader.finish(), expected);
    }

    #[test]
    fn a_mismatch_names_both() {
        let (recorded, found) = (Checksum::of(b"abc"), Checksum::of(b"abd"));
        assert_eq!(recorded.check(recorded), Ok(()));
        let text = recorded.check(found).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "it has 3 bytes with SHA-256 {}, and 3 bytes with SHA-256 {ABC} were stored",
                found.sha256
            )
        );
    }

    #[test]
    fn sums_are_64_digits() {
        assert_eq!(ABC.parse::<Sha256Sum>().unwrap().to_string(), ABC);
        for text in ["", "ab", &ABC[1..], &format!("{ABC}0"), &ABC.replace('b', "x")] {
            assert!(text.parse::<Sha256Sum>().is_err(), "{text}");
        }
    }
}
