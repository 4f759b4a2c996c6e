//! The commands that PostgreSQL calls, and the check before it does: `wal-archive`, `wal-restore`,
//! `check-wal-archive`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli;
use crate::cli::process::{self, cores};
use crate::cli::session::{self, Threads};
use crate::codec::{BarmanLevel, Compression, Method};
use crate::layout::barman::{Barman, Partials};
use crate::ops::archive_check::{self, Archive, Count};
use crate::ops::ownership::TakeOver;
use crate::ops::segment_check::SegmentCheck;
use crate::ops::wal_fetch::Recovery;
use crate::ops::wal_push::{ChangedBlocks, Overwrite, ReadMarks, ReadyFiles, WalMetadata};
use crate::ops::{wal_fetch, wal_prefetch, wal_push};
use crate::pg::{WalFileName, WalSegmentSize};
use crate::settings::{self, keys};
use crate::storage::s3::Tag;

use super::commands::Session;
use super::flags::{
    BZIP2, COMPRESSION_LEVEL, GZIP, HISTORY_TAG, HISTORY_TAGS, LZ4, NO_PARTIAL, PARALLEL, SNAPPY, SPOOL_DIR,
    TAG, TAGS, TIMELINE, XZ, ZSTD,
};
use super::grammar::Flag;
use super::objects::{encryption, tags};
use super::place::Objects;
use super::{Command, Error, WHOLE_FILES, hook, values};

/// `wal-archive`: one file, and never over another content of the same name; only a partial segment may be replaced.
pub fn archive(session: &Session) -> Result<(), cli::Error> {
    let path = file_to_archive(session)?;
    let file = wal_name(&path.file_name().unwrap_or_default().to_string_lossy(), &path)?;
    let objects =
        Objects { tags: tags_of(session, file)?, encryption: encryption(session)?, ..Objects::default() };
    let compression = wal_compression(session)?;
    if session.only_tests() {
        return session.probe();
    }
    let options = wal_push::Options {
        overwrite: match file {
            // Two servers that were promoted from one segment each have their own: refused, it would hold up all WAL
            // after it.
            WalFileName::Partial(_) => Overwrite::Allow,
            _ => Overwrite::Prevent,
        },
        concurrency: 1,
        files_at_most: 1,
        check: SegmentCheck::Verify,
        take_over: take_over(session)?,
        marks: ReadMarks::No,
        ready_files: ReadyFiles::Keep,
        metadata: WalMetadata::None,
        blocks: ChangedBlocks::Forget,
        cores: 1,
    };
    let context = session.context(WHOLE_FILES, compression, objects)?;
    session::run(context, Threads::One, async |context| wal_push::run(&context, &path, options).await)?;
    Ok(())
}

/// `wal-restore`: one file, and with `--parallel` the following ones into the spool.
pub fn restore(session: &Session) -> Result<(), cli::Error> {
    let name = session.line.positional(2).unwrap_or_default();
    wal_name(name, Path::new(name))?;
    let ahead = segments_ahead(session)?;
    if session.only_tests() {
        return session.probe();
    }
    let prefetch = ahead.map(|ahead| wal_fetch::Prefetch {
        parent: Some(ahead.directory),
        command: ahead.command,
        secrets: Vec::new(),
    });
    let options = wal_fetch::Options { check: SegmentCheck::Verify, prefetch, recovery: Recovery::AsksAgain };
    let destination = PathBuf::from(session.line.positional(3).unwrap_or_default());
    let context = session.context(layout(session), Compression::None, Objects::default())?;
    session::run(context, Threads::One, async |context| {
        wal_fetch::run(&context, name, &destination, options).await
    })
}

/// `check-wal-archive`: fails when there is WAL already.
pub fn check(session: &Session) -> Result<(), cli::Error> {
    let timeline = session.parsed(&TIMELINE, values::timeline)?;
    if session.only_tests() {
        return match session.probe() {
            // A missing bucket would be made.
            Err(cli::Error::Barman(Error::NoBucket(_))) => Ok(()),
            other => other,
        };
    }
    let context = session.context(WHOLE_FILES, Compression::None, Objects::default())?;
    let found =
        session::run(context, Threads::One, async |context| archive_check::run(&context, timeline).await)?;
    let (found, files) = match found {
        Archive::Usable => return Ok(()),
        Archive::NotEmpty(files) => ("Expected empty archive".to_owned(), files),
        Archive::Newer { files, timeline } => {
            let plural = if files > 1 { "s" } else { "" };
            let found = format!(
                "Found {files} file{plural} in WAL archive equal to or newer than timeline {timeline}"
            );
            (found, Count::All(files))
        }
    };
    let server = session.line.positional(1).unwrap_or_default().to_owned();
    Err(Error::ArchiveInUse { server, found, files }.into())
}

/// What `wal-restore --parallel` starts: the segments after the one that it brought, into the spool.
pub fn prefetch(session: &Session) -> Result<(), cli::Error> {
    let name = session.line.positional(2).unwrap_or_default();
    let file = wal_name(name, Path::new(name))?;
    let (Some(segment), Some(ahead)) = (file.segment(), segments_ahead(session)?) else { return Ok(()) };
    process::detach();
    let options = wal_prefetch::Options {
        segments: ahead.segments,
        check: SegmentCheck::Verify,
        parent: Some(ahead.directory),
        segment_size: WalSegmentSize::DEFAULT,
        concurrency: ahead.segments.min(2 * cores().get()),
    };
    let destination = PathBuf::from(session.line.positional(3).unwrap_or_default());
    // A partial segment is the end; it is never fetched before it is asked for.
    let context = session.context(WHOLE_FILES, Compression::None, Objects::default())?;
    session::run(context, Threads::One, async |context| {
        wal_prefetch::run(&context, segment, &destination, options).await
    })
}

fn layout(session: &Session) -> &'static Barman {
    match session.line.has(&NO_PARTIAL) {
        true => WHOLE_FILES,
        false => &Barman { partials: Partials::Accept },
    }
}

/// The file of the command line, or that of barman when we are its hook script.
fn file_to_archive(session: &Session) -> Result<PathBuf, cli::Error> {
    let path = match hook::is_called(session, "pre", ["archive_script", "archive_retry_script"])? {
        true => hook::variable(session, "BARMAN_FILE")?,
        false => session.line.positional(2).ok_or(Error::NoWalPath)?,
    };
    Ok(PathBuf::from(path))
}

/// From whom the repository may be taken over: a variable of ours, by the name of the setting in wal-g's dialect.
pub fn take_over(session: &Session) -> Result<TakeOver, cli::Error> {
    let name = keys::TAKE_OVER_FROM.name();
    let Some(text) = session.environment.text(name)? else { return Ok(TakeOver::NEVER) };
    TakeOver::parse(text).map_err(|_| {
        let expected = "the system identifier of a cluster";
        Error::Variable { name, value: text.to_owned(), expected }.into()
    })
}

/// What PostgreSQL means by a name.
fn wal_name(name: &str, path: &Path) -> Result<WalFileName, Error> {
    name.parse().map_err(|_| Error::WalName(path.display().to_string()))
}

/// The tags of a file: a history file may have its own.
fn tags_of(session: &Session, file: WalFileName) -> Result<Vec<Tag>, Error> {
    let ordinary = tags(session, &TAGS, &TAG)?;
    let history = tags(session, &HISTORY_TAGS, &HISTORY_TAG)?;
    Ok(match file {
        WalFileName::History(_) if !history.is_empty() => history,
        _ => ordinary,
    })
}

/// The compressions of WAL, by their flags.
static WAL_METHODS: [(&Flag, Method); 6] = [
    (&GZIP, Method::Gzip),
    (&BZIP2, Method::Bzip2),
    (&XZ, Method::Xz),
    (&SNAPPY, Method::Snappy),
    (&ZSTD, Method::Zstd),
    (&LZ4, Method::Lz4),
];

fn wal_compression(session: &Session) -> Result<Compression, cli::Error> {
    let level = |text: &str| BarmanLevel::parse(text).map_err(|error| error.to_string());
    let level = session.parsed(&COMPRESSION_LEVEL, level)?.unwrap_or_default();
    let method = WAL_METHODS.into_iter().find(|(flag, _)| session.line.has(flag));
    let method = method.map_or(Method::None, |(_, method)| method);
    Compression::of_barman_wal(method, level, cores()).map_err(|error| settings::Error::from(error).into())
}

/// Fetching ahead.
struct Ahead {
    segments: usize,
    directory: PathBuf,
    command: Vec<OsString>,
}

/// What `--parallel` and `--spool-dir` ask for. Unlike barman's, the spool is used only when it is asked for, and is not
/// shared between servers.
fn segments_ahead(session: &Session) -> Result<Option<Ahead>, cli::Error> {
    let parallel = session.parsed(&PARALLEL, values::integer)?.unwrap_or_default();
    let Some(segments) = usize::try_from(parallel).ok().filter(|segments| *segments > 1) else {
        return Ok(None);
    };
    let spool = session.line.value(&SPOOL_DIR).unwrap_or(DEFAULT_SPOOL);
    let directory = Path::new(spool).join(session.line.positional(1).unwrap_or_default());
    Ok(Some(Ahead { segments: segments - 1, directory, command: session.again(Command::WalPrefetch) }))
}

/// barman's, for `--parallel` without `--spool-dir`.
const DEFAULT_SPOOL: &str = "/var/tmp/walrestore";
