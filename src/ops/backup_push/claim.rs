//! Of several servers that take a backup of the same name at the same time, one goes on.
//!
//! Two standbys without a restartpoint between them start at the same place, so their backups have the same name, and
//! each would replace the tars of the other. Whoever is first creates an object in the backup's folder, which is removed
//! when the backup is complete; who finds anything in the folder gives up before it has stored anything. Where the
//! service ignores the condition of that put, the last one has the name, and the others give up before they write the
//! marker.
//!
//! wal-g and barman-cloud pass over the object.

use bytes::Bytes;
use jiff::Timestamp;

use crate::layout::NewBackup;
use crate::layout::new_backup::Beginning;
use crate::ops::{Context, Error};
use crate::storage::{self, Key, PutOutcome};

/// The name of a backup that is ours.
pub(super) struct Claim {
    key: Key,
    content: Bytes,
}

impl Claim {
    /// Claims the name; `None` when it is another's.
    pub async fn make(
        ctx: &Context,
        backup: &dyn NewBackup,
        beginning: &Beginning,
    ) -> Result<Option<Claim>, Error> {
        let content = serde_json::json!({
            "hostname": beginning.hostname,
            "pid": std::process::id(),
            "since": Timestamp::now(),
        });
        let claim = Claim { key: backup.claim(), content: content.to_string().into() };
        let put = storage::put_new(ctx.storage.as_ref(), &claim.key, claim.content.clone()).await;
        match (claim.holds(ctx).await, put) {
            // Also when the answer to the put was lost.
            (Ok(true), _) => Ok(Some(claim)),
            (Ok(false), Ok(_)) => Ok(None),
            (_, Err(error)) => Err(error.into()),
            (Err(error), Ok(PutOutcome::Stored)) => {
                claim.release(ctx).await;
                Err(error)
            }
            (Err(error), Ok(PutOutcome::AlreadyExists)) => Err(error),
        }
    }

    /// Whether the name is ours still.
    pub async fn holds(&self, ctx: &Context) -> Result<bool, Error> {
        let found = storage::get_bytes(ctx.storage.as_ref(), &self.key).await?;
        Ok(found.is_some_and(|(_, content)| content == self.content))
    }

    /// Removes the object: the backup's marker is there.
    pub async fn release(self, ctx: &Context) {
        let report = ctx.storage.delete(std::slice::from_ref(&self.key)).await;
        if !report.is_ok_and(|report| report.failed.is_empty()) {
            // It goes with the backup.
            tracing::debug!("could not remove {}", self.key);
        }
    }
}
