//! The commands that PostgreSQL calls: `wal-push`, `wal-fetch`, and `wal-prefetch`, which wal-fetch starts.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::cli::Error;
use crate::cli::process::cores;
use crate::cli::session::Program;
use crate::ops::ownership::TakeOver;
use crate::ops::segment_check::SegmentCheck;
use crate::ops::wal_fetch::Recovery;
use crate::ops::wal_push::{ChangedBlocks, Overwrite, ReadMarks, ReadyFiles, WalMetadata};
use crate::ops::{wal_fetch, wal_prefetch, wal_push};
use crate::pg::{SegmentName, WalSegmentSize};
use crate::settings::{self, Settings, keys};

use super::StorageArgs;

/// Arguments of `wal-push`.
#[derive(Debug, Args)]
pub struct WalPushArgs {
    /// The WAL file: %p of archive_command
    #[arg(value_name = "WAL_FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Which storage
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// Arguments of `wal-fetch`.
#[derive(Debug, Args)]
pub struct WalFetchArgs {
    /// Name of the WAL file: %f of restore_command
    #[arg(value_name = "WAL_NAME")]
    pub name: String,
    /// Where to put it: %p of restore_command
    #[arg(value_name = "DESTINATION", value_hint = ValueHint::FilePath)]
    pub destination: PathBuf,
    /// Which storage
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// Arguments of `wal-prefetch`.
#[derive(Debug, Args)]
pub struct WalPrefetchArgs {
    /// The segment that was just fetched
    #[arg(value_name = "WAL_NAME")]
    pub segment: SegmentName,
    /// Where it was put
    #[arg(value_name = "DESTINATION")]
    pub destination: PathBuf,
}

impl WalPushArgs {
    /// What the settings say of archiving.
    pub fn options(&self, settings: &Settings) -> Result<wal_push::Options, Error> {
        self.storage.refuse_other(settings)?;
        Ok(wal_push::Options {
            overwrite: match settings.parsed(&keys::PREVENT_WAL_OVERWRITE, settings::value::parse_bool)? {
                Some(true) => Overwrite::Prevent,
                Some(false) => Overwrite::Allow,
                None => Overwrite::PreventByName,
            },
            concurrency: count(settings, &keys::UPLOAD_CONCURRENCY)?,
            // The named file always goes; wal-g takes 0, for no other.
            files_at_most: settings
                .integer(&keys::TOTAL_BG_UPLOADED_LIMIT)?
                .map_or(1, |files| usize::try_from(files).unwrap_or(usize::MAX).max(1)),
            check: segment_check(settings)?,
            take_over: take_over(settings)?,
            marks: ReadMarks::Yes,
            ready_files: match settings.bool(&keys::PG_READY_RENAME)? {
                true => ReadyFiles::RenameToDone,
                false => ReadyFiles::Keep,
            },
            metadata: match settings.choice(&keys::UPLOAD_WAL_METADATA)? {
                Some("INDIVIDUAL") => WalMetadata::Individual,
                Some("BULK") => WalMetadata::Bulk,
                _ => WalMetadata::None,
            },
            blocks: match settings.bool(&keys::USE_WAL_DELTA)? {
                true => ChangedBlocks::Record,
                false => ChangedBlocks::Forget,
            },
            cores: cores().get(),
        })
    }
}

impl WalFetchArgs {
    /// What the settings say of fetching. `program` is how to call this program with the same settings.
    pub fn options(&self, settings: &Settings, program: Program) -> Result<wal_fetch::Options, Error> {
        self.storage.refuse_other(settings)?;
        // 0 as well as 1 is nothing ahead, and no reason to fail a recovery.
        let fetches_ahead =
            settings.integer(&keys::DOWNLOAD_CONCURRENCY)?.is_some_and(|segments| segments > 1);
        let prefetch = || {
            let Program { mut command, secrets } = program;
            command.push("wal-prefetch".into());
            wal_fetch::Prefetch { parent: settings.path(&keys::PREFETCH_DIR), command, secrets }
        };
        Ok(wal_fetch::Options {
            check: segment_check(settings)?,
            prefetch: fetches_ahead.then(prefetch),
            recovery: Recovery::of(Path::new(".")),
        })
    }
}

impl WalPrefetchArgs {
    /// What the settings say of fetching ahead.
    pub fn options(&self, settings: &Settings) -> Result<wal_prefetch::Options, Error> {
        let segments = count(settings, &keys::DOWNLOAD_CONCURRENCY)?;
        Ok(wal_prefetch::Options {
            segments,
            check: segment_check(settings)?,
            parent: settings.path(&keys::PREFETCH_DIR),
            segment_size: segment_size(settings)?,
            concurrency: segments.min(2 * cores().get()),
        })
    }
}

/// `WALG_PG_WAL_SIZE`.
pub fn segment_size(settings: &Settings) -> Result<WalSegmentSize, settings::Error> {
    let parse = |text: &str| {
        let mebibytes = settings::value::parse_integer(text)?;
        WalSegmentSize::from_mebibytes(mebibytes).map_err(|error| error.to_string())
    };
    Ok(settings.parsed(&keys::PG_WAL_SIZE, parse)?.unwrap_or(WalSegmentSize::DEFAULT))
}

/// A setting that counts something, at least 1.
pub fn count(settings: &Settings, key: &settings::Key) -> Result<usize, settings::Error> {
    let parse = |text: &str| {
        text.parse::<NonZero<usize>>().map_err(|_| "expected a whole number, 1 or more".to_owned())
    };
    Ok(settings.parsed(key, parse)?.map_or(1, NonZero::get))
}

/// `SEAWALL_TAKE_OVER_FROM`.
pub fn take_over(settings: &Settings) -> Result<TakeOver, settings::Error> {
    Ok(settings.parsed(&keys::TAKE_OVER_FROM, TakeOver::parse)?.unwrap_or_default())
}

fn segment_check(settings: &Settings) -> Result<SegmentCheck, settings::Error> {
    Ok(match settings.bool(&keys::CHECK_WAL)? {
        true => SegmentCheck::Verify,
        false => SegmentCheck::Skip,
    })
}
