//! Reading `global/pg_control`: of a data directory whose server may be writing it, and of a backup.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::layout::walg::BackupName;
use crate::layout::walg::names::{self, TarContent};
use crate::pg::{ControlFile, ControlFileError};
use crate::pipeline::open_object;
use crate::storage::{self, Depth};
use crate::tarball::{ReadError, read_members};

use super::archived::Archived;
use super::{Context, Error};

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

/// Reads the control file that a local backup has; `None` when it has none.
pub(super) async fn of_backup(ctx: &Context, backup: BackupName) -> Result<Option<ControlFile>, Error> {
    let tars = storage::list_all(ctx.storage.as_ref(), &names::tars_prefix(backup), Depth::Children).await?;
    let mut keys = tars.objects.into_iter().map(|object| object.key);
    let Some(key) = keys.find(|key| TarContent::of(key.file_name()) == TarContent::Control) else {
        return Ok(None);
    };
    let stored =
        names::parse_tar_name(key.file_name()).map_err(|error| Error::content(&key)(error.into()))?;
    let Some(reader) = open_object(&ctx.storage, &key, None, &ctx.cancel).await? else { return Ok(None) };
    let archived = Archived { key: key.clone(), method: stored.method, reader };
    let content = archived.read(ctx, |tar| only_member(tar).map_err(io::Error::other)).await?;
    let control = ControlFile::parse(&content);
    control.map(Some).map_err(|error| Error::content(&key)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The content of the one file in a tar, as far as a control file uses it.
fn only_member(tar: &mut dyn Read) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    read_members(tar, |member| {
        let used = ControlFile::MAX_USED_LEN as u64;
        member.take(used).read_to_end(&mut content).map(drop).map_err(ReadError::Archive)
    })?;
    Ok(content)
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
