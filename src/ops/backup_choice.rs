//! Which backup is meant.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::catalog::{self, DOCUMENTS_AT_ONCE};
use crate::layout::walg::{Backup, BackupName, go_json};

use super::error::RequestError;
use super::{Context, Error};

/// How a backup is named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum BackupChoice {
    /// By its name.
    Name(BackupName),
    /// The one whose sentinel was written last.
    Latest,
    /// The one that carries this user data; numbers are equal when they are as `float64`, as for wal-g.
    UserData(Value),
}

/// The backup that is meant. It is known to exist, unless it was given by name.
pub async fn choose(ctx: &Context, choice: &BackupChoice) -> Result<BackupName, Error> {
    match choice {
        BackupChoice::Name(name) => Ok(*name),
        BackupChoice::Latest => {
            let latest = catalog::walg::latest(ctx.storage.as_ref()).await?.name;
            tracing::info!("LATEST backup is: '{latest}'");
            Ok(latest)
        }
        BackupChoice::UserData(wanted) => by_user_data(ctx, wanted).await,
    }
}

async fn by_user_data(ctx: &Context, wanted: &Value) -> Result<BackupName, Error> {
    let storage = ctx.storage.as_ref();
    let described: Vec<_> = stream::iter(catalog::walg::list(storage).await?)
        .map(|entry| catalog::walg::describe(storage, entry.name))
        .buffered(DOCUMENTS_AT_ONCE)
        .try_collect()
        .await?;
    let wanted = Some(go_json::with_floats(wanted));
    let carries = |backup: &&Backup| backup.user_data.as_ref().map(go_json::with_floats) == wanted;
    let found: Vec<BackupName> = described.iter().filter(carries).map(|backup| backup.name).collect();
    match found.as_slice() {
        [] => Err(RequestError::NoUserData.into()),
        [name] => Ok(*name),
        _ => Err(RequestError::AmbiguousUserData(found).into()),
    }
}
