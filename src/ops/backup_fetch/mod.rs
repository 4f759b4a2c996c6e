//! `backup-fetch`: restores a base backup, and the chain it builds on, into an empty directory.
//!
//! 1. Read the documents of the backup and of its chain, and list the tars ([`Plan`]): all that is missing is said
//!    before anything is written ([`Incomplete`]). From here on the layout of the repository does not matter.
//! 2. The directory and the places of the tablespaces must be empty or absent (`target`), but for what a restore that
//!    was killed has left there (`unfinished`).
//! 3. Extract the tars of all backups in one stream, the newest first, several at once (`extract`). Of a file that
//!    several backups hold, each page is written once (`shared_files`). The tars with the labels come last.
//! 4. Link the tablespaces, give everything to its owner if we are root (`recipient`), sync it, and write `pg_control` last of all: without it no server starts on the
//!    directory, so an interrupted restore can never be mistaken for a cluster.
//!
//! Recovery settings are the caller's: no signal file is written and no configuration touched.

mod extract;
mod incomplete;
mod plan;
mod recipient;
mod root_files;
mod shared_files;
mod target;
#[cfg(test)]
mod tests;
mod unfinished;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::pipeline::{RateLimit, open_object, run_blocking};
use crate::storage::Key;

use super::{Context, Error, ownership};

pub use incomplete::{Incomplete, Missing};
pub use plan::{MovedTablespace, Plan};

use extract::{Extraction, extract};
use plan::Tar;
use root_files::RootFiles;
use target::Target;

/// How `backup-fetch` works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory to restore into.
    pub target: PathBuf,
    /// Tars at once.
    pub concurrency: usize,
    /// Processors: a tar with bzip2, while there is no other for them, is decompressed on all.
    pub cores: usize,
    /// Bytes per second taken from the storage.
    pub network_rate: Option<u64>,
    /// Whether the restored files are made durable before `pg_control` is written.
    pub sync: SyncFiles,
}

/// Whether restored files are synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncFiles {
    /// They are.
    Yes,
    /// Only `pg_control` is (`WALG_TAR_DISABLE_FSYNC`).
    No,
}

/// Restores what is planned. On return it is complete and, unless switched off, durable.
///
/// On failure everything that was written is removed again; a target that was refused is untouched.
/// [`Error::Incomplete`] when a tar turns out not to hold what it has to.
pub async fn run(ctx: &Context, plan: Plan, options: Options) -> Result<(), Error> {
    tracing::info!("Restoring backup {} into {}", plan.backup.name, options.target.display());
    if let Some(cluster) = plan.cluster {
        ownership::warn_of_another(ctx, &format!("backup {}", plan.backup.name), cluster).await;
    }
    let target = Arc::new(Target::prepare(&options.target, plan.tablespaces.clone())?);
    let restored = restore(ctx, &options, plan, &target).await;
    match &restored {
        Ok(()) => tracing::info!("Backup extraction complete."),
        Err(_) => target.remove_everything(),
    }
    restored
}

async fn restore(ctx: &Context, options: &Options, plan: Plan, target: &Arc<Target>) -> Result<(), Error> {
    let network_rate = options.network_rate.map(|rate| Arc::new(RateLimit::new(rate)));
    let shared = Arc::new(plan.shared);
    let extraction = Arc::new(Extraction {
        target: Arc::clone(target),
        shared: Arc::clone(&shared),
        takes_tablespace_map: plan.takes_tablespace_map,
        root_files: RootFiles::default(),
        control: Mutex::new(None),
        progress: ctx.progress.clone(),
    });
    let stop = ctx.cancel.child_token();
    // However this ends, no thread is left that waits for its turn.
    let _stopped_at_the_end = stop.clone().drop_guard();
    tokio::spawn(stop.clone().cancelled_owned().map(move |()| shared.give_up()));

    ctx.progress.expect_pieces((plan.tars.len() + plan.tails.len()) as u64);
    for tars in [plan.tars, plan.tails] {
        let at_once = options.concurrency.min(tars.len()).max(1);
        let threads = NonZeroUsize::new(options.cores / at_once).unwrap_or(NonZeroUsize::MIN);
        let extractions = tars.into_iter().map(|tar| {
            let (extraction, network_rate) = (Arc::clone(&extraction), network_rate.clone());
            extract_tar(ctx, tar, threads, extraction, network_rate, &stop)
        });
        // Takes the next one when there is room, in the order of the list.
        let extractions = stream::iter(extractions).buffer_unordered(options.concurrency.max(1));
        all_or_none_at_work(extractions, &stop).await?;
    }
    for level in &plan.levels {
        level.done()?;
    }

    let control = extraction.control.lock().unwrap_or_else(PoisonError::into_inner).take();
    let control = control.ok_or_else(|| Incomplete::file(&plan.backup, "global/pg_control"))?;
    // Without its label a server would start from the wrong checkpoint and be corrupt.
    if !target.root().join("backup_label").exists() {
        return Err(Incomplete::file(&plan.backup, "backup_label").into());
    }
    tracing::debug!("Completing backup {}", plan.backup.name);
    let (target, sync) = (Arc::clone(target), options.sync);
    run_blocking("seawall-sync".to_owned(), move || target.complete(&control, sync)).await?
}

/// Waits for all extractions. After one has failed the others are stopped, and waited for: what they wrote is about to
/// be removed.
async fn all_or_none_at_work(
    extractions: impl Stream<Item = Result<(), Error>>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let mut extractions = std::pin::pin!(extractions);
    let mut outcome = Ok(());
    while let Some(extracted) = extractions.next().await {
        if outcome.is_ok() && extracted.is_err() {
            stop.cancel();
            outcome = extracted;
        }
    }
    outcome
}

async fn extract_tar(
    ctx: &Context,
    tar: Tar,
    threads: NonZeroUsize,
    extraction: Arc<Extraction>,
    network_rate: Option<Arc<RateLimit>>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let key = tar.key.clone();
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Cancelled),
        opened = open_object(&ctx.storage, &key, network_rate, stop) => opened?,
    };
    let Some(reader) = opened else {
        return Err(Incomplete::tar(&tar.level.source, key.file_name()).into());
    };
    let stored = reader.meta().size;
    let cipher = ctx.cipher.clone();
    let (is_tail, level) = (tar.is_tail, Arc::clone(&tar.level));
    let extracted =
        run_blocking(thread_name(&key), move || extract(reader, &tar, threads, &cipher, &extraction)).await?;
    if ctx.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    extracted?;
    if !is_tail {
        level.tar_done()?;
    }
    ctx.progress.add_stored(stored);
    ctx.progress.add_pieces(1);
    tracing::info!("Finished extraction of {}", key.file_name());
    Ok(())
}

fn thread_name(key: &Key) -> String {
    format!("seawall-{}", key.file_name())
}
