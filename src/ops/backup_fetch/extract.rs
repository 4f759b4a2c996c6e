//! One tar on its way into the target.

use std::error::Error as StdError;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checksum::Summing;
use crate::codec::{self, Cipher};
use crate::layout::walg::increment::{self, IncrementHeader, PAGE_BYTES, is_increment};
use crate::ops::{Class, Error};
use crate::pg::ControlFile;
use crate::pipeline::ObjectReader;
use crate::progress::Progress;
use crate::read_full::read_full;
use crate::tarball::{Ending, Kind, Member, Owner, ReadError, read_members};

use super::plan::{Form, Tar};
use super::root_files::RootFiles;
use super::shared_files::{Holder, NoTurn, SharedFiles, offset_of};
use super::target::Target;

/// Bytes written at a time: whole pages.
const COPY_BYTES: usize = 32 * PAGE_BYTES;

/// A `pg_control` is never larger than this (`PG_CONTROL_FILE_SIZE` is 8192).
const CONTROL_BYTES: u64 = 64 * 1024;

/// What the tars of all backups are extracted with.
pub(super) struct Extraction {
    pub target: Arc<Target>,
    pub shared: Arc<SharedFiles>,
    /// Whether `tablespace_map` is restored; with it the server would link the tablespaces to where they were.
    pub takes_tablespace_map: bool,
    pub root_files: RootFiles,
    /// Kept until everything else is in place.
    pub control: Mutex<Option<Control>>,
    pub progress: Progress,
}

/// A backup's `pg_control`.
pub(super) struct Control {
    /// Of its tar.
    pub order: usize,
    pub content: Vec<u8>,
    pub owner: Option<Owner>,
}

/// Extracts `tar` from `object`, which `threads` may decompress. Every byte of the object was read and verified on return.
pub(super) fn extract(
    mut object: ObjectReader,
    tar: &Tar,
    threads: NonZeroUsize,
    cipher: &Cipher,
    extraction: &Extraction,
) -> Result<(), Error> {
    let unpack = |object: &mut dyn Read| {
        let content =
            codec::decode_on(threads, object, tar.method, cipher).map_err(Error::content(&tar.key))?;
        unpack(content, tar, tar.is_whole_without_mark(cipher), extraction)
    };
    let Some(recorded) = tar.recorded else { return unpack(&mut object) };
    let mut object = Summing::new(object);
    let unpacked = unpack(&mut object);
    if unpacked.as_ref().is_err_and(|error| error.class() != Class::Integrity) {
        return unpacked;
    }
    // Of an object that cannot be unpacked, it says most that it is another one than was stored.
    io::copy(&mut object, &mut io::sink()).map_err(Error::content(&tar.key))?;
    recorded.check(object.finish()).map_err(|error| Error::content(&tar.key)(io::Error::other(error)))?;
    unpacked
}

fn unpack(
    content: impl Read,
    tar: &Tar,
    is_whole_without_mark: bool,
    extraction: &Extraction,
) -> Result<(), Error> {
    let key = &tar.key;
    let mut buffer = vec![0; COPY_BYTES];
    let ending = read_members(content, |member| extraction.take(tar, member, &mut buffer));
    match ending {
        Ok(Ending::Unmarked) if !is_whole_without_mark => Err(Error::content(key)(io::Error::other(NoEnd))),
        Ok(_) => Ok(()),
        Err(Failure::Source(source)) => Err(Error::content(key)(io::Error::other(source))),
        Err(Failure::Target(error)) => Err(error),
    }
}

/// The tar stops between two members, and nothing else tells whether it was cut there.
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

impl From<NoTurn> for Failure {
    fn from(error: NoTurn) -> Failure {
        match error {
            NoTurn::GivenUp => Failure::Target(Error::Cancelled),
            NoTurn::Repeated => Failure::source(error),
        }
    }
}

impl Extraction {
    fn take(&self, tar: &Tar, member: &mut Member<'_>, buffer: &mut [u8]) -> Result<(), Failure> {
        let (level, path) = (&tar.level, tar.below.join(&member.path));
        let place = self.target.place(&path);
        let form = level.wanted.meet(&path);
        match &member.kind {
            Kind::File => match (path.to_str(), form) {
                (Some("global/pg_control"), _) if level.is_newest => self.control(tar, member),
                (Some("backup_label"), _) if level.is_newest => self.whole(tar, member, &path, buffer),
                (Some("tablespace_map"), _) if level.is_newest && self.takes_tablespace_map => {
                    self.whole(tar, member, &path, buffer)
                }
                (Some("global/pg_control" | "backup_label" | "tablespace_map"), _) | (_, None) => Ok(()),
                (_, Some(Form::Whole)) => self.whole(tar, member, &path, buffer),
                (_, Some(Form::Base(holder))) => self.base(member, &place, holder, buffer),
                (_, Some(Form::Increment(holder))) => self.increment(member, &place, holder),
            },
            _ if form.is_some_and(Form::is_shared) => Err(Failure::source(NotAFile)),
            // Those of older backups that are not wanted may be gone, or lead elsewhere by now.
            Kind::Directory if level.is_newest || form.is_some() => self.directory(member, &place),
            Kind::Symlink(to) if level.is_newest || form.is_some() => {
                self.target.link(&path, to.clone());
                Ok(())
            }
            Kind::HardLink(to) if level.is_newest || form.is_some() => self.hard_link(tar, to, &path),
            Kind::Special => {
                tracing::warn!(path = %path.display(), "not restored: a pipe or a device");
                Ok(())
            }
            Kind::Directory | Kind::Symlink(_) | Kind::HardLink(_) => Ok(()),
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

    /// Another name of a file that came before it in the same tar.
    fn hard_link(&self, tar: &Tar, to: &Path, path: &Path) -> Result<(), Failure> {
        let (file, place) = (self.target.place(&tar.below.join(to)), self.target.place(path));
        create_directories(place.parent().unwrap_or(&place))?;
        let make = || Ok(fs::hard_link(&file, &place));
        match self.root_files.make(tar.order, path, &place, make)? {
            None | Some(Ok(())) => Ok(()),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(Failure::source(LinkToNothing(to.to_owned())))
            }
            Some(Err(error)) => Err(Error::file("link", place)(error).into()),
        }
    }

    fn control(&self, tar: &Tar, member: &mut Member<'_>) -> Result<(), Failure> {
        let mut content = Vec::new();
        member.take(CONTROL_BYTES).read_to_end(&mut content).map_err(Failure::source)?;
        ControlFile::parse(&content).map_err(Failure::source)?;
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        if control.as_ref().is_none_or(|other| other.order <= tar.order) {
            *control = Some(Control { order: tar.order, content, owner: member.owner.clone() });
        }
        Ok(())
    }

    /// A file that no other backup is needed for.
    fn whole(
        &self,
        tar: &Tar,
        member: &mut Member<'_>,
        path: &Path,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let place = &self.target.place(path);
        let file = self.root_files.make(tar.order, path, place, || create_file(place, member.mode))?;
        let Some(mut file) = file else { return Ok(()) };
        read_chunks(member, buffer, |_, chunk| {
            file.write_all(chunk).map_err(Error::file("write", place))?;
            self.progress.add_bytes(chunk.len() as u64);
            Ok(())
        })
    }

    /// The pages of a file that no newer backup has an increment with.
    fn base(
        &self,
        member: &mut Member<'_>,
        place: &Path,
        holder: Holder,
        buffer: &mut [u8],
    ) -> Result<(), Failure> {
        let gaps = self.shared.wait(holder)?.claim_rest();
        let file = open_file(place)?;
        // Whoever has an increment of it may still have to open it.
        set_mode(&file, place, member.mode | OWNER_WRITES)?;
        read_chunks(member, buffer, |offset, chunk| {
            for run in gaps.within(offset, chunk.len()) {
                let start = offset + run.start as u64;
                let run = chunk.get(run).unwrap_or_default();
                file.write_all_at(run, start).map_err(Error::file("write", place))?;
                self.progress.add_bytes(run.len() as u64);
            }
            Ok(())
        })
    }

    /// The pages of an increment that no newer one has. The newest makes the file, in its final size.
    fn increment(&self, member: &mut Member<'_>, place: &Path, holder: Holder) -> Result<(), Failure> {
        let header = IncrementHeader::read(&mut *member)?;
        let turn = self.shared.wait(holder)?;
        let file = match turn.is_first() {
            true => {
                let file = create_file(place, OWNER_WRITES)?;
                file.set_len(header.restored_bytes()).map_err(Error::file("resize", place))?;
                file
            }
            false => open_file(place)?,
        };
        let claimed = turn.claim(&header);
        header.read_pages(&mut *member, |block, page| {
            if claimed.contains(block) {
                file.write_all_at(page, offset_of(block)).map_err(Error::file("write", place))?;
                self.progress.add_bytes(PAGE_BYTES as u64);
            }
            Ok(())
        })
    }
}

/// Hands the content of a file to `write` in chunks, each with its offset.
fn read_chunks(
    member: &mut Member<'_>,
    buffer: &mut [u8],
    mut write: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Failure> {
    let mut offset = 0;
    loop {
        let length = read_full(member, buffer).map_err(Failure::source)?;
        let chunk = buffer.get(..length).unwrap_or_default();
        if offset == 0 && chunk.first_chunk().is_some_and(is_increment) {
            return Err(Failure::source(UnexpectedIncrement));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        write(offset, chunk)?;
        offset += length as u64;
    }
}

/// A whole file was expected where the tar has an increment: restored as it is, the relation would be destroyed.
#[derive(Debug, thiserror::Error)]
#[error("the tar holds an increment where the backup's list of files says that the file is whole")]
struct UnexpectedIncrement;

/// A hard link whose file the tar does not have, or not before the link.
#[derive(Debug, thiserror::Error)]
#[error("the tar holds a link to the file `{}`, which does not come before it", .0.display())]
struct LinkToNothing(PathBuf);

/// A file was expected, of which other backups have pages too.
#[derive(Debug, thiserror::Error)]
#[error("the tar holds something else where the backup's list of files has a file")]
struct NotAFile;

/// The permissions that a file needs which is opened again to be written.
const OWNER_WRITES: u32 = 0o600;

/// A new file, open for writing whatever its mode, which is `mode` from now on.
fn create_file(place: &Path, mode: u32) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode | OWNER_WRITES);
    let created = match options.open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(place.parent().unwrap_or(place))?;
            options.open(place)
        }
        opened => opened,
    };
    let file = created.map_err(Error::file("create", place))?;
    // The mode of a new file is subject to the umask; without the right to write, it stays open.
    set_mode(&file, place, mode)?;
    Ok(file)
}

/// Opens a file that another holder of it has made.
fn open_file(place: &Path) -> Result<File, Error> {
    OpenOptions::new().write(true).open(place).map_err(Error::file("open", place))
}

fn set_mode(file: &File, place: &Path, mode: u32) -> Result<(), Error> {
    file.set_permissions(Permissions::from_mode(mode)).map_err(Error::file("set the permissions of", place))
}

/// Durability comes with the sync of the whole file system at the end.
fn create_directories(place: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(Error::file("create", place))
}
