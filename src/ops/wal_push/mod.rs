//! `wal-push`: archives one file of `pg_wal`, and its neighbours while it is at it.
//!
//! PostgreSQL starts a process per file and waits for it. Most of what such a process costs is the codec and one or
//! two round trips, so while the file it was called for is on its way, the files that PostgreSQL will ask for next
//! (those with a `.ready` in `archive_status`) go up too. Each leaves a mark (`marks`); the later call finds
//! it, removes it and returns at once.
//!
//! For delta backups it is recorded which blocks the archived WAL changes (`recording`).
//!
//! Nothing is stored in the repository of another cluster ([`ownership`]), nor over another content: both is asked while the
//! file is encoded, the first once for all files of a call.

mod marks;
mod recording;
mod records;
mod segment_record;
mod wal_metadata;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::codec::Method;
use crate::durable;
use crate::pg::{SystemIdentifier, TimelineId, WalFileName};
use crate::pipeline::{Existing, ObjectWriter, PartPool, PutError, UploadSettings, run_blocking};
use crate::storage::Key;

use super::base_backups::{self, WalAlone};
use super::encode::encode;
use super::ownership::{self, Claimant, Ownership, OwnershipError, TakeOver};
use super::segment_check::{SegmentCheck, check_segment_file, cluster_of_wal_file};
use super::{Context, Error, archived};

use marks::Marks;
use recording::Recording;
pub use wal_metadata::WalMetadata;

/// Memory for encoded segments on their way, all uploads together.
const UPLOAD_MEMORY: usize = 80 << 20;

/// Bytes of a segment read at a time.
const READ_BYTES: usize = 256 << 10;

/// How `wal-push` works.
#[derive(Debug, Clone)]
pub struct Options {
    /// What happens to another content under an existing name (`WALG_PREVENT_WAL_OVERWRITE`); for history files it is
    /// always prevented.
    pub overwrite: Overwrite,
    /// Uploads at once (`WALG_UPLOAD_CONCURRENCY`); 1 switches looking ahead off.
    pub concurrency: usize,
    /// Files pushed by one call at most (`TOTAL_BG_UPLOADED_LIMIT`); 1 switches looking ahead off.
    pub files_at_most: usize,
    /// Whether names and headers are checked, and whose the repository is.
    pub check: SegmentCheck,
    /// From whom the repository may be taken over (`SEAWALL_TAKE_OVER_FROM`).
    pub take_over: TakeOver,
    /// Whether files that an earlier call archived ahead are known by their marks.
    pub marks: ReadMarks,
    /// Whether a neighbour's `.ready` becomes `.done` once it is archived (`PG_READY_RENAME`).
    pub ready_files: ReadyFiles,
    /// The description stored beside each segment (`WALG_UPLOAD_WAL_METADATA`).
    pub metadata: WalMetadata,
    /// Whether it is recorded which blocks the WAL changes (`WALG_USE_WAL_DELTA`).
    pub blocks: ChangedBlocks,
    /// Threads that compress.
    pub cores: usize,
}

/// What happens when the name is archived already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// The object is replaced.
    Allow,
    /// Equal content is success, other content an error; looked for in the compressions that this repository has had.
    PreventByName,
    /// The same, with the file looked for in every form that it can be archived in.
    Prevent,
}

/// Whether the marks of earlier calls are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMarks {
    /// They are.
    Yes,
    /// They may speak of another archive: whoever looks ahead in no call leaves none.
    No,
}

/// What happens to a neighbour's `.ready` file after it was archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyFiles {
    /// It stays; PostgreSQL asks for the file and finds it archived.
    Keep,
    /// It is renamed to `.done`, so that PostgreSQL does not ask.
    RenameToDone,
}

/// Whether the blocks that WAL changes are recorded for delta backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedBlocks {
    /// They are not.
    Forget,
    /// They are, in `_delta` objects beside the WAL.
    Record,
}

/// What one `wal-push` did for the file it was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was uploaded now.
    Pushed,
    /// An earlier call had uploaded it while it was looking ahead.
    PushedAhead,
    /// The archive had it already, with the same content.
    AlreadyThere,
}

/// Archives the file at `path`. Durable in the storage on return.
///
/// A neighbour that cannot be pushed is a warning: PostgreSQL will ask for it by itself.
pub async fn run(ctx: &Context, path: &Path, options: Options) -> Result<Outcome, Error> {
    let file = WalFile::at(path, options.check)?;
    let marks = Marks::beside(path, ctx.storage.location());
    if options.marks == ReadMarks::Yes && marks.take(&file.name, path) && is_stored(ctx, &file.name).await? {
        wal_metadata::upload(ctx, &options.metadata, &marks, &file.name, path).await?;
        tracing::info!(file = file.name, "already archived by an earlier call");
        return Ok(Outcome::PushedAhead);
    }
    // After a promotion no wal-fetch comes that would clear away what a killed one has left.
    durable::remove_leftovers(durable::parent(path), durable::LEFTOVER_AGE);
    let pusher = Pusher::new(ctx, &options, path)?;
    let ahead = marks.ready_besides(&file.name);
    let (outcome, (), wal_alone) = tokio::join!(
        pusher.push_main(&file, &marks),
        pusher.push_ahead(ahead, path, &marks),
        pusher.look_for_base_backups(&marks)
    );
    if let (Ok(_), Some(wal_alone)) = (&outcome, wal_alone) {
        tracing::warn!("{wal_alone}");
    }
    if let Some(recording) = &pusher.recording
        && !matches!(outcome, Err(Error::Ownership(_)))
    {
        recording.join_groups(&pusher).await;
    }
    outcome
}

/// Whether the archive still has what an earlier call has stored there: a mark knows nothing of a bucket or a disk that was
/// replaced since.
async fn is_stored(ctx: &Context, name: &str) -> Result<bool, Error> {
    let key = ctx.layout.wal_key(name, ctx.compression.method());
    Ok(ctx.until_cancelled(ctx.storage.head(&key)).await?.is_some())
}

/// The timelines whose history files are to be archived now. Before one of them is, nothing of its timeline may go ahead:
/// it may be refused, as another server has chosen the timeline.
fn histories(ready: &[String], main: &Path) -> BTreeSet<TimelineId> {
    let names = ready.iter().map(String::as_str).chain(main.file_name().and_then(OsStr::to_str));
    let kinds = names.filter_map(|name| name.parse().ok());
    kinds
        .filter_map(|kind| if let WalFileName::History(timeline) = kind { Some(timeline) } else { None })
        .collect()
}

/// A file to archive.
#[derive(Debug, Clone)]
struct WalFile {
    path: PathBuf,
    name: String,
    /// What PostgreSQL means by the name; `None` only when names are not checked.
    kind: Option<WalFileName>,
}

impl WalFile {
    fn at(path: &Path, check: SegmentCheck) -> Result<WalFile, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = check.wal_file(&name)?;
        Ok(WalFile { path: path.to_owned(), name, kind })
    }

    fn is_history(&self) -> bool {
        self.name.ends_with(".history")
    }
}

/// What the archive has of a file.
enum Found {
    Nothing,
    /// The file, with the same content.
    Equal,
    /// An object of its name, whose content was not looked at.
    SameName(Key),
}

/// A file whose reading fails once nobody wants it any more.
struct UntilGivenUp {
    file: File,
    given_up: CancellationToken,
}

impl Read for UntilGivenUp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.given_up.is_cancelled() {
            true => Err(io::Error::other("given up")),
            false => self.file.read(buffer),
        }
    }
}

/// What all files of one call share.
struct Pusher<'a> {
    ctx: &'a Context,
    options: &'a Options,
    cluster: Option<SystemIdentifier>,
    /// Whose the repository is, once that was asked.
    owner: OnceCell<Result<Ownership, OwnershipError>>,
    recording: Option<Recording>,
    uploads: UploadSettings,
    /// Bounds the threads that compress; the file that PostgreSQL waits for takes its place first.
    codecs: Semaphore,
    /// Bounds the files under way.
    files: Semaphore,
}

impl<'a> Pusher<'a> {
    fn new(ctx: &'a Context, options: &'a Options, path: &Path) -> Result<Pusher<'a>, Error> {
        let length = path.metadata().map_err(Error::file("read", path))?.len();
        // One part holds an encoded segment whatever it compresses to, so that it goes up in a single request.
        let part_bytes =
            usize::try_from(length + length / 64).unwrap_or(usize::MAX).clamp(1 << 20, UPLOAD_MEMORY / 2);
        let concurrency = options.concurrency.min(UPLOAD_MEMORY / part_bytes).max(1);
        Ok(Pusher {
            ctx,
            options,
            cluster: cluster_of_wal_file(path),
            owner: OnceCell::new(),
            recording: (options.blocks == ChangedBlocks::Record).then(|| Recording::beside(path)),
            uploads: UploadSettings {
                storage: Arc::clone(&ctx.storage),
                pool: PartPool::new(concurrency.max(2), part_bytes),
                in_flight: Arc::new(Semaphore::new(concurrency)),
                network_rate: None,
                cancel: ctx.cancel.clone(),
                ending: ctx.cancel.clone(),
            },
            codecs: Semaphore::new(options.cores.max(1)),
            files: Semaphore::new(concurrency),
        })
    }

    async fn push_main(&self, file: &WalFile, marks: &Marks) -> Result<Outcome, Error> {
        let outcome = self.push(file).await;
        // From here on nothing new is started.
        self.files.close();
        let outcome = outcome?;
        wal_metadata::upload(self.ctx, &self.options.metadata, marks, &file.name, &file.path).await?;
        Ok(outcome)
    }

    /// Pushes the neighbours in the order in which PostgreSQL will ask for them, until the main file is done.
    async fn push_ahead(&self, ready: Vec<String>, main: &Path, marks: &Marks) {
        let limit = self.options.files_at_most.saturating_sub(1);
        if self.options.concurrency < 2 || limit == 0 {
            return;
        }
        let new_timelines = histories(&ready, main);
        let mut under_way = FuturesUnordered::new();
        for name in ready.into_iter().take(limit) {
            let Ok(file) = WalFile::at(&main.with_file_name(&name), self.options.check) else { continue };
            let waits =
                !file.is_history() && file.kind.is_some_and(|kind| new_timelines.contains(&kind.timeline()));
            if waits || marks.has(&file.name, &file.path) {
                continue;
            }
            under_way.push(async move {
                // Closed: the main file is done.
                let Ok(_permit) = self.files.acquire().await else { return };
                match self.push(&file).await {
                    Ok(_) => marks.leave(&file.name, &file.path, self.options.ready_files),
                    Err(error) => tracing::warn!(file = file.name, "could not archive ahead: {error}"),
                }
            });
        }
        while under_way.next().await.is_some() {}
    }

    /// Archives a file and records what it changes.
    async fn push(&self, file: &WalFile) -> Result<Outcome, Error> {
        let outcome = self.archive(file).await?;
        if let (Some(recording), Some(WalFileName::Segment(segment))) = (&self.recording, file.kind) {
            // The semaphore is never closed.
            let _permit = self.codecs.acquire().await;
            recording.record(segment, &file.path).await;
        }
        Ok(outcome)
    }

    /// Encodes a file while the archive is asked whether it has it, and whose it is; then stores it.
    async fn archive(&self, file: &WalFile) -> Result<Outcome, Error> {
        let claimant = self.claimant(file)?;
        let overwrite = self.overwrite(file);
        let started = std::time::Instant::now();
        let given_up = CancellationToken::new();
        let local = File::open(&file.path).map_err(Error::file("open", &file.path))?;
        let encode = self.encode_file(file, local, overwrite, given_up.clone());
        let look = async {
            let found = self.look(file, overwrite, claimant).await;
            if !matches!(found, Ok(Found::Nothing)) {
                given_up.cancel();
            }
            found
        };
        let (encoded, found) = tokio::join!(encode, look);
        let found = match found {
            Ok(Found::Nothing) => match encoded?.store().await {
                Ok(bytes) => {
                    tracing::info!(file = file.name, bytes, took = ?started.elapsed(), "archived");
                    return Ok(Outcome::Pushed);
                }
                // It was stored since we looked: by another process, or by an attempt whose answer was lost.
                Err(PutError::Exists(key)) => Found::SameName(key),
                Err(error) => return Err(error.into()),
            },
            found => {
                if let Ok(encoded) = encoded {
                    encoded.give_up().await;
                }
                found?
            }
        };
        match found {
            Found::SameName(key) if !self.is_archived(file, claimant).await? => {
                Err(Error::AlreadyArchived { file: file.name.clone(), key })
            }
            _ => Ok(Outcome::AlreadyThere),
        }
    }

    /// What the archive has of a file that is to be stored; an error where it must not be.
    async fn look(
        &self,
        file: &WalFile,
        overwrite: Overwrite,
        claimant: Option<Claimant>,
    ) -> Result<Found, Error> {
        if overwrite == Overwrite::Prevent && self.is_archived(file, claimant).await? {
            return Ok(Found::Equal);
        }
        // The names come second: on the connection that the first request has made, which also showed that the bucket is
        // there, so that a missing object is just that.
        let other_compressions = self.check_owner(claimant).await?;
        match overwrite {
            Overwrite::PreventByName => self.find_name(file, other_compressions).await,
            Overwrite::Prevent | Overwrite::Allow => Ok(Found::Nothing),
        }
    }

    /// What happens when the file's name is archived already.
    fn overwrite(&self, file: &WalFile) -> Overwrite {
        match (file.kind, self.options.overwrite) {
            _ if file.is_history() => Overwrite::Prevent,
            // No recovery asks for one, so another one is no loss; refused, it would hold up all WAL after it.
            (Some(WalFileName::Partial(_)), Overwrite::PreventByName) => Overwrite::Allow,
            (_, overwrite) => overwrite,
        }
    }

    /// The cluster that a file is of: what the header of a segment says, which is checked, else whose directory it lies
    /// in. `None` when nothing tells, or nothing is to be checked.
    fn claimant(&self, file: &WalFile) -> Result<Option<Claimant>, Error> {
        let (Some(kind), SegmentCheck::Verify) = (file.kind, self.options.check) else { return Ok(None) };
        let cluster = match kind {
            WalFileName::Segment(name) | WalFileName::Partial(name) => {
                Some(check_segment_file(&file.path, name, self.cluster)?.system_identifier)
            }
            WalFileName::History(_) | WalFileName::BackupHistory(..) => self.cluster,
        };
        Ok(cluster.map(|system_identifier| Claimant { system_identifier, timeline: Some(kind.timeline()) }))
    }

    /// Whether the file is archived, in whatever form; [`Error::AlreadyArchived`] when with other content, and not by
    /// another cluster.
    async fn is_archived(&self, file: &WalFile, claimant: Option<Claimant>) -> Result<bool, Error> {
        let Some(existing) = archived::open(self.ctx, &file.name).await? else { return Ok(false) };
        let key = existing.key.clone();
        let equal = existing.equals(self.ctx, &file.path).await.map_err(|error| match error {
            Error::Content { .. } => {
                Error::CannotCompare { file: file.name.clone(), source: Box::new(error) }
            }
            other => other,
        })?;
        if !equal {
            self.check_owner(claimant).await?;
            return Err(Error::AlreadyArchived { file: file.name.clone(), key });
        }
        self.ctx.storage.settle(&key).await?;
        tracing::info!(file = file.name, "already archived with equal content, skipping");
        Ok(true)
    }

    /// Refuses what is not of the cluster that the repository belongs to. The compressions besides the configured one in
    /// which WAL may be stored; none when that is not asked.
    async fn check_owner(&self, claimant: Option<Claimant>) -> Result<&[Method], Error> {
        let Some(claimant) = claimant else { return Ok(&[]) };
        let ask = || ownership::find(self.ctx, claimant, self.options.take_over);
        let found = self.owner.get_or_init(ask).await.as_ref().map_err(Clone::clone)?;
        ownership::check(self.ctx, found, claimant.system_identifier)?;
        Ok(&found.other_compressions)
    }

    /// Looks for the name of a file, in the configured compression and these.
    async fn find_name(&self, file: &WalFile, other_compressions: &[Method]) -> Result<Found, Error> {
        let methods = [&[self.ctx.compression.method()][..], other_compressions].concat();
        let keys = methods.into_iter().map(|method| self.ctx.layout.wal_key(&file.name, method));
        let heads = keys.map(async |key| Ok::<_, Error>(self.ctx.storage.head(&key).await?.map(|_| key)));
        let there = try_join_all(heads).await?.into_iter().flatten().next();
        Ok(there.map_or(Found::Nothing, Found::SameName))
    }

    /// For a server's own archiving: that all this WAL is worth nothing yet.
    async fn look_for_base_backups(&self, marks: &Marks) -> Option<WalAlone> {
        match marks.are_in_pg_wal() {
            true => base_backups::check_now_and_then(self.ctx, marks.directory()).await,
            false => None,
        }
    }

    /// Encodes a file up to the last step, or until it is given up.
    async fn encode_file(
        &self,
        file: &WalFile,
        local: File,
        overwrite: Overwrite,
        given_up: CancellationToken,
    ) -> Result<ObjectWriter, Error> {
        let existing = match overwrite {
            _ if file.is_history() => Existing::Kept,
            Overwrite::Prevent => Existing::Kept,
            // Whoever looks first may still be overtaken by another one that looked as well.
            Overwrite::PreventByName => Existing::KeptWhereFree,
            Overwrite::Allow => Existing::Replaced,
        };
        // io::copy takes the reader's buffer, and would take one of 8 KiB.
        let mut local = BufReader::with_capacity(READ_BYTES, UntilGivenUp { file: local, given_up });
        let copy = move |mut encoder: &mut dyn Write| io::copy(&mut local, &mut encoder).map(drop);
        self.encode(&file.name, existing, &file.path, copy).await
    }

    /// Stores what `write` writes as the archived file `name`, compressed and encrypted. Durable on return; its size
    /// in the storage in bytes. `origin` is where it is read from, for messages.
    async fn store(
        &self,
        name: &str,
        origin: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<u64, Error> {
        Ok(self.encode(name, Existing::Replaced, origin, write).await?.store().await?)
    }

    /// The same, but for the last step: the object does not exist yet.
    async fn encode(
        &self,
        name: &str,
        existing: Existing,
        origin: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<ObjectWriter, Error> {
        // The semaphore is never closed.
        let _permit = self.codecs.acquire().await;
        let key = self.ctx.layout.wal_key(name, self.ctx.compression.method());
        let writer = ObjectWriter::start(&Handle::current(), &self.uploads, key, existing);
        let (origin, compression, cipher) =
            (origin.to_owned(), self.ctx.compression, self.ctx.cipher.clone());
        run_blocking("seawall-codec-0".to_owned(), move || {
            encode(writer, compression, &cipher, write, Error::file("read", &origin))
        })
        .await?
    }
}
