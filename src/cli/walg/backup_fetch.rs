//! `backup-fetch`.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::Error;
use crate::cli::process::cores;
use crate::layout::walg::TablespaceSpec;
use crate::ops;
use crate::ops::backup_choice::BackupChoice;
use crate::ops::backup_fetch::{Options, SyncFiles};
use crate::settings::{Settings, keys};

use super::wal::count;
use super::{RateLimits, StorageArgs, user_data};

/// Arguments of `backup-fetch`.
#[derive(Debug, Args)]
pub struct BackupFetchArgs {
    /// The directory to restore into; it must be empty or absent
    #[arg(value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
    /// The backup's name, or LATEST
    #[arg(value_name = "NAME|LATEST")]
    pub name: Option<String>,
    /// Choose the backup by its user data
    #[arg(long, value_name = "JSON")]
    pub target_user_data: Option<String>,
    /// JSON file that says where each tablespace goes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub restore_spec: Option<PathBuf>,
    /// Accepted for wal-g's sake: a chain is always restored from its newest backup downwards
    #[arg(long, hide = true)]
    pub reverse_unpack: bool,
    /// Accepted for wal-g's sake: tars that hold nothing wanted are never fetched
    #[arg(long, hide = true)]
    pub skip_redundant_tars: bool,
    /// Accepted for wal-g's sake: there is one way to unpack
    #[arg(long, hide = true)]
    pub use_new_unwrap: bool,
    /// Not supported yet
    #[arg(long, hide = true, value_name = "GLOB")]
    pub mask: Option<String>,
    /// Not supported yet
    #[arg(long, hide = true, value_name = "DATABASES")]
    pub restore_only: Option<String>,
    /// Which storage
    #[command(flatten)]
    pub storage: StorageArgs,
}

impl BackupFetchArgs {
    /// What the flags and settings say of a restore.
    pub fn options(&self, settings: &Settings, limits: RateLimits) -> Result<Options, Error> {
        self.storage.refuse_other(settings)?;
        self.refuse_what_is_not_done_yet()?;
        if self.reverse_unpack || self.skip_redundant_tars || self.use_new_unwrap {
            tracing::info!(
                "a chain is always restored newest backup first, without tars that hold nothing wanted"
            );
        }
        Ok(Options {
            target: self.directory.clone(),
            concurrency: count(settings, &keys::DOWNLOAD_CONCURRENCY)?.min(2 * cores().get()),
            cores: cores().get(),
            network_rate: limits.of(settings, &keys::NETWORK_RATE_LIMIT)?,
            sync: match settings.bool(&keys::TAR_DISABLE_FSYNC)? {
                true => SyncFiles::No,
                false => SyncFiles::Yes,
            },
        })
    }

    fn refuse_what_is_not_done_yet(&self) -> Result<(), Error> {
        let flag = match (&self.mask, &self.restore_only) {
            (Some(_), _) => "--mask",
            (_, Some(_)) => "--restore-only",
            (None, None) => return Ok(()),
        };
        let hint = "leave the flag out to restore the whole backup";
        Err(Error::Unsupported { what: format!("restoring a part of a backup ({flag})"), hint })
    }

    /// The backup that is meant.
    pub fn choice(&self, settings: &Settings) -> Result<BackupChoice, Error> {
        let data = match &self.target_user_data {
            Some(text) => Some(user_data("--target-user-data", text)?),
            None => settings.json(&keys::FETCH_TARGET_USER_DATA)?,
        };
        match (&self.name, data) {
            (Some(name), None) => super::backup_choice(name),
            (None, Some(data)) => Ok(BackupChoice::UserData(data)),
            _ => Err(ops::Error::from(ops::RequestError::BackupChoice).into()),
        }
    }

    /// Where its tablespaces go.
    pub fn restore_spec(&self) -> Result<Option<TablespaceSpec>, Error> {
        let Some(path) = &self.restore_spec else { return Ok(None) };
        let json = fs::read(path).map_err(|source| Error::RestoreSpec { path: path.clone(), source })?;
        let spec = TablespaceSpec::from_json(&json);
        spec.map(Some).map_err(|error| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            Error::RestoreSpec { path: path.clone(), source }
        })
    }
}
