//! Reading until a buffer is full, from a source that gives less at a time.

use std::io::{self, Read};

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
