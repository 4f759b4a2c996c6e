//! `backup-keep`: keeps a backup from retention, releases it, or tells for what it is kept.

use crate::catalog::barman::{self as catalog, Annotations};
use crate::layout::barman::{Keep, Status};
use crate::ops::error::RequestError;
use crate::ops::{Context, Error};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Tell.
    Status,
    /// Keep it for this.
    Keep(Keep),
    /// Keep it no longer. It need not be kept, nor exist.
    Release,
}

/// Acts on the backup that is meant by an id, a name or a word ([`catalog::resolve`]), and returns for what it is kept
/// then. Durable on return.
pub async fn run(
    ctx: &Context,
    annotations: &Annotations,
    backup: &str,
    action: Action,
) -> Result<Option<Keep>, Error> {
    ctx.until_cancelled(async {
        let storage = ctx.storage.as_ref();
        let id = catalog::resolve(storage, backup).await?;
        match action {
            Action::Status => Ok::<_, Error>(annotations.keep(id).await?),
            Action::Keep(keep) => {
                let status = catalog::describe(storage, id).await?.info.status;
                if status != Status::Done {
                    return Err(RequestError::NotDone { id, status }.into());
                }
                annotations.put(id, keep).await?;
                tracing::info!("backup {id} is kept ({keep})");
                Ok(Some(keep))
            }
            Action::Release => {
                annotations.release(id).await?;
                tracing::info!("backup {id} is not kept");
                Ok(None)
            }
        }
    })
    .await
}
