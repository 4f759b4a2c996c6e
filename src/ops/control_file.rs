//! Reading `global/pg_control` of a data directory whose server may be writing it.

use std::fs;
use std::path::Path;

use crate::pg::{ControlFile, ControlFileError};

use super::Error;

/// How often the file is read when the server is just writing it.
const READS: usize = 10;

/// `pg_control` as it was read.
pub(super) struct Control {
    /// The bytes of the file.
    pub content: Vec<u8>,
    /// What they say.
    pub parsed: ControlFile,
}

/// Reads the control file of `data_dir`; again when its CRC is wrong, which is how it looks while the server writes it.
pub(super) fn read(data_dir: &Path) -> Result<Control, Error> {
    let path = data_dir.join("global/pg_control");
    let mut reads = 1;
    loop {
        let content = fs::read(&path).map_err(Error::file("read", &path))?;
        match ControlFile::parse(&content) {
            Ok(parsed) => return Ok(Control { content, parsed }),
            Err(ControlFileError::Crc { .. }) if reads < READS => reads += 1,
            Err(source) => return Err(Error::Control { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_control_file_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let global = dir.path().join("global");
        fs::create_dir(&global).unwrap();
        assert!(matches!(read(dir.path()), Err(Error::File { action: "read", .. })));

        let good = include_bytes!("../../tests/golden/pg/pg_control.15.bin");
        fs::write(global.join("pg_control"), good).unwrap();
        let control = read(dir.path()).unwrap();
        assert_eq!(control.parsed, ControlFile::parse(good).unwrap());
        assert_eq!(control.content, good);

        let mut torn = good.to_vec();
        torn[40] ^= 1;
        fs::write(global.join("pg_control"), torn).unwrap();
        let Err(Error::Control { path, source: ControlFileError::Crc { .. } }) = read(dir.path()) else {
            panic!("a wrong CRC is not accepted")
        };
        assert_eq!(path, global.join("pg_control"));
    }
}
