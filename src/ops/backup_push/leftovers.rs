//! Makes a backup exist, and removes what one that failed has stored.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::catalog;
use crate::layout::NewBackup;
use crate::layout::new_backup::Document;
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Storage};

use super::claim::{Claim, Holder};
use super::snapshots::Snapshots;

/// Time for removing what a failed backup had stored.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(30);

/// The same when the process was asked to end.
const CLEAN_UP_DEADLINE_WHEN_CANCELLED: Duration = Duration::from_secs(4);

/// Says in the repository that a backup failed which the server did not start, where the layout keeps that: under a name that
/// is nobody's.
pub(super) async fn tell(ctx: &Context, failure: Option<Document>) {
    let Some(Document { key, body }) = failure else { return };
    let storage: &dyn Storage = ctx.storage.as_ref();
    let told = tokio::time::timeout(deadline(ctx), async {
        match storage.head(&key).await? {
            Some(_) => Ok(()),
            None => storage::put_new(storage, &key, body).await.map(drop),
        }
    });
    if !matches!(told.await, Ok(Ok(()))) {
        tracing::warn!("could not store `{key}`, which would say that the backup failed");
    }
}

fn deadline(ctx: &Context) -> Duration {
    match ctx.cancel.is_cancelled() {
        true => CLEAN_UP_DEADLINE_WHEN_CANCELLED,
        false => CLEAN_UP_DEADLINE,
    }
}

/// What a backup that is being taken has stored, and by what it is found.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    /// The backup.
    pub backup: &'a dyn NewBackup,
    /// What says that its name is ours, where that was claimed.
    pub claim: Option<&'a Claim>,
    /// The snapshots of volumes that it is made of, if it is.
    pub snapshots: Option<&'a Snapshots<'a>>,
}

/// Whether the documents that make a backup exist were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Documents {
    /// They were not, so nothing of the backup is needed.
    Unsent,
    /// They were, and refused. The answer to an earlier attempt may be what was lost: the backup exists then.
    Sent,
}

/// Deletes what a backup that failed has stored, and says in the repository that it failed where the layout keeps that.
/// What stays is found by `delete garbage`.
///
/// No object where the backup's name is another's by now.
pub(super) async fn remove_leftovers(
    ctx: &Context,
    stored: Stored<'_>,
    documents: Documents,
    reason: &Error,
) {
    let until = Instant::now() + deadline(ctx);
    let objects = async {
        let removed = timeout_at(until, remove_objects(ctx, stored, reason)).await;
        let removed = removed.unwrap_or(Err(Error::Cancelled));
        if removed.is_err() {
            let (name, way) = (stored.backup.name(), stored.backup.remains_go_by());
            tracing::warn!("could not remove everything that backup {name} had stored; {way}");
        }
        removed
    };
    let Some(snapshots) = stored.snapshots else {
        // It was told.
        let _ = objects.await;
        return;
    };
    // Each of them is paid for, and named by nothing.
    match documents {
        Documents::Unsent => drop(tokio::join!(objects, Box::pin(snapshots.delete(until)))),
        Documents::Sent => match objects.await {
            Ok(Found::Exists) => {}
            Ok(Found::Leftovers) => Box::pin(snapshots.delete(until)).await,
            Ok(Found::Another) | Err(_) => snapshots.tell_left(),
        },
    }
}

/// What was found under the name of a backup that failed.
enum Found {
    /// It exists after all.
    Exists,
    /// What it has stored, which is removed.
    Leftovers,
    /// Another backup.
    Another,
}

/// Deletes the objects of a backup that failed, if they are its own.
async fn remove_objects(ctx: &Context, stored: Stored<'_>, reason: &Error) -> Result<Found, Error> {
    let Stored { backup, claim, .. } = stored;
    if let Some(claim) = claim
        && claim.holder(ctx).await? == Holder::Another
    {
        tracing::warn!(
            "another backup-push has taken the name {}, so no object of it is removed",
            backup.name()
        );
        return Ok(Found::Another);
    }
    // The answer to the marker's write may be what was lost: every object of a complete backup is needed.
    match storage::get_bytes(ctx.storage.as_ref(), &backup.marker()).await? {
        Some((_, marker)) if backup.is_complete(&marker) => Ok(Found::Exists),
        _ => {
            empty_folder(ctx, backup, reason).await?;
            Ok(Found::Leftovers)
        }
    }
}

/// Deletes everything in a backup's folder but its marker, which says then that it failed. It is not complete, so no
/// backup is lost.
async fn empty_folder(ctx: &Context, backup: &dyn NewBackup, reason: &Error) -> Result<(), Error> {
    let storage: &dyn Storage = ctx.storage.as_ref();
    if let Some(failure) = backup.failure(&reason.to_string()) {
        catalog::commit(storage, vec![failure]).await.map_err(|failed| failed.error)?;
    }
    let marker = backup.marker();
    let listing = storage::list_all(storage, &backup.folder(), Depth::All).await?;
    let keys = listing.objects.into_iter().map(|object| object.key).filter(|key| *key != marker);
    let keys: Vec<_> = keys.collect();
    Ok(storage::delete_all(storage, &keys).await?)
}

/// Removes what is stored of a backup that was not finished, and that nobody takes any more: a restore would take its tars
/// for those of the backup.
pub(in crate::ops) async fn remove_remains(ctx: &Context, backup: &dyn NewBackup) -> Result<(), Error> {
    let listing = storage::list_all(ctx.storage.as_ref(), &backup.folder(), Depth::All).await?;
    let keys: Vec<_> = listing.objects.into_iter().map(|object| object.key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    tracing::info!("removing what is there of backup {}, which was not finished", backup.name());
    Ok(storage::delete_all(ctx.storage.as_ref(), &keys).await?)
}

/// Makes the backup exist, durably on return; on failure removes what it has stored. But not when the write of its marker
/// had no answer: it may come to the storage yet, and would name data that is gone.
pub(super) async fn commit(ctx: &Context, stored: Stored<'_>, documents: Vec<Document>) -> Result<(), Error> {
    let Err(failed) = catalog::commit(ctx.storage.as_ref(), documents).await else { return Ok(()) };
    let error = Error::from(failed.error);
    if !failed.may_come {
        remove_leftovers(ctx, stored, Documents::Sent, &error).await;
    } else {
        tracing::warn!(
            "whether backup {} exists is not known, so nothing of it is removed; if it is not listed later as one that is \
             done, {}",
            stored.backup.name(),
            stored.backup.remains_go_by()
        );
        if let Some(snapshots) = stored.snapshots {
            tracing::warn!("its snapshots are {}: if it does not exist, delete them", snapshots.ids());
        }
    }
    Err(error)
}
