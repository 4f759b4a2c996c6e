//! In what form a backup is stored: all that taking one has to know of a layout beforehand.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::layout::barman::{self, BackupId, Data};
use crate::layout::new_backup::{Beginning, Document};
use crate::layout::walg::{self, BackupName, DeltaOrigin};
use crate::layout::{Name, NewBackup};
use crate::ops::Error;
use crate::ops::error::{NamedBy, RequestError};
use crate::pg::server_settings::ServerSettings;
use crate::pg::session::{ServerIdentity, Session, StartedBackup};

use super::options::{DeltaOptions, SnapshotFormat, WalGFormat};

/// In what form a backup is stored.
#[derive(Debug, Clone)]
pub enum Format {
    /// wal-g's.
    WalG(WalGFormat),
    /// barman-cloud's.
    Barman {
        /// The name that the user gives the backup.
        name: Option<String>,
    },
    /// barman-cloud's, of a backup that is made of snapshots of volumes.
    Snapshots(SnapshotFormat),
}

impl Format {
    /// Whether retention may never delete the backup.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Format::WalG(format) => format.is_permanent,
            Format::Barman { .. } | Format::Snapshots(_) => false,
        }
    }

    /// How to take a delta; `None` for a full backup.
    pub(super) fn delta(&self) -> Option<&DeltaOptions> {
        match self {
            Format::WalG(format) => format.delta.as_ref().filter(|_| format.with_files_metadata),
            Format::Barman { .. } | Format::Snapshots(_) => None,
        }
    }

    /// Whether the list of its files has databases and relations.
    pub(super) fn lists_relations(&self) -> bool {
        match self {
            Format::WalG(format) => format.with_relations,
            Format::Barman { .. } | Format::Snapshots(_) => false,
        }
    }

    /// What the server is told for a label of a backup that is started at this time.
    pub(super) fn label(&self, time: Timestamp) -> String {
        match self {
            Format::WalG(_) => format!("seawall {time}"),
            Format::Barman { .. } => barman_label(&Data::Tars, time),
            Format::Snapshots(format) => barman_label(&format.data(), time),
        }
    }

    /// What the name of a backup that the server has started so comes from.
    pub(super) fn named_by(&self, started: &StartedBackup) -> NamedBy {
        match self {
            Format::WalG(_) if started.in_recovery => NamedBy::Restartpoint,
            Format::WalG(_) => NamedBy::NewSegment,
            Format::Barman { .. } | Format::Snapshots(_) => NamedBy::Second,
        }
    }

    /// What the documents will say of the server, as far as they do.
    pub(super) async fn settings(&self, session: &Session) -> Result<ServerSettings, Error> {
        match self {
            Format::WalG(_) => Ok(ServerSettings::default()),
            Format::Barman { .. } | Format::Snapshots(_) => Ok(session.server_settings().await?),
        }
    }

    /// The document that tells of a backup which this server did not start at this time, where the layout keeps that.
    pub(super) fn not_started(
        &self,
        time: Timestamp,
        server: &ServerIdentity,
        settings: &ServerSettings,
        reason: &Error,
    ) -> Option<Document> {
        let (name, data) = match self {
            Format::WalG(_) => return None,
            Format::Barman { name } => (name, Data::Tars),
            Format::Snapshots(format) => (&format.name, format.data()),
        };
        let (id, reason) = (id(time), reason.to_string());
        Some(barman::NewBackup::not_started(id, name.clone(), &data, server, settings, &reason))
    }

    /// The backup that has begun so.
    pub(super) async fn begin(
        &self,
        session: &Session,
        beginning: Beginning,
        settings: ServerSettings,
        delta: Option<DeltaOrigin>,
    ) -> Result<Arc<dyn NewBackup>, Error> {
        match self {
            Format::WalG(format) => {
                let name = match &delta {
                    Some(origin) => BackupName::delta(beginning.segment, origin.parent),
                    None => BackupName::full(beginning.segment),
                };
                if !session.try_lock_backup(beginning.segment).await? {
                    let named_by = self.named_by(&beginning.started);
                    return Err(RequestError::BackupRunning(Name::from(name), named_by).into());
                }
                Ok(Arc::new(walg::NewBackup {
                    name,
                    delta,
                    beginning,
                    is_permanent: format.is_permanent,
                    user_data: format.user_data.clone(),
                    with_files_metadata: format.with_files_metadata,
                }))
            }
            Format::Barman { name } => {
                let backup = barman_backup(beginning, name.clone(), Data::Tars, settings);
                for path in backup.included_elsewhere() {
                    tracing::warn!(path = %path.display(), "not in the backup: the configuration includes it from outside of the data directory");
                }
                Ok(Arc::new(backup))
            }
            Format::Snapshots(format) => {
                Ok(Arc::new(barman_backup(beginning, format.name.clone(), format.data(), settings)))
            }
        }
    }
}

fn barman_label(data: &Data, time: Timestamp) -> String {
    barman::NewBackup::label(data.server_name(), id(time))
}

fn barman_backup(
    beginning: Beginning,
    backup_name: Option<String>,
    data: Data,
    settings: ServerSettings,
) -> barman::NewBackup {
    let id = id(beginning.time);
    barman::NewBackup { id, backup_name, beginning, settings, data }
}

impl SnapshotFormat {
    fn data(&self) -> Data {
        Data::Snapshots { server_name: self.server_name.clone() }
    }
}

/// The id of a backup that is started at this time, which is of the host's zone, as barman's are.
fn id(time: Timestamp) -> BackupId {
    BackupId::at(TimeZone::system().to_datetime(time))
}
