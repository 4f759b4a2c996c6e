//! Makes a backup exist, and removes what one that failed has stored.

use std::time::Duration;

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

/// Deletes what a backup that failed has stored, and says in the repository that it failed where the layout keeps that.
/// What stays is found by `delete garbage`.
///
/// Nothing where the backup's name is another's by now.
pub(super) async fn remove_leftovers(ctx: &Context, stored: Stored<'_>, reason: &Error) {
    let Stored { backup, claim, .. } = stored;
    let removed = tokio::time::timeout(deadline(ctx), async {
        if let Some(claim) = claim
            && claim.holder(ctx).await? == Holder::Another
        {
            tracing::warn!(
                "another backup-push has taken the name {}, so nothing of it is removed",
                backup.name()
            );
            return Ok(());
        }
        // The answer to the marker's write may be what was lost: every object of a complete backup is needed.
        match storage::get_bytes(ctx.storage.as_ref(), &backup.marker()).await? {
            Some((_, marker)) if backup.is_complete(&marker) => Ok(()),
            _ => remove_stored(ctx, stored, reason).await,
        }
    });
    if !matches!(removed.await, Ok(Ok(()))) {
        let (name, way) = (backup.name(), backup.remains_go_by());
        tracing::warn!("could not remove everything that backup {name} had stored; {way}");
        if let Some(snapshots) = stored.snapshots {
            snapshots.tell_left();
        }
    }
}

/// Deletes everything in a backup's folder but its marker, which says then that it failed. It is not complete, so no
/// backup is lost.
async fn remove_stored(
    ctx: &Context,
    Stored { backup, snapshots, .. }: Stored<'_>,
    reason: &Error,
) -> Result<(), Error> {
    let storage: &dyn Storage = ctx.storage.as_ref();
    if let Some(failure) = backup.failure(&reason.to_string()) {
        catalog::commit(storage, vec![failure]).await.map_err(|failed| failed.error)?;
    }
    let marker = backup.marker();
    let listing = storage::list_all(storage, &backup.folder(), Depth::All).await?;
    let keys = listing.objects.into_iter().map(|object| object.key).filter(|key| *key != marker);
    let keys: Vec<_> = keys.collect();
    let deleted = storage.delete(&keys).await;
    // Each of them is paid for, and named by nothing.
    if let Some(snapshots) = snapshots {
        Box::pin(snapshots.delete()).await;
    }
    match deleted?.failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error.into()),
    }
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
    match ctx.storage.delete(&keys).await?.failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error.into()),
    }
}

/// Makes the backup exist, durably on return; on failure removes what it has stored. But not when the write of its marker
/// had no answer: it may come to the storage yet, and would name data that is gone.
pub(super) async fn commit(ctx: &Context, stored: Stored<'_>, documents: Vec<Document>) -> Result<(), Error> {
    let Err(failed) = catalog::commit(ctx.storage.as_ref(), documents).await else { return Ok(()) };
    let error = Error::from(failed.error);
    if !failed.may_come {
        remove_leftovers(ctx, stored, &error).await;
    } else {
        tracing::warn!(
            "whether backup {} exists is not known, so nothing of it is removed; if it is not listed later as one that is \
             done, {}",
            stored.backup.name(),
            stored.backup.remains_go_by()
        );
    }
    Err(error)
}
