//! `backup-push`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::cli::Error;
use crate::ops::backup_push::{Options, VerifyPages};
use crate::pg::ConnInfo;
use crate::settings::{Settings, keys};
use crate::storage::StorageConfig;

use super::wal::{cores, count};
use super::{RateLimits, StorageArgs, user_data};

/// Arguments of `backup-push`.
#[derive(Debug, Args)]
pub struct BackupPushArgs {
    /// The server's data directory
    #[arg(value_name = "DATA_DIRECTORY", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
    /// Never let retention delete the backup
    #[arg(short, long)]
    pub permanent: bool,
    /// Take a full backup; every backup is one
    #[arg(short, long)]
    pub full: bool,
    /// Verify page checksums while reading
    #[arg(short, long)]
    pub verify: bool,
    /// Name every corrupt block, not only some of each file
    #[arg(short, long)]
    pub store_all_corrupt: bool,
    /// JSON to keep with the backup
    #[arg(long, value_name = "JSON")]
    pub add_user_data: Option<String>,
    /// Do not store the list of files; no delta can build on the backup then
    #[arg(long)]
    pub without_files_metadata: bool,
    /// Accepted for wal-g's sake: files are always packed in the order of the directory
    #[arg(short, long, hide = true)]
    pub rating_composer: bool,
    /// Accepted for wal-g's sake: nothing is copied from an older backup
    #[arg(short, long, hide = true)]
    pub copy_composer: bool,
    /// Accepted for wal-g's sake: files are always packed in the order of the directory
    #[arg(short = 'b', long, hide = true)]
    pub database_composer: bool,
    /// Not supported yet
    #[arg(long, hide = true, value_name = "NAME")]
    pub delta_from_name: Option<String>,
    /// Not supported yet
    #[arg(long, hide = true, value_name = "JSON")]
    pub delta_from_user_data: Option<String>,
    /// Which storage
    #[command(flatten)]
    pub storage: StorageArgs,
}

impl BackupPushArgs {
    /// What the flags and settings say of a backup. Tells where it is done otherwise than wal-g would.
    pub fn options(&self, settings: &Settings, limits: RateLimits) -> Result<Options, Error> {
        self.storage.refuse_other(settings)?;
        let data_dir = self.refuse_what_is_not_done_yet()?;
        self.tell_what_is_done_otherwise(settings)?;
        let user_data = match &self.add_user_data {
            Some(text) => Some(user_data("--add-user-data", text)?),
            None => settings.json(&keys::SENTINEL_USER_DATA)?,
        };
        let workers = match settings.text(&keys::UPLOAD_DISK_CONCURRENCY) {
            Some(_) => count(settings, &keys::UPLOAD_DISK_CONCURRENCY)?,
            None => cores(),
        };
        Ok(Options {
            data_dir: data_dir.to_owned(),
            conninfo: ConnInfo::from_env(&|name| settings.libpq_variable(name))?,
            is_permanent: self.permanent,
            user_data,
            verify: self.verification(settings)?,
            with_files_metadata: !(self.without_files_metadata
                || settings.bool(&keys::WITHOUT_FILES_METADATA)?),
            with_relations: !settings.bool(&keys::DISABLE_PARTIAL_RESTORE)?,
            tar_bytes: settings.bytes(&keys::TAR_SIZE_THRESHOLD)?.unwrap_or(u64::MAX),
            workers,
            uploads: count(settings, &keys::UPLOAD_CONCURRENCY)?,
            disk_rate: limits.of(settings, &keys::DISK_RATE_LIMIT)?,
            network_rate: limits.of(settings, &keys::NETWORK_RATE_LIMIT)?,
            stop_timeout: settings.duration(&keys::STOP_BACKUP_TIMEOUT)?.unwrap_or_default(),
            alive_check: settings.duration(&keys::ALIVE_CHECK_INTERVAL)?.unwrap_or_default(),
            exclude: archive_directory(settings)?.into_iter().collect(),
        })
    }

    fn refuse_what_is_not_done_yet(&self) -> Result<&Path, Error> {
        if self.delta_from_name.is_some() || self.delta_from_user_data.is_some() {
            return Err(Error::Unsupported {
                what: "writing delta backups (--delta-from-name, --delta-from-user-data)".to_owned(),
                hint: "leave the flag out to take a full backup",
            });
        }
        self.directory.as_deref().ok_or_else(|| Error::Unsupported {
            what: "a backup over the replication protocol (backup-push without a directory)".to_owned(),
            hint: "give the data directory of a server on this machine: backup-push DATA_DIRECTORY",
        })
    }

    fn tell_what_is_done_otherwise(&self, settings: &Settings) -> Result<(), Error> {
        let steps = settings.integer(&keys::DELTA_MAX_STEPS)?.unwrap_or_default();
        if steps > 0 && !self.full {
            tracing::warn!(
                "WALG_DELTA_MAX_STEPS={steps} asks for a delta backup; a full backup is taken instead"
            );
        }
        if self.rating_composer || self.copy_composer || self.database_composer {
            tracing::info!("composers have no effect: files are packed in the order of the directory");
        }
        Ok(())
    }

    fn verification(&self, settings: &Settings) -> Result<VerifyPages, Error> {
        let verify = self.verify || settings.bool(&keys::VERIFY_PAGE_CHECKSUMS)?;
        let name_all = self.store_all_corrupt || settings.bool(&keys::STORE_ALL_CORRUPT_BLOCKS)?;
        Ok(match (verify, name_all) {
            (false, _) => VerifyPages::No,
            (true, false) => VerifyPages::Yes,
            (true, true) => VerifyPages::NameAll,
        })
    }
}

/// The directory that holds the repository, which may lie in the data directory and must not back up itself.
fn archive_directory(settings: &Settings) -> Result<Option<PathBuf>, Error> {
    Ok(match settings.storage_config()? {
        // A directory that does not exist is told by the storage, in its own words.
        StorageConfig::Directory { path, .. } => path.canonicalize().ok(),
        StorageConfig::S3(_) => None,
    })
}
