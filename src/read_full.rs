//! Reading until a buffer is full, from a source that gives less at a time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Reads until `buffer` is full or `source` ends; returns how many bytes that were, fewer than fit only at the end.
///
/// # Errors
/// Those of the source; what was read before is in the buffer, and not counted.
pub(crate) fn read_full(source: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// As [`read_full`], from `offset` of a file, whose own position stays.
///
/// # Errors
/// Those of the file.
pub(crate) fn read_full_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    read_full(&mut At { file, offset }, buffer)
}

struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte per call, every other call interrupted.
    struct Dripping<'a>(&'a [u8], bool);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = buffer.len().min(1);
            self.0.read(buffer.split_at_mut(length).0)
        }
    }

    #[test]
    fn fewer_bytes_than_fit_mean_the_end() {
        let mut source = Dripping(b"abcdefg", false);
        let mut buffer = [0; 4];
        assert_eq!((read_full(&mut source, &mut buffer).unwrap(), &buffer[..]), (4, &b"abcd"[..]));
        assert_eq!((read_full(&mut source, &mut buffer).unwrap(), &buffer[..3]), (3, &b"efg"[..]));
        assert_eq!(read_full(&mut source, &mut buffer).unwrap(), 0);
    }
}
