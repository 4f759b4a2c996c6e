//! Objects that were begun and never finished, by processes that were killed: multipart uploads, temporary files. No
//! listing of objects shows them, but they take space, and `delete garbage` removes them.

use jiff::Timestamp;

use crate::layout::walg::names;
use crate::retention::{GarbageScope, UNFINISHED_AGE};
use crate::storage::{self, ErrorKind, Storage, Unfinished};

use super::removal::{Mode, Removal};
use super::{Context, Error};

/// Those in the folders of `scope` to which nothing was written for [`UNFINISHED_AGE`].
///
/// A service that has no such listing, or keys that may not ask for it, are a warning: what is left there is then the
/// business of a lifecycle rule.
pub(super) async fn abandoned(
    storage: &dyn Storage,
    scope: GarbageScope,
    now: Timestamp,
) -> Result<Vec<Unfinished>, Error> {
    let folders = match scope {
        GarbageScope::All => vec![names::backups_prefix(), names::wal_prefix()],
        GarbageScope::Archives => vec![names::wal_prefix()],
        GarbageScope::Backups => vec![names::backups_prefix()],
    };
    let mut abandoned = Vec::new();
    for folder in folders {
        match storage::list_unfinished(storage, &folder).await {
            Ok(found) => abandoned.extend(found),
            Err(error) if matches!(error.kind(), ErrorKind::Refused | ErrorKind::Invalid) => {
                tracing::warn!("unfinished uploads are not looked for: {error}");
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    abandoned.retain(|object| now.duration_since(object.modified) > UNFINISHED_AGE);
    if storage.limits().shares_parts {
        abandoned = without_object(storage, abandoned).await?;
    }
    abandoned.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(abandoned)
}

/// Those whose object is not there: it may be made of their parts.
async fn without_object(
    storage: &dyn Storage,
    abandoned: Vec<Unfinished>,
) -> storage::Result<Vec<Unfinished>> {
    let mut without = Vec::new();
    for upload in abandoned {
        match storage.head(&upload.key).await? {
            None => without.push(upload),
            Some(_) => tracing::info!("Unfinished upload stays, as its object is there: {}", upload.key),
        }
    }
    Ok(without)
}

/// Tells them, and removes them when that is confirmed. Those that stay are logged and in `removal`.
pub(super) async fn remove(
    ctx: &Context,
    abandoned: &[Unfinished],
    mode: Mode,
    removal: &mut Removal,
) -> Result<(), Error> {
    for object in abandoned {
        tracing::info!("Unfinished object marked for deletion: {} begun={}", object.key, object.modified);
    }
    if mode == Mode::DryRun {
        return Ok(());
    }
    let before = removal.failed.len();
    for object in abandoned {
        if ctx.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if let Err(error) = ctx.storage.remove_unfinished(object).await {
            tracing::error!("cannot remove what is unfinished of `{}`: {error}", object.key);
            removal.failed.push((object.key.clone(), error));
        }
    }
    let removed = abandoned.len().saturating_sub(removal.failed.len().saturating_sub(before));
    if removed > 0 {
        tracing::info!("Unfinished objects removed: count={removed}");
    }
    Ok(())
}
