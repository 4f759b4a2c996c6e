//! Which backup is meant.

use serde_json::Value;

use crate::catalog;
use crate::layout::walg::BackupName;

use super::error::RequestError;
use super::{Context, Error};

/// How a backup is named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum BackupChoice {
    /// By its name.
    Name(BackupName),
    /// The one whose sentinel was written last.
    Latest,
    /// The one that carries exactly this user data.
    UserData(Value),
}

/// The backup that is meant. It is known to exist, unless it was given by name.
pub async fn choose(ctx: &Context, choice: &BackupChoice) -> Result<BackupName, Error> {
    let storage = ctx.storage.as_ref();
    match choice {
        BackupChoice::Name(name) => Ok(*name),
        BackupChoice::Latest => Ok(catalog::latest(storage).await?.name),
        BackupChoice::UserData(wanted) => {
            let mut found = Vec::new();
            for entry in catalog::list(storage).await? {
                if catalog::describe(storage, entry.name).await?.user_data.as_ref() == Some(wanted) {
                    found.push(entry.name);
                }
            }
            match found.as_slice() {
                [] => Err(RequestError::NoUserData.into()),
                [name] => Ok(*name),
                _ => Err(RequestError::AmbiguousUserData(found).into()),
            }
        }
    }
}
