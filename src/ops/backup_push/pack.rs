//! Workers that share one walk and fill tars, each straight into an object.
//!
//! A worker takes the next member of the walk whenever it is free, so the tars of all workers grow together and none
//! waits for another. A file is never split; a tar is closed after the file that took it past its size, or when the next
//! file belongs to another group of tars.

use std::fs::File;
use std::io;
use std::sync::PoisonError;
use std::time::Instant;

use jiff::Timestamp;

use crate::checksum::{Checksum, Summing};
use crate::codec;
use crate::layout::new_backup::{CopyTime, Group, Tar};
use crate::layout::walg::files_metadata::FileDescription;
use crate::ops::Error;
use crate::pg::data_dir::{Found, Member, MemberKind};
use crate::pipeline::{Existing, ObjectWriter, Stored};
use crate::storage::Key;
use crate::tarball::{WriteError, Writer};

use super::delta::Take;
use super::delta_file;
use super::file_reader::FileReader;
use super::increment_reader::IncrementReader;
use super::job::{Job, Packed, StoredTar};
use super::owners::Owners;

/// Packs members until the walk has no more.
pub(super) fn work(job: &Job) -> Result<Packed, Error> {
    let mut worker = Worker { job, packed: Packed::default(), owners: Owners::default(), sent: None };
    let packed = worker.pack_all();
    // Also after a failure: a tar that is still on its way must not appear after the leftovers were removed.
    let stored = worker.wait_for_sent();
    packed.and(stored)?;
    Ok(worker.packed)
}

struct Worker<'a> {
    job: &'a Job,
    packed: Packed,
    owners: Owners,
    /// The last tar, which may still be on its way while the next one is filled.
    sent: Option<SentTar>,
}

impl Worker<'_> {
    fn pack_all(&mut self) -> Result<(), Error> {
        let mut next = self.next_member()?;
        while let Some(first) = next {
            next = self.pack_tar(first)?;
        }
        Ok(())
    }

    /// The next member of which a tar gets something, and what that is.
    fn next_member(&mut self) -> Result<Option<Taken>, Error> {
        loop {
            if self.job.uploads.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            // The walk does not panic while it is locked.
            let found = self.job.walk.lock().unwrap_or_else(PoisonError::into_inner).next();
            match found.transpose()? {
                None => return Ok(None),
                Some(Found::Member(member)) => {
                    match (self.job.take(&member), self.job.backup.member_name(&member)) {
                        (Take::Skip, _) => self.skip(member)?,
                        (_, None) => {}
                        (take, Some(name)) => return Ok(Some(Taken { member, take, name })),
                    }
                }
                Some(Found::Tablespace(tablespace)) => self.packed.tablespaces.push(tablespace),
            }
        }
    }

    /// Packs one tar, from `first` on; returns the first member of the next one.
    fn pack_tar(&mut self, first: Taken) -> Result<Option<Taken>, Error> {
        let group = self.job.group(&first.member);
        let mut members = Vec::new();
        let (job, mut next) = (self.job, Some(first));
        let sent = send_tar(job, Tar::Data(group, job.number_tar(group)), |writer| {
            let mut tar_bytes = 0;
            while let Some(taken) =
                next.take_if(|taken| tar_bytes <= job.tar_bytes && job.group(&taken.member) == group)
            {
                tar_bytes += self.pack_member(writer, taken, &mut members)?;
                next = self.next_member()?;
            }
            Ok(())
        })?;
        let tar = sent.key.file_name().to_owned();
        let earlier = self.wait_for_sent();
        self.sent = Some(sent);
        earlier?;
        if job.backup.lists_files() {
            self.packed.tar_file_sets.insert(tar, members);
        }
        Ok(next)
    }

    fn wait_for_sent(&mut self) -> Result<(), Error> {
        if let Some(sent) = self.sent.take() {
            self.packed.add(sent.wait(self.job)?);
        }
        Ok(())
    }

    /// Passes over a file that is as in the parent.
    fn skip(&mut self, member: Member) -> Result<(), Error> {
        if let Some(delta) = self.job.delta.as_ref().filter(|delta| delta.is_to_prove(&member))
            && let Some(file) = open(&member)?
        {
            delta_file::prove(self.job, delta, &member, &file, &[])?;
        }
        self.job.progress.add_bytes(member.size());
        self.packed.files.insert(String::from(member.name), FileDescription::skipped(member.mtime));
        Ok(())
    }

    /// Packs one member; returns the bytes of its content.
    fn pack_member(
        &mut self,
        writer: &mut TarWriter<'_>,
        Taken { member, take, name }: Taken,
        members: &mut Vec<String>,
    ) -> Result<u64, PackError> {
        let entry = self.owners.entry(name, &member);
        let (size, description) = match &member.kind {
            MemberKind::Directory => {
                writer.directory(&entry)?;
                (0, FileDescription::whole(member.mtime, None))
            }
            MemberKind::Symlink { target, .. } => {
                writer.symlink(&entry, &target.to_string_lossy())?;
                (0, FileDescription::whole(member.mtime, None))
            }
            MemberKind::File { .. } => {
                let Some(file) = open(&member)? else { return Ok(0) };
                match delta_file::increment(self.job, &member, &file, take)? {
                    Some(header) => {
                        let mut reader = IncrementReader::new(file, &member, header, self.job);
                        let size = reader.size();
                        writer.file(&entry, size, &mut reader)?;
                        self.job.progress.add_bytes(member.size());
                        (size, FileDescription::increment(member.mtime, reader.corrupt_blocks()))
                    }
                    None => {
                        let mut reader = FileReader::new(file, &member, self.job)
                            .map_err(Error::file("read", &member.path))?;
                        let size = reader.size();
                        writer.file(&entry, size, &mut reader)?;
                        (size, FileDescription::whole(member.mtime, reader.corrupt_blocks()))
                    }
                }
            }
        };
        self.packed.data_bytes += size;
        if self.job.backup.lists_files() {
            members.push(entry.name.clone());
            self.packed.files.insert(entry.name, description);
        }
        Ok(size)
    }
}

/// A member of which a tar gets something.
struct Taken {
    member: Member,
    take: Take,
    /// Its name in the tar.
    name: String,
}

/// Opens a file of the cluster; `None` if it is gone by now.
fn open(member: &Member) -> Result<Option<File>, Error> {
    match File::open(&member.path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(file = %member.path.display(), "vanished before it was copied");
            Ok(None)
        }
        Err(error) => Err(Error::file("open", &member.path)(error)),
    }
}

/// A tar on its way through the codecs into an object.
pub(super) type TarWriter<'a> = Writer<codec::Encoder<Summing<&'a mut ObjectWriter>>>;

/// A tar that was handed over to its last byte.
#[must_use = "only the wait says that the tar exists"]
pub(super) struct SentTar {
    key: Key,
    group: Group,
    checksum: Checksum,
    stored: Stored,
    began: (Timestamp, Instant),
}

impl SentTar {
    /// Blocks until the tar is stored, durably; the object.
    pub fn wait(self, job: &Job) -> Result<StoredTar, Error> {
        let SentTar { key, group, checksum, stored, began: (began, instant) } = self;
        let stored = stored.wait()?;
        job.progress.add_stored(stored);
        job.progress.add_pieces(1);
        tracing::info!(bytes = stored, "Finished {}", key.file_name());
        let time = CopyTime { began, ended: Timestamp::now(), serialized: instant.elapsed() };
        Ok(StoredTar { key, group, checksum, time })
    }
}

/// Sends one tar, filled by `fill`.
pub(super) fn send_tar(
    job: &Job,
    tar: Tar,
    fill: impl FnOnce(&mut TarWriter<'_>) -> Result<(), PackError>,
) -> Result<SentTar, Error> {
    let (key, group) = (job.backup.tar_key(tar, job.compression.method()), tar.group());
    let began = (Timestamp::now(), Instant::now());
    tracing::info!("Starting {}", key.file_name());
    let mut object = ObjectWriter::start(&job.runtime, &job.uploads, key.clone(), Existing::Replaced);
    match write_tar(job, &mut object, fill) {
        Ok(checksum) => Ok(SentTar { key, group, checksum, stored: object.finish(), began }),
        // What became of the object says more than that it could not be written to.
        Err(PackError::Object(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(object.failure().into())
        }
        Err(PackError::Object(error)) => {
            object.abandon();
            Err(Error::content(&key)(error))
        }
        Err(PackError::Other(error)) => {
            object.abandon();
            Err(error)
        }
    }
}

fn write_tar(
    job: &Job,
    object: &mut ObjectWriter,
    fill: impl FnOnce(&mut TarWriter<'_>) -> Result<(), PackError>,
) -> Result<Checksum, PackError> {
    let encoder =
        codec::encode(Summing::new(object), job.compression, &job.cipher).map_err(PackError::Object)?;
    let mut writer = Writer::new(encoder);
    fill(&mut writer)?;
    Ok(writer.finish()?.finish().map_err(PackError::Object)?.finish())
}

/// Why a tar could not be written.
#[derive(Debug)]
pub(super) enum PackError {
    /// The object below did not take the bytes.
    Object(io::Error),
    /// Anything else.
    Other(Error),
}

impl From<Error> for PackError {
    fn from(error: Error) -> PackError {
        PackError::Other(error)
    }
}

impl From<WriteError> for PackError {
    fn from(error: WriteError) -> PackError {
        match error {
            WriteError::Write(source) => PackError::Object(source),
            other => PackError::Other(Error::Tar(other)),
        }
    }
}
