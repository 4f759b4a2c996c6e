//! Removes what a backup that failed has stored.

use std::time::Duration;

use crate::catalog;
use crate::layout::NewBackup;
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Storage};

/// Time for removing what a failed backup had stored.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(30);

/// The same when the process was asked to end.
const CLEAN_UP_DEADLINE_WHEN_CANCELLED: Duration = Duration::from_secs(4);

/// Deletes what a backup that failed has stored, and says in the repository that it failed where the layout keeps that.
/// What stays is found by `delete garbage`.
pub(super) async fn remove_leftovers(ctx: &Context, backup: &dyn NewBackup, reason: &Error) {
    let deadline = match ctx.cancel.is_cancelled() {
        true => CLEAN_UP_DEADLINE_WHEN_CANCELLED,
        false => CLEAN_UP_DEADLINE,
    };
    let removed = tokio::time::timeout(deadline, async {
        // The answer to the marker's write may be what was lost: every object of a complete backup is needed.
        match storage::get_bytes(ctx.storage.as_ref(), &backup.marker()).await? {
            Some((_, marker)) if backup.is_complete(&marker) => Ok(()),
            _ => remove_stored(ctx, backup, reason).await,
        }
    });
    if !matches!(removed.await, Ok(Ok(()))) {
        let name = backup.name();
        // Where the layout has an opening document the backup is listed, as one that failed.
        let way = match backup.opening() {
            Some(_) => "delete the backup",
            None => "`delete garbage` will",
        };
        tracing::warn!("could not remove everything that backup {name} had stored; {way}");
    }
}

/// Deletes everything in a backup's folder but its marker, which says then that it failed. It is not complete, so no
/// backup is lost.
async fn remove_stored(ctx: &Context, backup: &dyn NewBackup, reason: &Error) -> Result<(), Error> {
    let storage: &dyn Storage = ctx.storage.as_ref();
    if let Some(failure) = backup.failure(&reason.to_string()) {
        catalog::commit(storage, vec![failure]).await?;
    }
    let marker = backup.marker();
    let listing = storage::list_all(storage, &backup.folder(), Depth::All).await?;
    let keys = listing.objects.into_iter().map(|object| object.key).filter(|key| *key != marker);
    let keys: Vec<_> = keys.collect();
    match storage.delete(&keys).await?.failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error.into()),
    }
}
