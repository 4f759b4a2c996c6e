//! One tar on its way into the target.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::{self, Cipher};
use crate::layout::walg::increment::{self, IncrementHeader, PAGE_BYTES, is_increment};
use crate::ops::Error;
use crate::pg::ControlFile;
use crate::pipeline::ObjectReader;
use crate::progress::Progress;
use crate::read_full::read_full;
use crate::tarball::{Ending, Kind, Member, ReadError, read_members};

use super::plan::{Form, Tar, Wanted};
use super::target::Target;

/// Bytes written at a time.
const COPY_BYTES: usize = 256 * 1024;

/// A `pg_control` is never larger than this (`PG_CONTROL_FILE_SIZE` is 8192).
const CONTROL_BYTES: u64 = 64 * 1024;

/// What the tars of one backup are extracted with.
pub(super) struct Extraction {
    pub target: Arc<Target>,
    pub wanted: Wanted,
    /// Names of wanted files that no tar has held yet.
    pub missing: Mutex<HashSet<String>>,
    /// Whether this is the backup whose labels and `pg_control` count.
    pub takes_labels: bool,
    /// Whether `tablespace_map` is restored; with it the server would link the tablespaces to where they were.
    pub takes_tablespace_map: bool,
    /// Kept until everything else is in place.
    pub control: Arc<Mutex<Option<Vec<u8>>>>,
    pub progress: Progress,
}

/// Extracts `tar` from `object`. Every byte of the object was read and verified on return.
pub(super) fn extract(
    object: ObjectReader,
    tar: &Tar,
    cipher: &Cipher,
    extraction: &Extraction,
) -> Result<(), Error> {
    let key = &tar.key;
    let content = codec::decode(object, tar.method, cipher).map_err(Error::content(key))?;
    let mut buffer = vec![0; COPY_BYTES];
    let ending = read_members(content, |member| extraction.take(member, &mut buffer));
    match ending {
        Ok(Ending::Unmarked) if !tar.is_tail => Err(Error::content(key)(io::Error::other(NoEnd))),
        Ok(_) => Ok(()),
        Err(Failure::Source(source)) => Err(Error::content(key)(io::Error::other(source))),
        Err(Failure::Target(error)) => Err(error),
    }
}

/// The tar stops between two members. With neither compression nor cipher nothing else tells that it was cut.
#[derive(Debug, thiserror::Error)]
#[error("the tar has no end, it was cut short")]
struct NoEnd;

/// Why a tar was not extracted.
enum Failure {
    /// What comes from the storage is not what it should be.
    Source(Box<dyn StdError + Send + Sync>),
    /// What goes to the disk cannot be written.
    Target(Error),
}

impl Failure {
    fn source(error: impl StdError + Send + Sync + 'static) -> Failure {
        Failure::Source(Box::new(error))
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::source(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Target(error)
    }
}

impl From<increment::Error> for Failure {
    fn from(error: increment::Error) -> Failure {
        Failure::source(error)
    }
}

impl Extraction {
    /// A wanted file that no tar held.
    pub fn missing(&self) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).iter().min().cloned()
    }

    fn take(&self, member: &mut Member<'_>, buffer: &mut [u8]) -> Result<(), Failure> {
        let place = self.target.place(&member.path);
        if let Some(name) = member.path.to_str() {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
        match &member.kind {
            Kind::Directory => self.directory(member, &place),
            Kind::Symlink(to) => {
                self.target.link(&member.path, to.clone());
                Ok(())
            }
            Kind::File => match member.path.to_str() {
                Some("global/pg_control") => self.control(member),
                Some("backup_label") if !self.takes_labels => Ok(()),
                Some("tablespace_map") if !self.takes_labels || !self.takes_tablespace_map => Ok(()),
                Some("backup_label" | "tablespace_map") => self.whole(member, &place, buffer),
                name => match (&self.wanted, name) {
                    (Wanted::Everything, _) => self.whole(member, &place, buffer),
                    (Wanted::Files(files), Some(name)) => match files.get(name) {
                        Some(Form::Whole) => self.whole(member, &place, buffer),
                        Some(Form::Increment) => self.increment(member, &place),
                        None => Ok(()),
                    },
                    (Wanted::Files(_), None) => Ok(()),
                },
            },
        }
    }

    fn directory(&self, member: &Member<'_>, place: &Path) -> Result<(), Failure> {
        create_directories(place)?;
        if place != self.target.root() {
            let mode = Permissions::from_mode(member.mode | 0o700);
            fs::set_permissions(place, mode).map_err(Error::file("set the permissions of", place))?;
        }
        Ok(())
    }

    fn control(&self, member: &mut Member<'_>) -> Result<(), Failure> {
        if self.takes_labels {
            let mut content = Vec::new();
            member.take(CONTROL_BYTES).read_to_end(&mut content).map_err(Failure::source)?;
            ControlFile::parse(&content).map_err(Failure::source)?;
            *self.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(content);
        }
        Ok(())
    }

    fn whole(&self, member: &mut Member<'_>, place: &Path, buffer: &mut [u8]) -> Result<(), Failure> {
        let mut file = create_file(place, member.mode)?;
        let mut at_start = true;
        loop {
            let length = read_full(member, buffer).map_err(Failure::source)?;
            let chunk = buffer.get(..length).unwrap_or_default();
            if at_start && chunk.first_chunk().is_some_and(is_increment) {
                return Err(Failure::source(UnexpectedIncrement));
            }
            if chunk.is_empty() {
                return Ok(());
            }
            at_start = false;
            file.write_all(chunk).map_err(Error::file("write", place))?;
            self.progress.add_bytes(length as u64);
        }
    }

    fn increment(&self, member: &mut Member<'_>, place: &Path) -> Result<(), Failure> {
        let header = IncrementHeader::read(&mut *member)?;
        let file = OpenOptions::new()
            .write(true)
            .open(place)
            .map_err(Error::file("apply an increment to", place))?;
        file.set_len(header.file_bytes()).map_err(Error::file("resize", place))?;
        header.read_pages(&mut *member, |block, page| {
            let offset = u64::from(block) * PAGE_BYTES as u64;
            file.write_all_at(page, offset).map_err(Error::file("write", place))?;
            self.progress.add_bytes(PAGE_BYTES as u64);
            Ok(())
        })
    }
}

/// A whole file was expected where the tar has an increment: restored as it is, the relation would be destroyed.
#[derive(Debug, thiserror::Error)]
#[error("the tar holds an increment where the backup's list of files says that the file is whole")]
struct UnexpectedIncrement;

fn create_file(place: &Path, mode: u32) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode | 0o600);
    let created = match options.open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(place.parent().unwrap_or(place))?;
            options.open(place)
        }
        opened => opened,
    };
    let file = created.map_err(Error::file("create", place))?;
    // The mode of a new file is subject to the umask.
    file.set_permissions(Permissions::from_mode(mode | 0o600))
        .map_err(Error::file("set the permissions of", place))?;
    Ok(file)
}

/// Durability comes with the sync of the whole file system at the end.
fn create_directories(place: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(Error::file("create", place))
}
