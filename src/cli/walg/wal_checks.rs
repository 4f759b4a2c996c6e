//! The commands that look at archived WAL: `wal-show` and `wal-verify`.

use clap::{Args, ValueEnum};

use crate::cli::Error;
use crate::ops::wal_show::{self, BackupLookup};
use crate::ops::wal_verify::{self, Check};
use crate::pg::{Lsn, TimelineId, WalSegmentSize};
use crate::settings::{Settings, keys};

use super::backup_choice;
use super::wal::{count, segment_size};

/// Arguments of `wal-show`.
#[derive(Debug, Args)]
pub struct WalShowArgs {
    /// Print JSON
    #[arg(long)]
    pub detailed_json: bool,
    /// Do not look for backups
    #[arg(long)]
    pub without_backups: bool,
}

/// Arguments of `wal-verify`.
#[derive(Debug, Args)]
pub struct WalVerifyArgs {
    /// What to check
    #[arg(value_name = "CHECK", required = true)]
    pub checks: Vec<CheckWord>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The cluster's timeline, instead of asking the server
    #[arg(long, requires = "lsn")]
    pub timeline: Option<u32>,
    /// Where the cluster writes, instead of asking the server
    #[arg(long, requires = "timeline")]
    pub lsn: Option<Lsn>,
    /// Check from this backup on, instead of the oldest one that is not permanent
    #[arg(long, value_name = "NAME|LATEST")]
    pub backup_name: Option<String>,
}

/// What to check.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CheckWord {
    /// No segment is missing between the oldest backup and now
    Integrity,
    /// The archive's highest timeline is the cluster's
    Timeline,
}

/// Where a cluster is in its WAL.
#[derive(Debug, Clone, Copy)]
pub struct WalPlace {
    /// Its timeline.
    pub timeline: TimelineId,
    /// Where it writes.
    pub lsn: Lsn,
    /// The size of its segments, when the server was asked.
    pub segment_size: Option<WalSegmentSize>,
}

impl WalShowArgs {
    /// What to show.
    pub fn options(&self, settings: &Settings) -> Result<wal_show::Options, Error> {
        let backups = if self.without_backups { BackupLookup::Skip } else { BackupLookup::Include };
        Ok(wal_show::Options { backups, segment_size: segment_size(settings)? })
    }
}

impl WalVerifyArgs {
    /// The place that the flags name; `None` when the server is to be asked.
    pub fn place(&self) -> Result<Option<WalPlace>, Error> {
        let (Some(timeline), Some(lsn)) = (self.timeline, self.lsn) else { return Ok(None) };
        let timeline = TimelineId::new(timeline).ok_or_else(|| {
            let text = "the value of --timeline must be 1 or more\n";
            clap::Error::raw(clap::error::ErrorKind::InvalidValue, text)
        })?;
        Ok(Some(WalPlace { timeline, lsn, segment_size: None }))
    }

    /// What to check.
    pub fn options(&self, settings: &Settings, place: WalPlace) -> Result<wal_verify::Options, Error> {
        let backup = self.backup_name.as_deref().map(backup_choice).transpose();
        Ok(wal_verify::Options {
            checks: self.checks.iter().map(|check| check.check()).collect(),
            timeline: place.timeline,
            lsn: place.lsn,
            segment_size: match place.segment_size {
                Some(size) => size,
                None => segment_size(settings)?,
            },
            backup: backup?,
            delayed_segments: settings.integer(&keys::INTEGRITY_MAX_DELAYED_WALS)?.unwrap_or_default(),
            uploading_segments: count(settings, &keys::UPLOAD_CONCURRENCY)?.try_into().unwrap_or(u64::MAX),
        })
    }
}

impl CheckWord {
    fn check(self) -> Check {
        match self {
            CheckWord::Integrity => Check::Integrity,
            CheckWord::Timeline => Check::Timeline,
        }
    }
}
