//! In what form a backup is stored: all that taking one has to know of a layout beforehand.

use std::sync::Arc;

use jiff::Timestamp;

use crate::layout::new_backup::Beginning;
use crate::layout::walg::{self, BackupName, DeltaOrigin};
use crate::layout::{Name, NewBackup};
use crate::ops::Error;
use crate::ops::error::RequestError;
use crate::pg::session::Session;

use super::options::{DeltaOptions, WalGFormat};

/// In what form a backup is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// wal-g's.
    WalG(WalGFormat),
}

impl Format {
    /// Whether retention may never delete the backup.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Format::WalG(format) => format.is_permanent,
        }
    }

    /// How to take a delta; `None` for a full backup.
    pub(super) fn delta(&self) -> Option<&DeltaOptions> {
        match self {
            Format::WalG(format) => format.delta.as_ref().filter(|_| format.with_files_metadata),
        }
    }

    /// Whether the backup has a list of its files.
    pub(super) fn lists_files(&self) -> bool {
        match self {
            Format::WalG(format) => format.with_files_metadata,
        }
    }

    /// Whether that list has databases and relations.
    pub(super) fn lists_relations(&self) -> bool {
        match self {
            Format::WalG(format) => format.with_relations,
        }
    }

    /// What the server is told for a label of a backup that is started at this time.
    pub(super) fn label(&self, time: Timestamp) -> String {
        match self {
            Format::WalG(_) => format!("seawall {time}"),
        }
    }

    /// The backup that has begun so. Asks the server for what its documents will say.
    pub(super) async fn begin(
        &self,
        session: &Session,
        beginning: Beginning,
        delta: Option<DeltaOrigin>,
    ) -> Result<Arc<dyn NewBackup>, Error> {
        match self {
            Format::WalG(format) => {
                let name = match &delta {
                    Some(origin) => BackupName::delta(beginning.segment, origin.parent),
                    None => BackupName::full(beginning.segment),
                };
                if !session.try_lock_backup(beginning.segment).await? {
                    return Err(RequestError::BackupRunning(Name::from(name)).into());
                }
                let (is_permanent, user_data) = (format.is_permanent, format.user_data.clone());
                Ok(Arc::new(walg::NewBackup { name, delta, beginning, is_permanent, user_data }))
            }
        }
    }
}
