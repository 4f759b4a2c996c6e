//! The volumes and snapshots of backups that are there.

use crate::layout::barman::{BackupId, BackupInfo, SnapshotsInfo};
use crate::ops::Error;
use crate::ops::error::RequestError;
use crate::volumes::{Account, Ec2};

/// How EC2 is reached for backups that are there.
#[derive(Debug, Clone)]
pub struct Volumes {
    /// Who asks, or why nobody can: what is wrong with its settings matters only when there are snapshots.
    pub account: Result<Account, String>,
    /// The region of all of them, where that is said.
    pub region: Option<String>,
    /// The region of those that do not say theirs.
    pub default_region: Option<String>,
}

impl Volumes {
    /// EC2 of the region of a backup's snapshots.
    pub(super) fn of(&self, backup: BackupId, snapshots: &SnapshotsInfo) -> Result<Ec2, Error> {
        let region = self.region.as_ref().or(snapshots.region.as_ref()).or(self.default_region.as_ref());
        let region = region.ok_or(RequestError::NoRegion(backup))?;
        let account = self.account.as_ref();
        let account = account.map_err(|error| RequestError::NoAccount(backup, error.clone()))?;
        Ok(account.in_region(region)?)
    }
}

/// The snapshots that a backup is made of; `None` when it is made of tars.
pub fn snapshots_of(backup: BackupId, info: &BackupInfo) -> Result<Option<SnapshotsInfo>, Error> {
    let Some(literal) = &info.snapshots_info else { return Ok(None) };
    match SnapshotsInfo::parse(literal) {
        Ok(snapshots) => Ok(Some(snapshots)),
        Err(unknown) => Err(RequestError::UnknownSnapshots { backup, unknown }.into()),
    }
}
