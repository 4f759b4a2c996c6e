//! Removes what a backup that failed has stored.

use std::time::Duration;

use crate::layout::walg::{BackupName, names};
use crate::ops::{Context, Error};
use crate::storage::{self, Depth, Storage};

/// Time for removing what a failed backup had stored.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(30);

/// The same when the process was asked to end.
const CLEAN_UP_DEADLINE_WHEN_CANCELLED: Duration = Duration::from_secs(4);

/// Deletes what a backup that was not finished has stored. What stays is found by `delete garbage`.
pub(super) async fn remove_leftovers(ctx: &Context, name: BackupName) {
    let deadline = match ctx.cancel.is_cancelled() {
        true => CLEAN_UP_DEADLINE_WHEN_CANCELLED,
        false => CLEAN_UP_DEADLINE,
    };
    let removed = tokio::time::timeout(deadline, async {
        // The answer to the sentinel's write may be what was lost: every object below a sentinel is needed.
        match ctx.storage.head(&names::sentinel_key(name)).await? {
            None => remove_stored(ctx, name).await,
            Some(_) => Ok(()),
        }
    });
    match removed.await {
        Ok(Ok(())) => {}
        _ => {
            tracing::warn!("could not remove everything that backup {name} had stored; `delete garbage` will")
        }
    }
}

/// Deletes everything in a backup's folder. It has no sentinel, so no backup is lost.
async fn remove_stored(ctx: &Context, name: BackupName) -> Result<(), Error> {
    let storage: &dyn Storage = ctx.storage.as_ref();
    let listing = storage::list_all(storage, &names::backup_prefix(name), Depth::All).await?;
    let keys: Vec<_> = listing.objects.into_iter().map(|object| object.key).collect();
    match storage.delete(&keys).await?.failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error.into()),
    }
}
