//! `backup-push`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::Error;
use crate::cli::process::cores;
use crate::cli::session::archive_directory;
use crate::ops::backup_choice::BackupChoice;
use crate::ops::backup_push::{
    DeltaOptions, Format, Options, Origin, Packing, ParentRules, VerifyDelta, VerifyPages, WalGFormat,
    WalWitness, WithoutMap,
};
use crate::ops::changed_blocks::{Rules, Source};
use crate::pg::ConnInfo;
use crate::pg::session::Checkpoint;
use crate::settings::{Settings, keys};

use super::wal::{count, take_over};
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
    /// Take a full backup, whatever WALG_DELTA_MAX_STEPS says
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
    /// Accepted for wal-g's sake: nothing is copied from an older backup; as in wal-g, the backup is a full one
    #[arg(short, long, hide = true)]
    pub copy_composer: bool,
    /// Accepted for wal-g's sake: files are always packed in the order of the directory
    #[arg(short = 'b', long, hide = true)]
    pub database_composer: bool,
    /// The backup that a delta builds on, instead of the latest
    #[arg(long, value_name = "NAME|LATEST")]
    pub delta_from_name: Option<String>,
    /// Choose the backup that a delta builds on by its user data
    #[arg(long, value_name = "JSON")]
    pub delta_from_user_data: Option<String>,
    /// Prove a delta: read every page to see that the map of changed blocks misses none
    #[arg(long)]
    pub verify_delta: bool,
    /// Which storage
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// How wal-g would choose what goes into which tar. Here it changes nothing in the packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Composer {
    /// It takes over tars of the last backup, and makes a full backup of it.
    Copy,
    /// By rating or by database.
    Other,
}

impl BackupPushArgs {
    /// What the flags and settings say of a backup. Tells where it is done otherwise than wal-g would.
    pub fn options(&self, settings: &Settings, limits: RateLimits) -> Result<Options, Error> {
        self.storage.refuse_other(settings)?;
        let data_dir = self.directory.as_deref().ok_or_else(|| Error::Unsupported {
            what: "a backup over the replication protocol (backup-push without a directory)".to_owned(),
            hint: "give the data directory of a server on this machine: backup-push DATA_DIRECTORY",
        })?;
        let composer = self.composer(settings)?;
        if composer.is_some() {
            tracing::info!("composers have no effect: files are packed in the order of the directory");
        }
        let with_files_metadata =
            !(self.without_files_metadata || settings.bool(&keys::WITHOUT_FILES_METADATA)?);
        if composer.is_some() && !with_files_metadata {
            return Err(usage("a backup without files metadata cannot be packed by a composer"));
        }
        let full = self.full || composer == Some(Composer::Copy);
        let user_data = match &self.add_user_data {
            Some(text) => Some(user_data("--add-user-data", text)?),
            None => settings.json(&keys::SENTINEL_USER_DATA)?,
        };
        let workers = match settings.text(&keys::UPLOAD_DISK_CONCURRENCY) {
            Some(_) => count(settings, &keys::UPLOAD_DISK_CONCURRENCY)?,
            None => cores().get(),
        };
        Ok(Options {
            data_dir: Some(data_dir.to_owned()),
            conninfo: ConnInfo::from_env(&|name| settings.libpq_variable(name))?,
            format: Format::WalG(WalGFormat {
                is_permanent: self.permanent,
                user_data,
                delta: self.delta(settings, full, with_files_metadata)?,
                with_files_metadata,
                with_relations: !settings.bool(&keys::DISABLE_PARTIAL_RESTORE)?,
            }),
            take_over: take_over(settings)?,
            checkpoint: Checkpoint::Immediate,
            verify: self.verification(settings)?,
            packing: Packing {
                tar_bytes: settings.bytes(&keys::TAR_SIZE_THRESHOLD)?.unwrap_or(u64::MAX),
                workers,
                uploads: count(settings, &keys::UPLOAD_CONCURRENCY)?,
                disk_rate: limits.of(settings, &keys::DISK_RATE_LIMIT)?,
                network_rate: limits.of(settings, &keys::NETWORK_RATE_LIMIT)?,
            },
            stop_timeout: settings.duration(&keys::STOP_BACKUP_TIMEOUT)?.unwrap_or_default(),
            wal_timeout: settings.duration(&keys::BACKUP_WAL_TIMEOUT)?.unwrap_or_default(),
            wal_witness: WalWitness::Archive,
            alive_check: settings.duration(&keys::ALIVE_CHECK_INTERVAL)?.unwrap_or_default(),
            exclude: archive_directory(&settings.storage_config()?).into_iter().collect(),
        })
    }

    /// The composer that was asked for; of several, the one that wal-g takes.
    fn composer(&self, settings: &Settings) -> Result<Option<Composer>, Error> {
        let copy = self.copy_composer || settings.bool(&keys::USE_COPY_COMPOSER)?;
        let rating = self.rating_composer || settings.bool(&keys::USE_RATING_COMPOSER)?;
        let database = self.database_composer || settings.bool(&keys::USE_DATABASE_COMPOSER)?;
        Ok(match (copy, rating || database) {
            (true, _) => Some(Composer::Copy),
            (false, true) => Some(Composer::Other),
            (false, false) => None,
        })
    }

    /// How to take a delta; `None` for a full backup.
    fn delta(
        &self,
        settings: &Settings,
        full: bool,
        with_files_metadata: bool,
    ) -> Result<Option<DeltaOptions>, Error> {
        let parent = self.delta_parent(settings)?;
        if !with_files_metadata && parent.is_some() {
            return Err(usage("a delta cannot be taken without files metadata"));
        }
        let max_steps = settings.integer(&keys::DELTA_MAX_STEPS)?.unwrap_or_default();
        if full || max_steps == 0 || !with_files_metadata {
            match parent {
                Some(_) if !full => {
                    tracing::warn!("Doing full backup: WALG_DELTA_MAX_STEPS is 0, which allows no delta");
                }
                _ => tracing::info!("Doing full backup."),
            }
            return Ok(None);
        }
        Ok(Some(DeltaOptions {
            parent: ParentRules {
                max_steps: u32::try_from(max_steps).unwrap_or(u32::MAX),
                from: parent.unwrap_or(BackupChoice::Latest),
                origin: match settings.choice(&keys::DELTA_ORIGIN)? {
                    Some("LATEST_FULL") => Origin::LatestFull,
                    _ => Origin::Latest,
                },
            },
            changed_blocks: Rules {
                sources: settings.parsed(&keys::DELTA_SOURCES, sources)?.unwrap_or_default(),
                summarizer_patience: settings.duration(&keys::SUMMARIZER_TIMEOUT)?.unwrap_or_default(),
            },
            without_map: match settings.bool(&keys::FORCE_WAL_DELTA)? {
                true => WithoutMap::Fail,
                false => WithoutMap::ReadPages,
            },
            verify: match self.verify_delta {
                true => VerifyDelta::ON,
                false => settings
                    .parsed(&keys::VERIFY_DELTA, |text| text.parse().map_err(str::to_owned))?
                    .unwrap_or(VerifyDelta::OFF),
            },
        }))
    }

    /// The backup that was named for a delta to build on, by flag or setting.
    fn delta_parent(&self, settings: &Settings) -> Result<Option<BackupChoice>, Error> {
        let setting = settings.text(&keys::DELTA_FROM_NAME).map(|name| name.value);
        let name = self.delta_from_name.as_deref().or(setting);
        let data = match &self.delta_from_user_data {
            Some(text) => Some(user_data("--delta-from-user-data", text)?),
            None => settings.json(&keys::DELTA_FROM_USER_DATA)?,
        };
        match (name, data) {
            (None, None) => Ok(None),
            (Some(name), None) => super::backup_choice(name).map(Some),
            (None, Some(data)) => Ok(Some(BackupChoice::UserData(data))),
            (Some(_), Some(_)) => {
                Err(usage("the backup that a delta builds on is chosen either by name or by user data"))
            }
        }
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

/// Reads a list of sources, as `summaries,wal,pages`.
fn sources(text: &str) -> Result<Vec<Source>, String> {
    let parse = |name: &str| {
        let known = Source::ALL.into_iter().find(|source| source.to_string() == name);
        known.ok_or_else(|| "expected a list of summaries, wal, pages".to_owned())
    };
    text.split(',').map(|name| parse(name.trim())).collect()
}

fn usage(text: &str) -> Error {
    Error::Usage(clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{text}\n")))
}
