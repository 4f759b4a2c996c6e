//! Of several servers that take a backup of the same name at the same time, one goes on.
//!
//! Two standbys without a restartpoint between them start at the same place, so their backups have the same name, and
//! each would replace the tars of the other. Whoever is first creates an object in the backup's folder, which is removed
//! when the backup is complete; who finds anything in the folder gives up before it has stored anything. Where the
//! service ignores the condition of that put, the last one has the name, and the others give up before they write the
//! marker.
//!
//! What a killed backup has left is cleared away by the next one of its name on the same server, which knows by the lock that it
//! holds there, and by the process, that nobody writes to it any more. Elsewhere nobody can know; `delete garbage` removes it
//! when it is a day old.
//!
//! wal-g and barman-cloud pass over the object.

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use crate::layout::new_backup::Beginning;
use crate::layout::{Name, NewBackup};
use crate::ops::error::{NamedBy, RequestError};
use crate::ops::{Context, Error};
use crate::pg::session::Session;
use crate::storage::{self, Depth, Key, PutOutcome};

use super::hostname;

/// The name of a backup that is ours.
pub(super) struct Claim {
    key: Key,
    content: Bytes,
}

/// Who has a name that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Whoever claimed it.
    Us,
    /// Somebody who takes a backup of the same name.
    Another,
    /// Nobody: somebody has deleted the backup.
    Nobody,
}

/// Who takes a backup, as its claim says it.
#[derive(Debug, Deserialize)]
pub(super) struct Claimer {
    hostname: String,
    pid: u32,
    /// The server's data directory and when it was started, or the directory and the id of a backup that barman has taken.
    /// Earlier versions did not say it.
    #[serde(default)]
    server: Option<(String, String)>,
}

impl Claimer {
    /// This process, which takes a backup of a server.
    pub async fn of_server(session: &Session, beginning: &Beginning) -> Result<Claimer, Error> {
        Ok(Claimer::this_one(&beginning.data_dir, session.server_start().await?))
    }

    /// This process, which stores a backup that barman has taken.
    pub fn of_backup(directory: &Path, name: &Name) -> Claimer {
        Claimer::this_one(directory, name.to_string())
    }

    fn this_one(directory: &Path, since: String) -> Claimer {
        Claimer {
            hostname: hostname(),
            pid: std::process::id(),
            server: Some((directory.display().to_string(), since)),
        }
    }

    /// Whether it was of the same server, on the same machine, and its process is gone.
    fn is_gone_from(&self, now: &Claimer) -> bool {
        self.server.is_some()
            && (&self.hostname, &self.server) == (&now.hostname, &now.server)
            && !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

impl Claim {
    /// Claims the name of the backup, if there is no backup of this name yet and nobody takes one.
    pub async fn take(
        ctx: &Context,
        backup: &dyn NewBackup,
        claimer: &Claimer,
        named_by: NamedBy,
    ) -> Result<Claim, Error> {
        let storage = ctx.storage.as_ref();
        if ctx.until_cancelled(storage.head(&backup.marker())).await?.is_some() {
            return Err(RequestError::BackupExists(backup.name(), named_by).into());
        }
        let claim = ctx.until_cancelled(Claim::create(ctx, backup, claimer)).await?;
        claim.ok_or_else(|| RequestError::BackupRunning(backup.name(), named_by).into())
    }

    /// Creates the object in a folder that is empty, or of a killed backup; `None` when the name is another's.
    async fn create(
        ctx: &Context,
        backup: &dyn NewBackup,
        claimer: &Claimer,
    ) -> Result<Option<Claim>, Error> {
        // A killed backup can have left tars under this name, which a restore would take for ours; and two hosts can have
        // chosen one name.
        let listing = storage::list_all(ctx.storage.as_ref(), &backup.folder(), Depth::All).await?;
        let found: Vec<Key> = listing.objects.into_iter().map(|object| object.key).collect();
        if !found.is_empty() && !clear_away(ctx, backup, claimer, &found).await? {
            return Ok(None);
        }
        let content = serde_json::json!({
            "hostname": claimer.hostname,
            "pid": claimer.pid,
            "since": Timestamp::now(),
            "server": claimer.server,
        });
        let claim = Claim { key: backup.claim(), content: content.to_string().into() };
        let put = storage::put_new(ctx.storage.as_ref(), &claim.key, claim.content.clone()).await;
        match (claim.holder(ctx).await, put) {
            // Also when the answer to the put was lost.
            (Ok(Holder::Us), _) => Ok(Some(claim)),
            (Ok(Holder::Another | Holder::Nobody), Ok(_)) => Ok(None),
            (_, Err(error)) => Err(error.into()),
            (Err(error), Ok(PutOutcome::Stored)) => {
                claim.release(ctx).await;
                Err(error)
            }
            (Err(error), Ok(PutOutcome::AlreadyExists)) => Err(error),
        }
    }

    /// Fails when the name is not ours any more.
    pub async fn check(&self, ctx: &Context, name: &Name, named_by: NamedBy) -> Result<(), Error> {
        match self.holder(ctx).await? {
            Holder::Us => Ok(()),
            Holder::Another => Err(RequestError::BackupRunning(name.clone(), named_by).into()),
            Holder::Nobody => Err(RequestError::DeletedMeanwhile(name.clone()).into()),
        }
    }

    /// Whose the name is by now.
    pub async fn holder(&self, ctx: &Context) -> Result<Holder, Error> {
        match self.look(ctx).await? {
            // Or a byte was spoiled on the way; a backup depends on it.
            Holder::Another => self.look(ctx).await,
            holder => Ok(holder),
        }
    }

    async fn look(&self, ctx: &Context) -> Result<Holder, Error> {
        Ok(match storage::get_bytes(ctx.storage.as_ref(), &self.key).await? {
            Some((_, content)) if content == self.content => Holder::Us,
            Some(_) => Holder::Another,
            None => Holder::Nobody,
        })
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

/// Removes what a killed backup of this server has left under the name; whether it was one.
async fn clear_away(
    ctx: &Context,
    backup: &dyn NewBackup,
    claimer: &Claimer,
    found: &[Key],
) -> Result<bool, Error> {
    let storage = ctx.storage.as_ref();
    let Some((_, former)) = storage::get_bytes(storage, &backup.claim()).await? else { return Ok(false) };
    let former: Option<Claimer> = serde_json::from_slice(&former).ok();
    if !former.is_some_and(|former| former.is_gone_from(claimer)) {
        return Ok(false);
    }
    tracing::warn!("removing what a backup-push that was killed has left of {}", backup.name());
    storage::delete_all(storage, found).await?;
    Ok(true)
}
