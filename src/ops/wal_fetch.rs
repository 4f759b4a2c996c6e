//! `wal-fetch`: brings one archived file to where PostgreSQL wants it.
//!
//! 1. A segment that a prefetcher has brought is checked and moved into place; one that it is bringing is waited for,
//!    for a while.
//! 2. Otherwise the archive is asked. The bytes go to a temporary file beside the destination, are checked, synced and
//!    renamed: at the destination there is a whole, valid file or none.
//! 3. [`Error::NotArchived`] is said only after the storage positively answered that the file is in no form there; to a
//!    recovery that would end, not of an archive without any WAL.
//!
//! An object may hold far more than its size tells: nothing larger than such a file can be is written.
//!
//! A `wal-fetch` that was killed leaves its temporary file; a later one removes it, or a `wal-push`.
//!
//! Then the segments that recovery will ask for next are fetched by a process of their own ([`super::wal_prefetch`]).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use crate::durable::{self, DurableFile};
use crate::pg::{SegmentName, WalFileName, WalSegmentSize};
use crate::read_full::read_full;
use crate::storage::{Depth, ObjectMeta, Prefix};

use super::prefetch_dir::PrefetchDir;
use super::segment_check::{FetchCheck, SegmentCheck, check_segment, check_segment_file};
use super::wal_archive::MAX_HISTORY_BYTES;
use super::{Context, Error, archived, ownership};

/// How often a segment that is being prefetched is looked for.
const PREFETCH_POLL: Duration = Duration::from_millis(5);

/// How long the prefetcher is waited for before the segment is fetched here instead.
const PREFETCH_PATIENCE: Duration = Duration::from_secs(10);

/// Permissions of a fetched file: PostgreSQL's for its own.
const FILE_MODE: u32 = 0o600;

/// The recovery that asks for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It takes a failure for the end of WAL and ends, losing what comes after.
    Ends,
    /// It asks again (a standby), or there is none.
    AsksAgain,
}

impl Recovery {
    /// The one whose restore_command has this working directory.
    pub fn of(directory: &Path) -> Recovery {
        let has = |name: &str| directory.join(name).exists();
        match has("PG_VERSION") && has("recovery.signal") && !has("standby.signal") {
            true => Recovery::Ends,
            false => Recovery::AsksAgain,
        }
    }
}

/// How `wal-fetch` works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether segments are checked before PostgreSQL gets them.
    pub check: SegmentCheck,
    /// Fetching ahead; `None` switches it off.
    pub prefetch: Option<Prefetch>,
    /// Who asks.
    pub recovery: Recovery,
}

/// How the segments after the requested one are fetched.
#[derive(Debug, Clone)]
pub struct Prefetch {
    /// Where prefetched segments wait (`WALG_PREFETCH_DIR`); beside the destination when `None`.
    pub parent: Option<PathBuf>,
    /// The program and its arguments up to and including `wal-prefetch`.
    pub command: Vec<OsString>,
    /// Variables of its environment besides ours: secrets do not belong into a list of processes.
    pub secrets: Vec<(String, SecretString)>,
}

/// Brings the archived file `name` to `destination`. Durable on return.
///
/// [`Error::NotArchived`] when the archive has no such file; nothing is left behind then, nor on any other error.
pub async fn run(ctx: &Context, name: &str, destination: &Path, options: Options) -> Result<(), Error> {
    let segment = options.check.wal_file(name)?.and_then(WalFileName::segment);
    durable::remove_leftovers(durable::parent(destination), durable::LEFTOVER_AGE);
    let prefetch = options.prefetch.as_ref().filter(|prefetch| prefetch.is_wanted(name, destination));
    let location = ctx.storage.location();
    let directory =
        prefetch.map(|prefetch| PrefetchDir::of(destination, prefetch.parent.as_deref(), location));

    let check = options.check.of_fetch(destination);
    let fetched = match (segment, &directory) {
        (Some(segment), Some(directory))
            if take_prefetched(directory, segment, destination, check).await? =>
        {
            Ok(())
        }
        _ => fetch(ctx, name, destination, segment, check).await,
    };
    match (&fetched, &directory) {
        (Ok(()), Some(_)) if segment.is_some() => {
            if let Some(prefetch) = prefetch {
                start_prefetcher(prefetch, name, destination);
            }
        }
        // The end of the archive, which is also how recovery ends: nothing that waits will be asked for.
        (Err(Error::NotArchived { .. }), Some(directory)) => directory.clean(),
        _ => {}
    }
    if matches!(fetched, Err(Error::NotArchived { .. })) && options.recovery == Recovery::Ends {
        check_not_empty(ctx).await?;
    }
    fetched
}

/// Refuses to call a file missing where no WAL is stored at all, nor plain copies of it: the place of a file system that is
/// not mounted, maybe of the WAL alone, or another one than was meant. Recovery would end there.
async fn check_not_empty(ctx: &Context) -> Result<(), Error> {
    let archive = ctx.storage.list_page(&ctx.layout.archive(), Depth::Children, None).await?;
    if !archive.objects.is_empty() || !archive.prefixes.is_empty() || archive.next.is_some() {
        return Ok(());
    }
    let root = ctx.storage.list_page(&Prefix::root(), Depth::Children, None).await?;
    let is_copy = |object: &ObjectMeta| object.key.as_str().parse::<WalFileName>().is_ok();
    match root.objects.iter().any(is_copy) || root.next.is_some() {
        true => Ok(()),
        false => Err(Error::EmptyArchive { location: ctx.storage.location().clone() }),
    }
}

impl Prefetch {
    /// Recovery fetches into `RECOVERYXLOG` and goes forwards. pg_rewind keeps the segment's own name and goes backwards;
    /// who has set a place for segments fetched ahead gets them all the same.
    fn is_wanted(&self, name: &str, destination: &Path) -> bool {
        self.parent.is_some() || destination.file_name().is_none_or(|file| file != name)
    }
}

/// Moves a prefetched segment into place; whether there was a valid one.
async fn take_prefetched(
    directory: &PrefetchDir,
    segment: SegmentName,
    destination: &Path,
    check: FetchCheck,
) -> Result<bool, Error> {
    wait_for_prefetcher(directory, segment).await;
    if !directory.has(segment) {
        return Ok(false);
    }
    let ready = directory.ready(segment);
    if let FetchCheck::Verify { cluster } = check
        && let Err(error) = check_segment_file(&ready, segment, cluster)
    {
        tracing::warn!(segment = %segment, "ignoring a prefetched file: {error}");
        // Whether or not it can be removed, it is not used.
        let _ = fs::remove_file(&ready);
        return Ok(false);
    }
    // Synced by the prefetcher; the rename is synced here. Another file system has to be fetched to anew.
    match directory.take(segment, destination) {
        Ok(true) => {
            durable::sync_dir(durable::parent(destination))?;
            tracing::info!(segment = %segment, "restored a prefetched segment");
            Ok(true)
        }
        Ok(false) | Err(_) => Ok(false),
    }
}

async fn wait_for_prefetcher(directory: &PrefetchDir, segment: SegmentName) {
    let started = Instant::now();
    while started.elapsed() < PREFETCH_PATIENCE && directory.is_fetching(segment) {
        tokio::time::sleep(PREFETCH_POLL).await;
    }
}

/// Fetches an archived file and checks it.
///
/// Durable on return; at the destination there is the whole file or nothing.
pub(super) async fn fetch(
    ctx: &Context,
    name: &str,
    destination: &Path,
    segment: Option<SegmentName>,
    check: FetchCheck,
) -> Result<(), Error> {
    let Some(archived) = archived::open(ctx, name).await? else {
        return Err(Error::NotArchived { file: name.to_owned(), location: ctx.storage.location().clone() });
    };
    let started = Instant::now();
    let key = archived.key.clone();
    let mut temporary = DurableFile::create(destination, FILE_MODE)?;
    let limit = max_bytes(name);
    let written = archived
        .read(ctx, move |content| Ok(copy(content, &mut temporary, limit)?.map(|bytes| (bytes, temporary))))
        .await?;
    let (bytes, temporary) = written.map_err(Error::file("write", destination))?;
    match (segment, check) {
        (Some(segment), FetchCheck::Verify { cluster }) => {
            check_segment(temporary.file(), segment, cluster)?;
        }
        // A history file does not say whose it is.
        (None, FetchCheck::Verify { cluster: Some(cluster) }) => {
            let asks = format!("the data directory that asks for `{name}`");
            ownership::warn_of_another(ctx, &asks, cluster).await;
        }
        _ => {}
    }
    temporary.commit()?;
    tracing::info!(file = name, %key, bytes, took = ?started.elapsed(), "restored");
    Ok(())
}

/// No file of this name is larger: as large as the largest segment, also where the name tells nothing, but for the texts.
fn max_bytes(name: &str) -> u64 {
    match name.parse() {
        Ok(WalFileName::History(_) | WalFileName::BackupHistory(..)) => MAX_HISTORY_BYTES,
        _ => WalSegmentSize::MAX.bytes(),
    }
}

/// What is in the archive is no file of its name.
#[derive(Debug, thiserror::Error)]
#[error("it holds more than {} MiB, which no such file has", .limit >> 20)]
struct TooLong {
    limit: u64,
}

/// Copies the content, unless that is longer than `limit`; the outer error is the source's, the inner one the file's.
fn copy(content: &mut dyn io::Read, file: &mut impl Write, limit: u64) -> io::Result<io::Result<u64>> {
    let mut buffer = vec![0; 128 * 1024];
    let mut copied = 0;
    loop {
        let length = read_full(content, &mut buffer)?;
        if length == 0 {
            return Ok(Ok(copied));
        }
        copied += length as u64;
        if copied > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { limit }));
        }
        if let Err(error) = file.write_all(buffer.get(..length).unwrap_or_default()) {
            return Ok(Err(error));
        }
    }
}

/// Starts the prefetcher and forgets it: it detaches itself, and what goes wrong there only costs time.
fn start_prefetcher(prefetch: &Prefetch, name: &str, destination: &Path) {
    let Some((program, arguments)) = prefetch.command.split_first() else { return };
    let started = Command::new(program)
        .args(arguments)
        .envs(prefetch.secrets.iter().map(|(name, secret)| (name, secret.expose_secret())))
        .arg(name)
        .arg(destination)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Err(error) = started {
        tracing::warn!("cannot fetch ahead: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_longer_than_such_a_file_is_not_written() {
        for (name, limit) in [
            ("000000010000000000000001", 1 << 30),
            ("000000010000000000000001.partial", 1 << 30),
            ("anything", 1 << 30),
            ("00000002.history", 4 << 20),
            ("000000010000000000000001.00000028.backup", 4 << 20),
        ] {
            assert_eq!(max_bytes(name), limit, "{name}");
        }
        let limit = 300_000;
        let copied = |length| {
            let mut file = Vec::new();
            let copied = copy(&mut io::repeat(7).take(length), &mut file, limit);
            (copied.map(Result::unwrap), file.len() as u64)
        };
        let (bytes, written) = copied(limit);
        assert_eq!((bytes.unwrap(), written), (limit, limit));
        for length in [limit + 1, u64::MAX] {
            let (error, written) = copied(length);
            assert!(error.unwrap_err().to_string().starts_with("it holds more than 0 MiB"));
            assert!(written <= limit);
        }
    }
}
