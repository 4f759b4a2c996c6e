//! What a command that works on the repository needs: the settings, the operation's context, a runtime, and signals.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::MultiProgress;
use secrecy::SecretString;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::layout::walg::WalG;
use crate::ops::{self, Context};
use crate::progress::Progress;
use crate::settings::{Section, Settings};
use crate::storage::StorageConfig;
use crate::{codec, pg, storage};

use super::progress::Display;
use super::walg::WalPlace;
use super::{Error, signal};

/// How long an operation of one or a few requests may go on once it was cancelled: to remove a temporary file.
const FETCH_PATIENCE: Duration = Duration::from_millis(500);

/// The settings of this run, and what is made from them when a command asks for it.
pub struct Session {
    /// The settings.
    pub settings: Settings,
    /// Progress bars, hidden while a log line is written.
    pub bars: MultiProgress,
    /// How to start this program with the same settings.
    pub program: Program,
}

/// How to start this program with the same settings.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Its path, then its flags.
    pub command: Vec<OsString>,
    /// Variables for the settings that are secret.
    pub secrets: Vec<(String, SecretString)>,
}

/// How much of the runtime a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Requests one at a time or a few: everything on this thread, which starts at once.
    One,
    /// Many requests at a time: two threads of their own.
    Two,
}

/// Whether a command reads or writes what may be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It does; the cipher's settings must be right.
    Coded,
    /// It lists, reads documents or deletes; these are never encrypted.
    Plain,
}

impl Session {
    /// Tells what is odd about the settings that concern a command.
    pub fn warn(&self, sections: &[Section]) {
        for warning in self.settings.warnings(sections) {
            tracing::warn!("{warning}");
        }
    }

    /// See [`run`].
    pub fn run<T, F>(
        &self,
        threads: Threads,
        content: Content,
        operation: impl FnOnce(Context) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, ops::Error>>,
    {
        run(self.context(content)?, threads, operation)
    }

    /// The same, with its progress shown.
    pub fn run_shown<T, F>(
        &self,
        title: &'static str,
        content: Content,
        operation: impl FnOnce(Context) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, ops::Error>>,
    {
        run_shown(self.context(content)?, title, &self.bars, operation)
    }

    /// Where the server that the settings name is in its WAL.
    pub fn server_place(&self) -> Result<WalPlace, Error> {
        let info = pg::ConnInfo::from_env(&|name| self.settings.libpq_variable(name))?;
        let ask = async || {
            let server = pg::Session::connect(&info).await?;
            let (timeline, lsn) = (server.timeline().await?, server.current_wal_lsn().await?);
            let segment_size = Some(server.segment_size().await?);
            server.close().await;
            Ok(WalPlace { timeline, lsn, segment_size })
        };
        block_on(Threads::One, ask())?.map_err(|error: pg::session::Error| ops::Error::from(error).into())
    }

    /// What an operation works with.
    pub fn context(&self, content: Content) -> Result<Context, Error> {
        let settings = &self.settings;
        let storage = settings.storage_config()?;
        let (compression, cipher) = match content {
            Content::Coded => (settings.compression()?, settings.cipher()?),
            Content::Plain => (codec::Compression::default(), codec::Cipher::None),
        };
        let storage = storage::open(storage, settings.retry_policy()?).map_err(ops::Error::from)?;
        let (cancel, progress) = (CancellationToken::new(), Progress::new());
        Ok(Context { storage, layout: &WalG, compression, cipher, cancel, progress })
    }
}

/// The directory that holds the repository, if one does, resolved: it may lie in the data directory, and must not back up
/// itself.
pub fn archive_directory(storage: &StorageConfig) -> Option<PathBuf> {
    match storage {
        // One that does not exist is told by the storage, in its own words.
        StorageConfig::Directory { path, .. } => path.canonicalize().ok(),
        StorageConfig::S3(_) => None,
    }
}

/// Runs an operation to its end, or until a signal; then the process dies by that signal.
pub fn run<T, F>(context: Context, threads: Threads, operation: impl FnOnce(Context) -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, ops::Error>>,
{
    let received = signal::watch(context.cancel.clone())
        .map_err(|source| Error::System { action: "watch for signals", source })?;
    let cancel = context.cancel.clone();
    let outcome = block_on(threads, async {
        tokio::select! {
            outcome = operation(context) => outcome,
            () = patience(threads, &cancel) => Err(ops::Error::Cancelled),
        }
    })?;
    if outcome.is_err() {
        received.die();
    }
    Ok(outcome?)
}

/// The same, with its progress shown.
pub fn run_shown<T, F>(
    context: Context,
    title: &'static str,
    bars: &MultiProgress,
    operation: impl FnOnce(Context) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, ops::Error>>,
{
    run(context, Threads::Two, |context| {
        let display = Display::start(title, context.progress.clone(), bars);
        let operation = operation(context);
        async move {
            let outcome = operation.await;
            drop(display);
            outcome
        }
    })
}

/// Returns when a cancelled operation has had the time it may take. One that takes backups has to clean up in the
/// storage, and is bounded by [`signal::watch`] alone.
async fn patience(threads: Threads, cancel: &CancellationToken) {
    cancel.cancelled().await;
    match threads {
        Threads::One => tokio::time::sleep(FETCH_PATIENCE).await,
        Threads::Two => std::future::pending().await,
    }
}

/// How long calls that nobody waits for any more may take: into the file system, and of the name service.
const GIVEN_UP_CALLS: Duration = Duration::from_secs(2);

/// Runs `work` on a runtime of this size, and leaves behind what hangs of the calls that were given up.
pub fn block_on<T>(threads: Threads, work: impl Future<Output = T>) -> Result<T, Error> {
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Two => Builder::new_multi_thread(),
    };
    if threads == Threads::Two {
        builder.worker_threads(2).thread_name("seawall-net");
    }
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|source| Error::System { action: "start the runtime", source })?;
    let outcome = runtime.block_on(work);
    // File calls that were given up end first, since they remove what they left unfinished; codec threads do not
    // belong to the runtime and keep nobody waiting. A runtime that is dropped would wait for all of them.
    runtime.shutdown_timeout(GIVEN_UP_CALLS);
    Ok(outcome)
}
